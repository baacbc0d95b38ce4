"""First call, replay, conflict, mismatch: real Envoy, real Valkey, over HTTP/1.1 and over HTTP/2."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.conftest import Job
from tests.stack.upstream import Answer

NOT_REPLAYED = {"date", "server", "x-envoy-upstream-service-time", "idempotent-replayed"}


def lasting(response: httpx.Response) -> list[tuple[str, str]]:
    """The header fields that a replay must have in common with the first response."""
    gone = NOT_REPLAYED | {"content-length", "transfer-encoding"}
    return sorted((name, value) for name, value in response.headers.multi_items() if name not in gone)


def problem(response: httpx.Response) -> dict[str, object]:
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, object] = json.loads(response.content)
    assert document["status"] == response.status_code
    assert document["instance"]
    return document


def test_the_first_call_executes_and_its_retry_is_answered_from_the_record(job: Job, key: str) -> None:
    answer = Answer(
        201, [("location", "/v1/payments/7"), ("etag", '"1"'), ("content-type", "text/plain")], [b"7"]
    )
    target = job.path("orders", answer)

    first = job.client.post(target, content=b"amount=7", headers={"idempotency-key": key})
    retry = job.client.post(target, content=b"amount=7", headers={"idempotency-key": key})

    assert (first.status_code, first.content) == (201, b"7")
    assert "idempotent-replayed" not in first.headers
    assert (retry.status_code, retry.content) == (201, b"7")
    assert retry.headers["idempotent-replayed"] == "true"
    assert lasting(first) == lasting(retry)
    assert job.upstream.times(target) == 1


def test_the_upstream_sees_the_attempt_and_a_client_cannot_set_it(job: Job, key: str) -> None:
    target = job.path("orders", Answer())

    job.client.post(target, headers={"idempotency-key": key, "idempotency-attempt": "99"})

    assert job.upstream.last(target).header("idempotency-attempt") == ["1"]


def test_an_attempt_is_taken_from_a_request_without_a_key_too(job: Job) -> None:
    target = job.path("orders", Answer())

    job.client.post(target, headers={"idempotency-attempt": "99"})

    assert job.upstream.last(target).header("idempotency-attempt") == []


def test_a_request_without_a_key_passes_untouched_and_without_a_stream(job: Job) -> None:
    target = job.path("orders", Answer(201, [("idempotent-replayed", "true")]))
    before = streams(job)

    responses = [job.client.post(target, content=b"x") for _ in range(2)]
    responses += [job.client.get(target, headers={"idempotency-key": '"k"'})]

    assert [response.status_code for response in responses] == [201, 201, 201]
    assert job.upstream.times(target) == 3
    assert responses[0].headers["idempotent-replayed"] == "true"
    assert streams(job) == before


def streams(job: Job) -> float:
    return job.up.metric("idempotency_exchange_seconds_count", phase="request_headers")


def test_the_mark_of_a_replay_is_taken_from_a_first_response(job: Job, key: str) -> None:
    target = job.path("orders", Answer(201, [("idempotent-replayed", "true")]))

    assert "idempotent-replayed" not in job.client.post(target, headers={"idempotency-key": key}).headers


def test_twenty_racers_execute_once_and_the_nineteen_others_are_told_to_retry(job: Job, key: str) -> None:
    go_on = threading.Event()
    target = job.path("orders", Answer(201, [("content-type", "text/plain")], [b"once"], wait=go_on))
    start = threading.Barrier(20)

    def race(_: int) -> httpx.Response:
        start.wait()
        with httpx.Client(http1=True, timeout=20) as client:
            return client.post(job.up.url + target, content=b"x", headers={"idempotency-key": key})

    with ThreadPoolExecutor(20) as pool:
        racing = [pool.submit(race, number) for number in range(20)]
        deadline = time.monotonic() + 15
        while sum(future.done() for future in racing) < 19 and time.monotonic() < deadline:
            time.sleep(0.01)
        go_on.set()
        responses = [future.result() for future in racing]

    refused = [response for response in responses if response.status_code == 409]
    executed = [response for response in responses if response.status_code == 201]
    assert (len(executed), len(refused)) == (1, 19)
    assert all(response.headers["retry-after"] == "1" for response in refused)
    assert {problem(response)["type"] for response in refused} == {"urn:idempotency:in-progress"}
    replays = [job.client.post(target, content=b"x", headers={"idempotency-key": key}) for _ in range(3)]
    assert [replay.content for replay in replays] == [b"once"] * 3
    assert all(lasting(replay) == lasting(executed[0]) for replay in replays)
    assert job.upstream.times(target) == 1


def test_the_policy_may_answer_a_conflict_with_429(job: Job, key: str) -> None:
    go_on = threading.Event()
    target = job.path("throttled", Answer(wait=go_on))

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(job.client.post, target, headers={"idempotency-key": key})
        while not job.upstream.times(target):
            time.sleep(0.01)
        with httpx.Client() as other:
            refused = other.post(job.up.url + target, headers={"idempotency-key": key})
        go_on.set()

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
    assert first.result().status_code == 201


def test_another_payload_in_the_last_byte_of_two_megabytes_is_refused(job: Job, key: str) -> None:
    target = job.path("orders", Answer())
    body = bytes(range(256)) * 8192

    first = job.client.post(target, content=body, headers={"idempotency-key": key})
    other = job.client.post(target, content=body[:-1] + b"\x00", headers={"idempotency-key": key})
    retry = job.client.post(target, content=body, headers={"idempotency-key": key})

    assert first.status_code == 201
    assert (other.status_code, problem(other)["type"]) == (422, "urn:idempotency:key-reused")
    assert retry.headers["idempotent-replayed"] == "true"
    assert job.upstream.times(target) == 1


@pytest.mark.parametrize(
    "change",
    [{"params": {"dry": "1"}}, {"headers": {"content-type": "text/other"}}],
    ids=["the query", "the content type"],
)
def test_a_change_in_the_head_is_another_payload(
    job: Job, key: str, change: dict[str, dict[str, str]]
) -> None:
    target = job.path("orders", Answer())
    headers = {"idempotency-key": key, "content-type": "text/one"}
    job.client.post(target, content=b"x", headers=headers)

    other = job.client.post(
        target, content=b"x", headers=headers | change.get("headers", {}), params=change.get("params", {})
    )

    assert other.status_code == 422


def test_another_caller_with_the_same_key_executes_and_sees_nothing(job: Job, key: str) -> None:
    target = job.path("orders", Answer())

    responses = [
        job.client.post(target, headers={"idempotency-key": key, "authorization": f"Bearer {caller}"})
        for caller in ("alice", "bob", "alice")
    ]

    assert [response.headers.get("idempotent-replayed") for response in responses] == [None, None, "true"]
    assert job.upstream.times(target) == 2


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ([], "key-missing"),
        ([("idempotency-key", "bare")], "key-invalid"),
        ([("idempotency-key", '""')], "key-invalid"),
        ([("idempotency-key", f'"{"k" * 256}"')], "key-invalid"),
        ([("idempotency-key", '"a"'), ("idempotency-key", '"b"')], "key-invalid"),
    ],
    ids=["missing", "bare where strict", "empty", "too long", "given twice"],
)
def test_a_bad_key_is_refused_before_anything_is_executed(
    job: Job, headers: list[tuple[str, str]], kind: str
) -> None:
    target = job.path("required", Answer())

    refused = job.client.post(target, headers=headers)

    assert refused.status_code == 400
    document = problem(refused)
    assert document["type"] == f"urn:idempotency:{kind}"
    assert (
        "double quotes" in str(document["detail"])
        or "256" in str(document["detail"])
        or "once" in str(document["detail"])
    )
    assert job.upstream.times(target) == 0


def test_a_bare_and_a_quoted_key_are_the_same_where_the_policy_is_lenient(job: Job, key: str) -> None:
    target = job.path("orders", Answer())

    job.client.post(target, headers={"idempotency-key": key})
    retry = job.client.post(target, headers={"idempotency-key": key.strip('"')})

    assert retry.headers["idempotent-replayed"] == "true"


def test_a_key_on_what_only_an_upstream_takes_for_grpc_is_refused_not_let_through(job: Job, key: str) -> None:
    target = job.path("orders", Answer())
    content_type = "application/grpc-web+proto"

    refused = job.client.post(target, headers={"idempotency-key": key, "content-type": content_type})

    assert (refused.status_code, refused.json()["type"]) == (400, "urn:idempotency:key-invalid")
    assert job.upstream.times(target) == 0


def test_every_decision_is_counted(job: Job, key: str) -> None:
    target = job.path("orders", Answer())
    results = ("executed", "replayed", "key_reused")
    before = {r: job.up.metric("idempotency_requests_total", policy="default", result=r) for r in results}

    for body in (b"1", b"1", b"2"):
        job.client.post(target, content=body, headers={"idempotency-key": key})

    after = {r: job.up.metric("idempotency_requests_total", policy="default", result=r) for r in results}
    assert {r: after[r] - before[r] for r in results} == {"executed": 1, "replayed": 1, "key_reused": 1}


def test_no_raw_key_or_credential_is_in_the_store_or_in_a_log(job: Job, key: str) -> None:
    target = job.path("required", Answer())
    secret = "Bearer s3cr3t-credential"

    for _ in range(2):
        job.client.post(target, content=b"x", headers={"idempotency-key": key, "authorization": secret})
    job.client.post(target, headers={"idempotency-key": key.strip('"'), "authorization": secret})

    log = job.up.log.read_text()
    assert "key_invalid" in log
    assert key.strip('"') not in log
    assert "s3cr3t" not in log
