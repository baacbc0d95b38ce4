"""Crashes, lost clients, lost upstreams, lost stores: through a real Envoy, never a second execution."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import CONFIG, POLICIES, Job, eventually
from tests.stack import children, h2client
from tests.stack.hold_ups import feeling_the_machine
from tests.stack.ports import lasting_port
from tests.stack.up import running_up
from tests.stack.upstream import Answer
from tests.stack.valkey import Server, start_valkey

only_http1 = pytest.mark.parametrize("job", ["HTTP/1.1"], indirect=True)
"""Where the protocol changes nothing and the test takes seconds."""


def kind(response: httpx.Response) -> tuple[int, str]:
    """The status, and what sort of answer it is: the problem's type, replayed, or first."""
    if response.headers.get("content-type") == "application/problem+json":
        return response.status_code, response.json()["type"].removeprefix("urn:idempotency:")
    return response.status_code, "replayed" if "idempotent-replayed" in response.headers else "first"


def leave_once(reached: Callable[[], bool], url: str, key: str, content: bytes, *, http2: bool) -> None:
    """A client that sends a request, and goes away unanswered as soon as it has reached what it should."""

    async def leave() -> None:
        async with httpx.AsyncClient(http1=not http2, http2=http2, timeout=20) as client:
            call = asyncio.create_task(client.post(url, content=content, headers={"idempotency-key": key}))
            await children.eventually(lambda: reached() or call.done())
            assert not call.done(), call.result()
            call.cancel()
            await asyncio.wait({call})

    asyncio.run(leave())


@contextlib.contextmanager
def given_up(job: Job, target: str, key: str, *, content: bytes = b"x") -> Iterator[None]:
    """A request whose client has left: the upstream has it all the same, and answers after the context."""
    executed = job.upstream.times(target)
    with job.holding_one(target):
        leave_once(
            lambda: job.upstream.times(target) == executed + 1,
            job.up.url + target,
            key,
            content,
            http2=job.http2,
        )
        yield


# --- A client that gives up


def test_inline_a_client_that_gives_up_leaves_an_unknown_outcome(job: Job, key: str) -> None:
    target = job.path("orders", Answer(201))
    with given_up(job, target, key):
        eventually(lambda: kind(job.post(target, key)) == (409, "outcome-unknown"))

    assert "retry-after" not in job.post(target, key).headers
    assert job.upstream.times(target) == 1


def test_detached_a_client_that_gives_up_finds_its_answer_later(job: Job, key: str) -> None:
    target = job.path("detached", Answer(201, [("content-type", "text/plain")], [b"made"]))
    with given_up(job, target, key):
        meanwhile = job.post(target, key)
    eventually(lambda: kind(job.post(target, key)) == (201, "replayed"))

    assert (kind(meanwhile), meanwhile.headers["retry-after"]) == ((409, "in-progress"), "1")
    assert job.post(target, key).content == b"made"
    assert job.upstream.times(target) == 1


@pytest.mark.parametrize("job", ["HTTP/2"], indirect=True)
@pytest.mark.parametrize("prefix", ["orders", "retrying"])
def test_a_request_that_is_whole_by_its_length_may_have_been_executed_whatever_its_end(
    job: Job, tmp_path: Path, valkey: Server, key: str, prefix: str
) -> None:
    """An HTTP/1.1 upstream executes at the last announced byte; the client's END_STREAM never comes."""
    target = job.path(prefix, Answer(201))
    upstream = f"http://127.0.0.1:{job.upstream.port}"
    with (
        running_up(upstream, tmp_path, "--store", valkey.url, config=CONFIG) as up,
        job.holding_one(target),
    ):
        h2client.leave_before_the_end(
            up.url + target,
            [("idempotency-key", key)],
            b"abc",
            stay=lambda: eventually(lambda: job.upstream.times(target) == 1),
        )

        def retry(content: bytes) -> tuple[int, str]:
            headers = {"idempotency-key": key}
            return kind(httpx.post(up.url + target, content=content, headers=headers, timeout=20))

        if prefix == "orders":
            eventually(lambda: retry(b"abc") == (409, "outcome-unknown"))
            assert job.upstream.times(target) == 1
        else:
            eventually(lambda: retry(b"other") == (422, "key-reused"))
            assert job.upstream.times(target) == 1


# --- Detached executions


