"""The job itself on each Envoy over each transport. A test's name is its row in docs/compatibility.md."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.envoys.configuration import complaint, configuration_for
from tests.envoys.limits import STREAMS_A_REPLAY
from tests.envoys.stack import TYPED, EnvoyStack, eventually, kind
from tests.stack.upstream import Answer


def test_the_rendered_configuration_is_accepted_as_it_is(stack: EnvoyStack, tmp_path: Path) -> None:
    assert complaint(stack.program, configuration_for(stack.pairing.version), tmp_path) is None


def test_a_request_without_a_key_passes_without_a_stream_to_the_sidecar(stack: EnvoyStack) -> None:
    target = stack.path(Answer())
    before = stack.stat("http.ingress.ext_proc.idempotency.streams_started")

    responses = [stack.client.post(target, content=b"x") for _ in range(2)]

    assert [response.status_code for response in responses] == [201, 201]
    assert stack.upstream.times(target) == 2
    assert stack.stat("http.ingress.ext_proc.idempotency.streams_started") == before


def test_a_new_key_is_executed_once_as_attempt_1(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, TYPED, [b"receipt"]))

    first = stack.post(target, key, b"amount=7")

    assert (kind(first), first.content) == ((201, "passed"), b"receipt")
    assert stack.upstream.times(target) == 1
    assert stack.upstream.last(target).header("idempotency-attempt") == ["1"]


def test_a_body_of_three_megabytes_passes_unchanged(stack: EnvoyStack, key: str) -> None:
    target, body = stack.path(Answer()), bytes(range(256)) * 12_000

    first = stack.post(target, key, body)

    assert kind(first) == (201, "passed")
    assert stack.upstream.last(target).sha256 == hashlib.sha256(body).hexdigest()


def test_a_body_larger_than_any_that_is_held_in_memory_passes_unchanged(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, TYPED))
    body = bytes(range(256)) * 48_000  # over `max_request_body`, 10 MiB

    first, retry = stack.post(target, key, body), stack.post(target, key, body)

    assert (kind(first), kind(retry)) == ((201, "passed"), (201, "replayed"))
    assert stack.upstream.last(target).sha256 == hashlib.sha256(body).hexdigest()


def test_a_request_that_is_forwarded_keeps_its_content_length(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer())

    stack.post(target, key, b"amount=7")

    assert stack.upstream.last(target).header("content-length") == ["8"]
    assert stack.upstream.last(target).header("transfer-encoding") == []


def test_a_captured_response_keeps_its_content_length(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, TYPED, [b"receipt"]))

    first = stack.post(target, key)

    assert first.headers.get("content-length") == "7"


def test_a_retry_without_a_body_is_replayed(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, [*TYPED, ("location", "/orders/7")], [b"receipt"]))
    stack.post(target, key)

    retry = stack.post(target, key)

    assert (kind(retry), retry.content) == ((201, "replayed"), b"receipt")
    assert retry.headers["location"] == "/orders/7"
    assert stack.upstream.times(target) == 1


@STREAMS_A_REPLAY
def test_a_response_without_a_content_type_is_replayed(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, [], [b"receipt"]))
    stack.post(target, key)

    retry = stack.post(target, key)

    assert (kind(retry), retry.content) == ((201, "replayed"), b"receipt")
    assert "content-type" not in retry.headers


@STREAMS_A_REPLAY
def test_a_response_with_trailers_is_replayed_with_them(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(200, TYPED, [b"receipt"], [("checksum", "abc")], sized=False))
    first = stack.exchanged_raw(target, key, "te: trailers")

    retry = stack.exchanged_raw(target, key, "te: trailers")

    assert b"idempotent-replayed: true" in retry
    assert first.endswith(b"receipt\r\n0\r\nchecksum: abc\r\n\r\n")
    assert retry.endswith(b"receipt\r\n0\r\nchecksum: abc\r\n\r\n")


def test_a_retry_with_a_body_is_compared_and_replayed(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, TYPED, [b"receipt"]))
    stack.post(target, key, b"amount=7")

    retry = stack.post(target, key, b"amount=7")

    assert (kind(retry), retry.content) == ((201, "replayed"), b"receipt")


def test_a_retry_with_another_body_is_refused_with_422(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, TYPED))
    stack.post(target, key, b"amount=7")

    assert kind(stack.post(target, key, b"amount=8")) == (422, "key-reused")


def test_a_response_of_two_megabytes_is_replayed(stack: EnvoyStack, key: str) -> None:
    pieces = [bytes(range(256)) * 1_000] * 8
    target = stack.path(Answer(201, TYPED, pieces), "large")
    first = stack.post(target, key, b"amount=7")

    retry = stack.post(target, key, b"amount=7")

    assert (kind(first), kind(retry)) == ((201, "passed"), (201, "replayed"))
    assert first.content == retry.content == b"".join(pieces)


def test_what_an_envoy_cannot_do_is_refused_and_nothing_is_executed_twice(
    stack: EnvoyStack, key: str
) -> None:
    answers = (Answer(201, TYPED), Answer(201, []), Answer(201, TYPED, trailers=[("a", "b")], sized=False))
    calls = [
        (stack.path(answer, prefix), body)
        for answer in answers
        for prefix in ("orders", "waiting", "detached")
        for body in (b"", b"amount=7")
    ]

    answered = {target: [kind(stack.post(target, key, body)) for _ in range(2)] for target, body in calls}

    allowed = {(201, "passed"), (201, "replayed"), (409, "response-not-stored")}
    assert [each for each in answered.items() if not set(each[1]) <= allowed] == []
    assert {stack.upstream.times(target) for target in answered} == {1}


def test_a_duplicate_of_a_running_request_is_refused_with_409(stack: EnvoyStack, key: str) -> None:
    with stack.executing(key, b"amount=7") as execution:
        refused = stack.post(execution.target, key, b"amount=7")
        first = execution.finish()

    assert (kind(refused), kind(first)) == ((409, "in-progress"), (201, "passed"))
    assert stack.upstream.times(execution.target) == 1


def test_a_duplicate_without_a_body_may_wait_for_the_answer(stack: EnvoyStack, key: str) -> None:
    first, waiter = run_with_a_waiter(stack, key, b"")

    assert (kind(first), kind(waiter)) == ((201, "passed"), (201, "replayed"))


def test_a_duplicate_with_a_body_may_wait_for_the_answer(stack: EnvoyStack, key: str) -> None:
    first, waiter = run_with_a_waiter(stack, key, b"amount=7")

    assert (kind(first), kind(waiter)) == ((201, "passed"), (201, "replayed"))


def test_a_duplicate_with_a_body_of_three_megabytes_may_wait_for_the_answer(
    stack: EnvoyStack, key: str
) -> None:
    first, waiter = run_with_a_waiter(stack, key, bytes(range(256)) * 12_000)

    assert (kind(first), kind(waiter)) == ((201, "passed"), (201, "replayed"))


def run_with_a_waiter(stack: EnvoyStack, key: str, body: bytes) -> tuple[httpx.Response, httpx.Response]:
    """A request and its duplicate that waits; the first is finished once Envoy has both at the sidecar."""
    with stack.executing(key, body, prefix="waiting") as execution, ThreadPoolExecutor(1) as pool:
        before = stack.active_exchanges()
        waiting = pool.submit(stack.post, execution.target, key, body)
        eventually(lambda: waiting.done() or stack.active_exchanges() > before, "the duplicate waits")
        return execution.finish(), waiting.result()


def test_an_answer_503_releases_the_key(stack: EnvoyStack, key: str) -> None:
    answer = Answer(503, TYPED)
    target = stack.path(answer)
    refused = stack.post(target, key, b"amount=7")
    answer.status = 201

    retry = stack.post(target, key, b"amount=7")

    assert (kind(refused), kind(retry)) == ((503, "passed"), (201, "passed"))
    assert stack.upstream.last(target).header("idempotency-attempt") == ["2"]


def test_a_call_without_a_body_is_executed_detached_and_replayed(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, TYPED, [b"receipt"]), "detached")

    first, retry = stack.post(target, key), stack.post(target, key)

    assert (kind(first), kind(retry)) == ((201, "passed"), (201, "replayed"))
    assert stack.upstream.times(target) == 1


def test_a_call_with_a_body_is_executed_detached_and_replayed(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, TYPED, [b"receipt"]), "detached")

    first, retry = stack.post(target, key, b"amount=7"), stack.post(target, key, b"amount=7")

    assert (kind(first), kind(retry)) == ((201, "passed"), (201, "replayed"))
    assert stack.upstream.times(target) == 1


def test_a_client_that_goes_away_leaves_an_outcome_that_is_held(stack: EnvoyStack, key: str) -> None:
    go_on = threading.Event()
    target = stack.path(Answer(201, TYPED, wait=go_on))

    with stack.sent_raw(target, key, "content-length: 0"):
        eventually(lambda: stack.upstream.times(target), "the upstream is asked")

    eventually(lambda: kind(stack.post(target, key)) == (409, "outcome-unknown"), "the outcome is unknown")
    go_on.set()
    assert stack.upstream.times(target) == 1


def test_a_json_body_is_compared_by_its_meaning(stack: EnvoyStack, key: str) -> None:
    target = stack.path(Answer(201, TYPED), "meaning")
    first = stack.post_json(target, key, b'{"a": 1, "b": 2}')

    again, other = (stack.post_json(target, key, body) for body in (b'{"b":2,"a":1.0}', b'{"a": 2}'))

    assert (kind(first), kind(again), kind(other)) == (
        (201, "passed"),
        (201, "replayed"),
        (422, "key-reused"),
    )
    assert stack.upstream.last(target).sha256 == hashlib.sha256(b'{"a": 1, "b": 2}').hexdigest()
    assert kind(stack.post_json(target, f'{key[:-1]}2"', b"{")) == (400, "body-invalid")


def test_in_shadow_nothing_is_changed(stack: EnvoyStack, key: str) -> None:
    body = bytes(range(256)) * 12_000
    target = stack.path(Answer(201, TYPED, [b"receipt"]), "shadow")

    answers = [stack.post(target, key, body) for _ in range(2)]

    assert [(kind(answer), answer.content) for answer in answers] == [((201, "passed"), b"receipt")] * 2
    assert stack.upstream.times(target) == 2
    seen = stack.upstream.last(target)
    assert seen.sha256 == hashlib.sha256(body).hexdigest()
    assert seen.header("content-length") == [str(len(body))]
    assert seen.header("idempotency-attempt") == []
