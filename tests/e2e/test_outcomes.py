"""How an exchange may end, and what that does to the key (CONTRACT §5), through a real Envoy."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import CONFIG, POLICIES, Job, eventually
from tests.stack.children import frozen
from tests.stack.ports import lasting_port
from tests.stack.up import running_up
from tests.stack.upstream import Answer
from tests.stack.valkey import Server, start_valkey


def outcome(job: Job, key: str, target: str, content: bytes = b"x") -> tuple[int, str]:
    """The status and the kind of answer of a retry: executed, replayed, or the problem's type."""
    executed = job.upstream.times(target)
    retry = job.client.post(target, content=content, headers={"idempotency-key": key})
    if retry.headers.get("content-type") == "application/problem+json":
        return retry.status_code, retry.json()["type"].removeprefix("urn:idempotency:")
    replayed = retry.headers.get("idempotent-replayed") == "true"
    assert job.upstream.times(target) == executed + (not replayed)
    return retry.status_code, "replayed" if replayed else "executed"


@pytest.mark.parametrize("status", [200, 202, 303, 400, 401, 404, 409, 422, 500, 501])
def test_answers_of_the_upstream_are_recorded(job: Job, key: str, status: int) -> None:
    target = job.path("orders", Answer(status))
    first = job.client.post(target, content=b"x", headers={"idempotency-key": key})

    assert first.status_code == status
    assert outcome(job, key, target) == (status, "replayed")


@pytest.mark.parametrize("status", [408, 425, 429, 503])
def test_refusals_of_the_upstream_are_released_and_the_attempt_counts_on(
    job: Job, key: str, status: int
) -> None:
    answer = Answer(status)
    target = job.path("orders", answer)
    first = job.client.post(target, content=b"x", headers={"idempotency-key": key})
    answer.status = 201

    assert first.status_code == status
    assert outcome(job, key, target) == (201, "executed")
    assert job.upstream.last(target).header("idempotency-attempt") == ["2"]
    assert outcome(job, key, target) == (201, "replayed")


@pytest.mark.parametrize("status", [502, 504])
def test_an_upstream_that_is_itself_a_gateway_leaves_the_outcome_unknown(
    job: Job, key: str, status: int
) -> None:
    target = job.path("orders", Answer(status))
    first = job.client.post(target, content=b"x", headers={"idempotency-key": key})

    assert first.status_code == status
    assert outcome(job, key, target) == (409, "outcome-unknown")
    assert job.upstream.times(target) == 1


def test_a_policy_overrides_outcomes_by_class_and_by_status(job: Job, key: str) -> None:
    for status in (500, 502, 404):
        target = job.path("throttled", Answer(status))
        job.client.post(target, content=b"x", headers={"idempotency-key": key})

        assert outcome(job, key, target) == (status, "executed")


def test_a_response_cut_short_is_never_a_record(job: Job, key: str) -> None:
    target = job.path("orders", Answer(200, [], [b"a" * 1000, b"b" * 1000], cut_after=1))
    with pytest.raises(httpx.RemoteProtocolError):
        job.client.post(target, content=b"x", headers={"idempotency-key": key})
    eventually(lambda: outcome(job, key, target) == (409, "outcome-unknown"))
    assert job.upstream.times(target) == 1


def test_a_client_that_leaves_after_its_request_leaves_the_outcome_unknown(job: Job, key: str) -> None:
    go_on = threading.Event()
    target = job.path("orders", Answer(wait=go_on))
    connection = job.raw_request(target, key, body=b"x")
    eventually(lambda: job.upstream.times(target) == 1)

    connection.close()

    eventually(lambda: outcome(job, key, target) == (409, "outcome-unknown"))
    go_on.set()
    assert job.upstream.times(target) == 1


def test_a_client_that_leaves_in_the_middle_of_its_request_has_executed_nothing(job: Job, key: str) -> None:
    def begun() -> float:
        return job.up.metric("idempotency_requests_total", policy="default", result="executed")

    def released() -> float:
        return job.up.metric(
            "idempotency_outcomes_total", policy="default", outcome="release", reason="request-incomplete"
        )

    target = job.path("orders", Answer())
    begun_before, released_before = begun(), released()
    connection = job.raw_request(target, key, body=b"x" * 10, announced=1000)
    eventually(lambda: begun() > begun_before)

    connection.close()

    eventually(lambda: released() > released_before)
    assert outcome(job, key, target) == (201, "executed")
    assert job.upstream.last(target).header("idempotency-attempt") == ["2"]


def test_a_response_that_begins_before_the_request_ended_cannot_be_replayed(job: Job, key: str) -> None:
    target = job.path("orders", Answer(201, early=True))

    def trickle() -> Iterator[bytes]:
        for _ in range(50):
            yield b"z" * 1000
            time.sleep(0.02)

    first = job.client.post(target, content=trickle(), headers={"idempotency-key": key})

    assert first.status_code == 201
    assert outcome(job, key, target)[1] == "response-not-stored"


def test_an_upstream_that_is_down_is_released_and_the_retry_executes(
    valkey: Server, tmp_path: Path, key: str
) -> None:
    port = lasting_port()
    with (
        running_up(f"http://127.0.0.1:{port}", tmp_path, "--store", valkey.url, config=CONFIG) as up,
        httpx.Client(base_url=up.url) as client,
    ):
        answers = [client.post("/orders/1", content=b"x", headers={"idempotency-key": key}) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [503, 503]
        assert all("json" not in answer.headers.get("content-type", "") for answer in answers)
        assert up.metric("idempotency_outcomes_total", outcome="release", reason="envoy-never-sent") == 2


def test_a_store_that_is_gone_refuses_keyed_requests_and_leaves_the_others_alone(
    job: Job, tmp_path: Path, key: str
) -> None:
    target = job.path("orders", Answer())
    upstream = f"http://127.0.0.1:{job.upstream.port}"
    with (
        start_valkey(tmp_path) as store,
        running_up(upstream, tmp_path, "--store", store.url, config=CONFIG) as up,
        httpx.Client(base_url=up.url) as client,
    ):
        store.process.kill()
        store.process.wait()

        keyed = client.post(target, headers={"idempotency-key": key})
        keyless = client.post(target)
        eventually(lambda: httpx.get(f"{up.admin}/readyz").status_code == 503)

    assert (keyed.status_code, keyed.json()["type"]) == (503, "urn:idempotency:store-unavailable")
    assert keyed.headers["retry-after"] == "1"
    assert keyless.status_code == 201
    assert job.upstream.times(target) == 1


def test_a_sidecar_that_is_gone_fails_closed(job: Job, tmp_path: Path, key: str) -> None:
    """Not even Envoy's own word for it: the status is one that a client retries."""
    target = job.path("orders", Answer())
    upstream = f"http://127.0.0.1:{job.upstream.port}"
    with (
        running_up(upstream, tmp_path, config=POLICIES) as up,  # Envoy waits for twice the store's time-out
        httpx.Client(base_url=up.url) as client,
        frozen(up.worker_pids[0]),
    ):
        keyed = client.post(target, headers={"idempotency-key": key})
        keyless = client.post(target)

    assert keyed.status_code in (503, 504)
    assert keyless.status_code == 201
    assert job.upstream.times(target) == 1
