"""Messages beyond the usual four: trailers, informational responses, HEAD, odd statuses and values."""

import pytest

from tests.e2e.conftest import Job
from tests.stack import h2client
from tests.stack.upstream import Answer

only_http2 = pytest.mark.parametrize("job", ["HTTP/2"], indirect=True)
"""Trailers: Envoy passes them between HTTP/2 peers alone, unless it is told otherwise."""


@only_http2
def test_trailers_are_recorded_and_replayed(job: Job, key: str) -> None:
    answer = Answer(
        200, [("content-type", "text/plain")], [b"body"], [("x-sum", "7"), ("x-more", "8")], sized=False
    )
    target = job.up.url + job.path("orders", answer)

    first = h2client.post(target, [("idempotency-key", key)], b"x")
    retry = h2client.post(target, [("idempotency-key", key)], b"x")

    assert (first.body, first.trailers) == (b"body", [("x-sum", "7"), ("x-more", "8")])
    assert (retry.body, retry.trailers) == (first.body, first.trailers)
    assert retry.header("idempotent-replayed") == ["true"]


@only_http2
def test_trailers_after_a_sized_body_are_recorded_where_they_were_announced(job: Job, key: str) -> None:
    answer = Answer(200, [("content-type", "text/plain"), ("trailer", "x-sum")], [b"body"], [("x-sum", "7")])
    target = job.up.url + job.path("orders", answer)

    replies = [h2client.post(target, [("idempotency-key", key)], b"x") for _ in range(2)]

    assert [reply.trailers for reply in replies] == [[("x-sum", "7")]] * 2
    assert replies[1].header("idempotent-replayed") == ["true"]


@only_http2
def test_trailers_after_a_sized_body_that_were_not_announced_arrive_once(job: Job, key: str) -> None:
    answer = Answer(200, [("content-type", "text/plain")], [b"body"], [("x-sum", "7")])
    target = job.up.url + job.path("orders", answer)

    first, retry = (h2client.post(target, [("idempotency-key", key)], b"x") for _ in range(2))

    assert (first.body, first.trailers) == (b"body", [("x-sum", "7")])
    assert (retry.body, retry.trailers) == (b"body", [])


@only_http2
def test_a_request_that_ends_with_trailers_is_forwarded_and_compared(job: Job, key: str) -> None:
    path = job.path("orders", Answer(201))
    headers = [("idempotency-key", key)]

    replies = [
        h2client.post(job.up.url + path, headers, body, [("x-checked", "yes")])
        for body in (b"one", b"one", b"two")
    ]

    assert [reply.header(":status") for reply in replies] == [["201"], ["201"], ["422"]]
    assert [reply.header("idempotent-replayed") for reply in replies] == [[], ["true"], []]
    assert job.upstream.times(path) == 1


def test_informational_responses_are_no_responses(job: Job, key: str) -> None:
    target = job.path("orders", Answer(201, [], [b"final"], informational=True))

    first, retry = (job.client.post(target, headers={"idempotency-key": key}) for _ in range(2))

    assert (first.status_code, first.content) == (201, b"final")
    assert (retry.status_code, retry.content) == (201, b"final")
    assert retry.headers["idempotent-replayed"] == "true"


def test_the_answer_to_head_keeps_the_length_of_the_body_it_has_not(job: Job, key: str) -> None:
    target = job.path("small", Answer(200, [("content-type", "text/plain")], [b"x" * 42]))

    first, retry = (job.client.head(target, headers={"idempotency-key": key}) for _ in range(2))

    assert first.headers["content-length"] == retry.headers["content-length"] == "42"
    assert first.headers["content-type"] == retry.headers["content-type"]
    assert retry.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("status", [299, 418, 451, 599])
def test_statuses_that_are_in_no_list_are_replayed(job: Job, key: str, status: int) -> None:
    target = job.path("orders", Answer(status))

    first, retry = (job.client.post(target, headers={"idempotency-key": key}) for _ in range(2))

    assert (first.status_code, retry.status_code) == (status, status)
    assert retry.headers["idempotent-replayed"] == "true"


def test_header_values_of_any_bytes_are_replayed(job: Job, key: str) -> None:
    target = job.path(
        "orders", Answer(201, [("x-name", "caf\xe9"), ("x-empty", ""), ("content-type", "a/b")])
    )

    first, retry = (job.client.post(target, headers={"idempotency-key": key}) for _ in range(2))

    assert dict(first.headers.raw)[b"x-name"] == dict(retry.headers.raw)[b"x-name"] == b"caf\xe9"
    assert dict(first.headers.raw)[b"x-empty"] == dict(retry.headers.raw)[b"x-empty"] == b""