@pytest.mark.parametrize(
    "content", [b"", b"small", os.urandom(2 * 1024 * 1024)], ids=["empty", "small", "2 MB"]
)
def test_detached_the_client_gets_what_it_would_get_inline(job: Job, key: str, content: bytes) -> None:
    fields = [("content-type", "text/plain"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-n", "1")]
    inline = job.path("orders", Answer(201, fields, [b"made"]))
    detached = job.path("detached", Answer(201, fields, [b"made"]))

    answers = [job.post(target, key, content) for target in (inline, detached)]
    retry = job.post(detached, key, content)

    assert [kind(answer) for answer in answers] == [(201, "first"), (201, "first")]
    assert [answer.content for answer in answers] == [b"made", b"made"]
    for name in ("content-type", "set-cookie", "x-n"):
        assert answers[0].headers.get_list(name) == answers[1].headers.get_list(name)
    assert (kind(retry), retry.content) == ((201, "replayed"), b"made")
    assert job.upstream.last(detached).sha256 == job.upstream.last(inline).sha256
    assert job.upstream.last(detached).header("idempotency-attempt") == ["1"]


def test_detached_the_upstream_sees_the_same_request_as_inline(job: Job, key: str) -> None:
    sent = {"idempotency-key": key, "x-b": "2", "x-a": "1", "user-agent": "test/1", "te": "trailers"}
    seen = []
    for prefix in ("orders", "detached"):
        target = job.path(prefix, Answer())
        with job.another_client() as client:  # the job's own has got cookies
            client.post(f"{target}?a=%20b", content=b"x", headers=sent | {"x-request-id": "r-1"})
        seen.append(job.upstream.last(f"{target}?a=%20b").headers)

    differing = {name for name, _ in set(seen[0]) ^ set(seen[1])} - {":path", "te", "transfer-encoding"}
    assert differing <= {"x-envoy-expected-rq-timeout-ms"}, (seen[0], seen[1])


@only_http1
def test_detached_a_body_over_the_limit_is_refused_before_anything_is_executed(job: Job, key: str) -> None:
    """Over HTTP/2 Envoy answers as well, then resets the stream with NO_ERROR (RFC 9113 §8.1).

    httpx, like curl, takes that for an error and drops the answer, which a raw client sees.
    """
    target = job.path("detached", Answer())

    refused = job.post(target, key, b"x" * (3 * 1024 * 1024))

    assert kind(refused) == (413, "body-too-large")
    assert "3145727" not in refused.text
    assert job.upstream.times(target) == 0
    assert kind(job.post(target, key, b"small")) == (201, "first")


def test_detached_a_call_over_its_deadline_is_unknown(job: Job, key: str) -> None:
    target = job.path("hasty", Answer(delay_s=3))

    first = job.post(target, key)

    assert kind(first) == (504, "outcome-unknown")
    assert kind(job.post(target, key)) == (409, "outcome-unknown")
    assert job.upstream.times(target) == 1


def test_detached_an_upstream_that_is_down_is_released(valkey: Server, tmp_path: Path, key: str) -> None:
    port = lasting_port()
    with (
        running_up(f"http://127.0.0.1:{port}", tmp_path, "--store", valkey.url, config=CONFIG) as up,
        httpx.Client(base_url=up.url) as client,
    ):
        answers = [
            client.post("/detached/1", content=b"x", headers={"idempotency-key": key}) for _ in range(2)
        ]

        assert [answer.status_code for answer in answers] == [503, 503]
        assert up.metric("idempotency_outcomes_total", outcome="release") == 2


@only_http1
def test_detached_a_worker_that_is_told_to_stop_finishes_the_call_nobody_waits_for(
    job: Job, valkey: Server, tmp_path: Path, key: str
) -> None:
    target = job.path("detached", Answer(201, [("content-type", "text/plain")], [b"made"]))
    upstream = f"http://127.0.0.1:{job.upstream.port}"
    with running_up(upstream, tmp_path, "--store", valkey.url, config=CONFIG) as up:

        def post() -> httpx.Response:
            return httpx.post(up.url + target, content=b"x", headers={"idempotency-key": key}, timeout=20)

        with job.holding_one(target):
            leave_once(lambda: job.upstream.times(target) == 1, up.url + target, key, b"x", http2=job.http2)
            os.kill(up.worker_pids[0], signal.SIGTERM)
            eventually(lambda: '"within_s": 65.0' in up.log.read_text())

        eventually(lambda: kind(post()) == (201, "replayed"), within_s=15)

    assert job.upstream.times(target) == 1


# --- Waiting for the owner


def test_racers_that_wait_all_get_the_answer_of_the_one_execution(job: Job, key: str) -> None:
    target = job.path("waiting", Answer(201, [("content-type", "text/plain")], [b"once"], delay_s=1.0))
    start = threading.Barrier(20)

    def race(_: int) -> httpx.Response:
        with job.another_client() as client:
            start.wait()
            return client.post(target, content=b"x", headers={"idempotency-key": key})

    with ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(race, range(20)))

    assert {(response.status_code, response.content) for response in responses} == {(201, b"once")}
    assert sum("idempotent-replayed" in response.headers for response in responses) == 19
    assert job.upstream.times(target) == 1


def test_a_wait_ends_when_the_policy_says(job: Job, key: str) -> None:
    go_on = threading.Event()
    target = job.path("waiting", Answer(wait=go_on))
    with job.in_background(lambda: job.post(target, key)):
        eventually(lambda: job.upstream.times(target) == 1)
        began = time.monotonic()
        with job.another_client() as other:
            refused = other.post(target, content=b"x", headers={"idempotency-key": key})
        waited = time.monotonic() - began
        go_on.set()

    assert kind(refused) == (409, "in-progress")
    assert 2.9 < waited < 4.5
    assert job.upstream.times(target) == 1


def test_a_duplicate_that_waited_for_an_owner_who_left_takes_its_turn(job: Job, key: str) -> None:
    """The owner is released (its request was never whole), so the one that waited executes."""
    target = job.path("waiting", Answer(201))
    connection = job.raw_request(target, key, body=b"x", announced=1000)
    assert job.post(target, "other").status_code == 201
    with job.in_background(lambda: job.post(target, key)) as waiting:
        time.sleep(0.3)
        connection.close()

    assert kind(waiting.result()) == (201, "first")


# --- Taking over


def test_under_retry_the_next_one_takes_over_with_a_higher_attempt(job: Job, key: str) -> None:
    target = job.path("retrying", Answer(201, [], [b"made"]))
    with given_up(job, target, key):
        eventually(lambda: kind(job.post(target, key))[1] in {"first", "replayed"})

    assert [seen.header("idempotency-attempt") for seen in job.upstream.ledger if seen.target == target] == [
        ["1"],
        ["2"],
    ]
    assert kind(job.post(target, key)) == (201, "replayed")


def test_under_retry_another_payload_never_takes_over(job: Job, key: str) -> None:
    target = job.path("retrying", Answer(201))
    with given_up(job, target, key, content=b"one" * 100_000):
        # Until the first attempt is over, a retry is refused by its head alone. httpx would not hear that on
        # HTTP/2 while it waits for room to send a large body, so what finds out is small.
        eventually(lambda: kind(job.post(target, key, b"two")) == (422, "key-reused"))

    assert kind(job.post(target, key, b"one" * 99_999 + b"two")) == (422, "key-reused")
    assert job.upstream.times(target) == 1
    assert kind(job.post(target, key, b"one" * 100_000)) == (201, "first")
    assert job.upstream.times(target) == 2


def test_under_retry_an_attempt_that_was_never_sent_does_not_make_the_earlier_one_undone(
    job: Job, key: str
) -> None:
    target = job.path("retrying", Answer(503))
    with given_up(job, target, key, content=b"one"):
        eventually(lambda: kind(job.post(target, key, b"one")) == (503, "first"))

    other = job.post(target, key, b"two")

    assert kind(other) == (422, "key-reused")


# --- After the ttl


@only_http1
def test_a_tombstone_refuses_a_key_after_its_ttl(job: Job, key: str) -> None:
    target = job.path("buried", Answer())
    first = job.post(target, key)

    eventually(lambda: kind(job.post(target, key)) == (409, "key-expired"))

    assert first.status_code == 201
    assert job.upstream.times(target) == 1


# --- Leases, workers, stores


@only_http1
def test_a_lease_of_two_seconds_is_renewed_through_a_call_of_six(job: Job, key: str) -> None:
    target = job.path("brief", Answer(201, delay_s=6))
    with job.in_background(lambda: job.post(target, key)) as first:
        time.sleep(4.5)
        with job.another_client() as other:
            duplicate = other.post(target, content=b"x", headers={"idempotency-key": key})

    assert kind(duplicate) == (409, "in-progress")
    assert first.result().status_code == 201
    assert job.upstream.times(target) == 1


@only_http1
def test_a_worker_killed_in_the_middle_of_a_call_causes_no_second_execution(
    job: Job, valkey: Server, tmp_path: Path, key: str
) -> None:
    target = job.path("brief", Answer(201))
    upstream = f"http://127.0.0.1:{job.upstream.port}"
    with running_up(upstream, tmp_path, "--store", valkey.url, config=CONFIG) as up:

        def post() -> httpx.Response:
            return httpx.post(up.url + target, content=b"x", headers={"idempotency-key": key}, timeout=20)

        with job.holding_one(target), job.in_background(post) as first:
            eventually(lambda: job.upstream.times(target) == 1)
            os.kill(up.worker_pids[0], signal.SIGKILL)
            failed = first.result()
        eventually(lambda: post().status_code == 409)
        eventually(lambda: kind(post()) == (409, "outcome-unknown"), within_s=15)

    assert failed.status_code >= 500
    assert job.upstream.times(target) == 1


@only_http1
def test_a_frozen_store_refuses_keyed_requests_at_once_and_recovers_by_itself(
    job: Job, tmp_path: Path, key: str
) -> None:
    target = job.path("orders", Answer())
    upstream = f"http://127.0.0.1:{job.upstream.port}"
    with (
        start_valkey(tmp_path) as store,
        running_up(upstream, tmp_path, "--store", store.url, config=POLICIES) as up,
        httpx.Client(base_url=up.url) as client,
        feeling_the_machine() as hold_ups,
    ):
        assert client.post(target, headers={"idempotency-key": key}).status_code == 201
        took = []
        with children.frozen(store.pid):
            for number in range(8):
                began = time.monotonic()
                refused = client.post(target, headers={"idempotency-key": f"{number}-{key.strip(chr(34))}"})
                took.append(time.monotonic() - began)
                assert kind(refused) == (503, "store-unavailable")
                assert client.post(target).status_code == 201

        eventually(lambda: kind(client.post(target, headers={"idempotency-key": key})) == (201, "replayed"))

    assert max(took) < 0.35 + 0.1 + 2 * hold_ups.longest_s, (took, hold_ups)
    assert job.upstream.times(target) == 1 + 8


@only_http1
def test_a_response_that_the_store_missed_is_kept_when_the_store_is_back(
    job: Job, tmp_path: Path, key: str
) -> None:
    go_on = threading.Event()
    target = job.path("orders", Answer(201, [], [b"made"], wait=go_on))
    upstream = f"http://127.0.0.1:{job.upstream.port}"
    with (
        start_valkey(tmp_path) as store,
        running_up(upstream, tmp_path, "--store", store.url, config=POLICIES) as up,
    ):

        def post() -> httpx.Response:
            return httpx.post(up.url + target, content=b"x", headers={"idempotency-key": key}, timeout=20)

        with job.in_background(post) as first:
            eventually(lambda: job.upstream.times(target) == 1)
            with children.frozen(store.pid):
                go_on.set()
                assert (first.result().status_code, first.result().content) == (201, b"made")
                assert up.metric("idempotency_outcomes_total", outcome="unknown", reason="not-kept") == 1

        eventually(lambda: kind(post()) == (201, "replayed"))

    assert job.upstream.times(target) == 1


@only_http1
def test_a_policy_may_bypass_a_store_that_is_down_while_another_refuses(
    job: Job, tmp_path: Path, key: str
) -> None:
    refused, bypassed = job.path("orders", Answer()), job.path("unprotected", Answer())
    upstream = f"http://127.0.0.1:{job.upstream.port}"
    with (
        start_valkey(tmp_path) as store,
        running_up(upstream, tmp_path, "--store", store.url, config=CONFIG) as up,
        httpx.Client(base_url=up.url) as client,
    ):
        store.process.kill()
        store.process.wait()

        answers = [client.post(target, headers={"idempotency-key": key}) for target in (refused, bypassed)]

        assert [kind(answer) for answer in answers] == [(503, "store-unavailable"), (201, "first")]
        assert up.metric("idempotency_requests_total", policy="unprotected", result="bypassed") == 1
    assert job.upstream.last(bypassed).header("idempotency-attempt") == []
