"""Unary gRPC calls (CONTRACT §7): a real client and a real server, with the sidecar between them."""

import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import httpx
import pytest

from tests.e2e.conftest import eventually
from tests.e2e.grpc_scene import CONFIG, Calls, running_calls
from tests.stack import h2client
from tests.stack.grpc_client import grpc_client
from tests.stack.grpc_upstream import Answer
from tests.stack.ports import lasting_port
from tests.stack.up import Up, running_up
from tests.stack.upstream import Answer as HttpAnswer
from tests.stack.upstream import Upstream, running_upstream
from tests.stack.valkey import Server, start_valkey

Code = grpc.StatusCode
ONE_MESSAGE = b"\x00\x00\x00\x00\x01m"
RECORDED = (
    Code.OK, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.ALREADY_EXISTS, Code.PERMISSION_DENIED,
    Code.FAILED_PRECONDITION, Code.OUT_OF_RANGE, Code.UNIMPLEMENTED, Code.UNAUTHENTICATED,
)  # fmt: skip
RELEASED = (Code.RESOURCE_EXHAUSTED, Code.UNAVAILABLE)
UNKNOWN = (
    Code.CANCELLED, Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.INTERNAL, Code.DATA_LOSS,
)  # fmt: skip


@pytest.fixture(scope="module")
def calls(valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    with running_calls(valkey, Path(tmp_path_factory.mktemp("grpc"))) as running:
        yield running


# --- Unary calls are executed once and given again


def test_a_retry_gets_the_same_message_and_metadata_and_nothing_is_executed_again(
    calls: Calls, key: str
) -> None:
    answer = Answer(
        b"\x00receipt \xff",
        initial=(("x-shard", "eu-7"), ("x-trace-bin", b"\x00\x01\xfe\xff")),
        trailing=(("x-cost", "3, of 5"), ("x-proof-bin", b"\xff,;=\x00")),
    )

    path, (first, *retries) = calls.unary(answer, key, times=3)

    assert (first.code, first.messages, first.replayed) == (Code.OK, (answer.message,), False)
    assert first.bare().initial == answer.initial
    assert first.bare().trailing == answer.trailing
    assert [retry.bare() for retry in retries] == [first.bare()] * 2
    assert [retry.replayed for retry in retries] == [True, True]
    assert calls.upstream.times(path) == 1
    assert calls.upstream.last(path).metadata["idempotency-attempt"] == "1"


@pytest.mark.parametrize("message", [b"", b"x", b"\x00" * 70_000, b"y" * 900_000], ids=len)
def test_messages_of_any_size_are_given_again(calls: Calls, key: str, message: bytes) -> None:
    path, (first, retry) = calls.unary(Answer(message), key, times=2)

    assert (first.messages, retry.messages, retry.replayed) == ((message,), (message,), True)
    assert calls.upstream.times(path) == 1


def test_repeated_metadata_is_given_again_as_one_value_joined_with_commas(calls: Calls, key: str) -> None:
    answer = Answer(initial=(("x-part", "1"), ("x-part", "2")), trailing=(("x-sum", "a"), ("x-sum", "b")))

    _, (first, retry) = calls.unary(answer, key, times=2)

    assert (first.bare().initial, first.bare().trailing) == (answer.initial, answer.trailing)
    assert (retry.bare().initial, retry.bare().trailing) == ((("x-part", "1,2"),), (("x-sum", "a,b"),))
    assert retry.messages == first.messages


def test_repeated_binary_metadata_which_clients_cannot_read_joined_is_not_given_again(
    calls: Calls, key: str
) -> None:
    answer = Answer(trailing=(("x-proof-bin", b"one"), ("x-proof-bin", b"two")))

    path, (first, retry) = calls.unary(answer, key, times=2)

    assert first.bare().trailing == answer.trailing
    assert (retry.code, retry.problem) == (Code.FAILED_PRECONDITION, "response-not-stored")
    assert calls.upstream.times(path) == 1


@pytest.mark.parametrize("initial", [(), (("x-shard", "eu-7"),)], ids=["trailers-only", "with a head"])
@pytest.mark.parametrize("status", RECORDED[1:])
def test_an_error_that_is_recorded_is_given_again_with_its_text_and_metadata(
    calls: Calls, key: str, status: grpc.StatusCode, initial: tuple[tuple[str, str], ...]
) -> None:
    trailing = (("x-cost", "3"), ("grpc-status-details-bin", b"\x08\x05\x12\xff"))
    answer = Answer(status=status, details="schön: 100 % \u2713\nvorbei", initial=initial, trailing=trailing)

    path, (first, retry) = calls.unary(answer, key, times=2)

    assert (first.code, first.details) == (status, answer.details)
    assert (first.bare().initial, first.bare().trailing) == (initial, trailing)
    assert retry.bare() == first.bare()
    assert (first.replayed, retry.replayed) == (False, True)
    assert calls.upstream.times(path) == 1


def test_a_replay_is_byte_for_byte_what_was_recorded_on_the_wire_as_well(calls: Calls, key: str) -> None:
    head = [("content-type", "application/grpc+proto"), ("te", "trailers"), ("idempotency-key", key)]
    replies: dict[str, list[h2client.Response]] = {}
    for name, answer in {
        "message": Answer(b"done", initial=(("x-i", "1"),), trailing=(("x-t-bin", b"\xff"),)),
        "trailers-only": Answer(status=Code.NOT_FOUND, details="50 % schön", trailing=(("x-t", "1"),)),
    }.items():
        url = calls.up.url + calls.path("unary", answer)
        replies[name] = [h2client.post(url, head, ONE_MESSAGE) for _ in range(2)]

    for first, retry in replies.values():
        assert retry.body == first.body
        assert retry.trailers == first.trailers
        assert _told(retry) == [*_told(first), ("idempotent-replayed", "true")]
    assert replies["trailers-only"][1].trailers == []
    assert replies["trailers-only"][1].header("grpc-message") == ["50 %25 sch%C3%B6n"]
    assert replies["message"][1].trailers[-1][0] == "x-t-bin"


def _told(response: h2client.Response) -> h2client.Fields:
    """The head less what is about this one exchange."""
    own = ("date", "server", "x-envoy-upstream-service-time")
    return [pair for pair in response.headers if pair[0] not in own]


# --- What a status means for the key


@pytest.mark.parametrize("status", RELEASED)
def test_a_refusal_of_the_upstream_is_released(calls: Calls, key: str, status: grpc.StatusCode) -> None:
    answer = Answer(status=status, details="later")
    path, (refused,) = calls.unary(answer, key, times=1)
    answer.status = Code.OK

    executed, replayed = (calls.client.unary(path, key) for _ in range(2))

    assert (refused.code, refused.details) == (status, "later")
    assert [(ended.code, ended.replayed) for ended in (executed, replayed)] == [
        (Code.OK, False),
        (Code.OK, True),
    ]
    assert calls.upstream.last(path).metadata["idempotency-attempt"] == "2"


@pytest.mark.parametrize("status", UNKNOWN)
def test_a_status_that_may_hide_an_execution_leaves_the_outcome_unknown(
    calls: Calls, key: str, status: grpc.StatusCode
) -> None:
    path, (first, retry) = calls.unary(Answer(status=status, details="who knows"), key, times=2)

    assert (first.code, first.details) == (status, "who knows")
    assert (retry.code, retry.problem) == (Code.FAILED_PRECONDITION, "outcome-unknown")
    assert calls.upstream.times(path) == 1


def test_a_policy_overrides_what_a_status_means(calls: Calls, key: str) -> None:
    ended = {}
    for status in (Code.UNAVAILABLE, Code.NOT_FOUND, Code.OK):
        path, (_, ended[status]) = calls.unary(Answer(status=status), key, times=2, prefix="chosen")
        assert calls.upstream.times(path) == (2 if status is Code.NOT_FOUND else 1)

    assert (ended[Code.UNAVAILABLE].code, ended[Code.UNAVAILABLE].replayed) == (Code.UNAVAILABLE, True)
    assert (ended[Code.NOT_FOUND].code, ended[Code.NOT_FOUND].replayed) == (Code.NOT_FOUND, False)
    assert ended[Code.OK].problem == "outcome-unknown"


def test_an_upstream_that_is_down_was_never_sent_the_call(valkey: Server, tmp_path: Path, key: str) -> None:
    origin = f"h2c://127.0.0.1:{lasting_port()}"
    with (
        running_up(origin, tmp_path, "--store", valkey.url, config=CONFIG) as up,
        grpc_client(up.url) as client,
    ):
        ended = [client.unary(f"/unary/down-{key}", key) for _ in range(2)]
        released = up.metric("idempotency_outcomes_total", outcome="release", reason="envoy-never-sent")

    assert [(one.code, one.problem) for one in ended] == [(Code.UNAVAILABLE, "")] * 2
    assert released == 2


def test_a_client_that_gives_up_leaves_the_outcome_unknown(calls: Calls, key: str) -> None:
    answer = Answer(wait=threading.Event())
    path = calls.path("unary", answer)

    def answer_to_a_retry() -> tuple[grpc.StatusCode, str]:
        retry = calls.client.unary(path, key)
        return retry.code, retry.problem

    call = calls.client.begin(path, key, [b"m"])
    try:
        assert answer.started.wait(10)
        call.cancel()
        # Until its going has come all the way, the first attempt is in progress.
        eventually(lambda: answer_to_a_retry() == (Code.FAILED_PRECONDITION, "outcome-unknown"))
    finally:
        calls.let_go(path)

    assert call.code() is Code.CANCELLED
    assert calls.upstream.times(path) == 1


def test_under_retry_the_same_message_goes_again_and_another_does_not(calls: Calls, key: str) -> None:
    answer = Answer(status=Code.INTERNAL)
    path, _ = calls.unary(answer, key, times=1, prefix="retrying")
    answer.status = Code.OK

    other = calls.client.unary(path, key, b"another")
    again, replayed = (calls.client.unary(path, key) for _ in range(2))

    assert (other.code, other.problem) == (Code.FAILED_PRECONDITION, "key-reused")
    assert (again.code, again.messages, again.replayed) == (Code.OK, (b"done",), False)
    assert (replayed.messages, replayed.replayed) == ((b"done",), True)
    assert calls.upstream.last(path).metadata["idempotency-attempt"] == "3"


@pytest.fixture(scope="module")
def strange(valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, Up]]:
    """An upstream that speaks HTTP/2 but not always gRPC, and the stack in front of it."""
    with running_upstream() as upstream:
        origin = f"h2c://127.0.0.1:{upstream.port}"
        directory = Path(tmp_path_factory.mktemp("strange"))
        with running_up(origin, directory, "--store", valkey.url, config=CONFIG) as up:
            yield upstream, up


@pytest.mark.parametrize(("status", "problem", "executions"), [(503, "", 2), (502, "outcome-unknown", 1)])
def test_a_response_of_another_http_status_is_judged_by_that(
    strange: tuple[Upstream, Up], status: int, problem: str, executions: int
) -> None:
    upstream, up = strange
    upstream.script = lambda _: HttpAnswer(status, [("content-type", "text/plain")], [b"busy"])
    path, key = f"/unary/call-{uuid.uuid4().hex}", uuid.uuid4().hex

    with grpc_client(up.url) as client:
        first, retry = (client.unary(path, key) for _ in range(2))

    assert (first.problem, retry.problem) == ("", problem)
    assert upstream.times(path) == executions


def test_a_response_without_a_status_leaves_the_outcome_unknown(
    strange: tuple[Upstream, Up], key: str
) -> None:
    upstream, up = strange
    upstream.script = lambda _: HttpAnswer(
        200, [("content-type", "application/grpc")], [ONE_MESSAGE], sized=False
    )
    path = f"/unary/call-{uuid.uuid4().hex}"

    with grpc_client(up.url) as client:
        first, retry = (client.unary(path, key) for _ in range(2))

    assert (first.code, first.problem) == (Code.UNKNOWN, "")
    assert (retry.code, retry.problem) == (Code.FAILED_PRECONDITION, "outcome-unknown")
    assert upstream.times(path) == 1


@pytest.mark.parametrize(
    "answer",
    [
        HttpAnswer(404, [("content-type", "text/html"), ("x-i", "1")], [b"<p>what?</p>"]),
        HttpAnswer(200, [("content-type", "application/grpc")], [ONE_MESSAGE], [("grpc-status", "0")]),
    ],
    ids=["a page", "a content-length"],
)
def test_a_response_that_no_grpc_server_gives_is_given_again_as_it_was(
    strange: tuple[Upstream, Up], key: str, answer: HttpAnswer
) -> None:
    upstream, up = strange
    upstream.script = lambda _: answer
    path = f"/unary/call-{uuid.uuid4().hex}"
    head = [("content-type", "application/grpc"), ("te", "trailers"), ("idempotency-key", key)]

    first, retry = (h2client.post(up.url + path, head, ONE_MESSAGE) for _ in range(2))

    assert first.header(":status") == retry.header(":status") == [str(answer.status)]
    assert (retry.body, retry.trailers) == (first.body, first.trailers)
    assert retry.header("content-type") == first.header("content-type")
    assert retry.header("idempotent-replayed") == ["true"]
    assert upstream.times(path) == 1


# --- Refusals


def test_a_duplicate_of_a_call_under_way_is_aborted_with_a_word_on_when_to_retry(
    calls: Calls, key: str
) -> None:
    path = calls.path("unary", Answer())
    with calls.under_way(path, key) as first:
        duplicate = calls.client.unary(path, key)

    assert (duplicate.code, duplicate.problem) == (Code.ABORTED, "in-progress")
    assert ("grpc-retry-pushback-ms", "1000") in duplicate.trailing
    assert first.result().code is Code.OK
    assert calls.upstream.times(path) == 1


def test_a_client_with_a_retry_policy_waits_as_long_as_it_is_told_and_gets_the_answer(
    calls: Calls, key: str
) -> None:
    path = calls.path("unary", Answer(b"once"))
    began = time.monotonic()
    with (
        ThreadPoolExecutor(1) as pool,
        calls.under_way(path, key) as first,
        grpc_client(calls.up.url, retry_on="ABORTED") as retrying,
    ):
        duplicate = pool.submit(retrying.unary, path, key)
        with pytest.raises(TimeoutError):
            duplicate.result(0.3)
        calls.let_go(path)
        assert (duplicate.result().messages, duplicate.result().replayed) == ((b"once",), True)

    assert time.monotonic() - began > 1, "its own back-off of 10 ms was not put off"
    assert first.result().messages == (b"once",)
    assert calls.upstream.times(path) == 1


def test_a_duplicate_may_wait_for_the_call_under_way_and_get_its_answer(calls: Calls, key: str) -> None:
    path = calls.path("unary", Answer(b"once"), "waiting")
    waits = {"policy": "waiting", "result": "replayed"}
    with ThreadPoolExecutor(1) as pool, calls.under_way(path, key) as first:
        duplicate = pool.submit(calls.client.unary, path, key)
        with pytest.raises(TimeoutError):
            duplicate.result(0.3)

    assert (first.result().messages, duplicate.result().messages) == ((b"once",), (b"once",))
    assert duplicate.result().replayed
    assert calls.up.metric("idempotency_requests_total", **waits) == 1
    assert calls.upstream.times(path) == 1


def test_another_message_under_the_same_key_is_refused(calls: Calls, key: str) -> None:
    path, _ = calls.unary(Answer(), key, times=1)

    other = calls.client.unary(path, key, b"another")

    assert (other.code, other.problem) == (Code.FAILED_PRECONDITION, "key-reused")
    assert (other.initial, other.messages, other.replayed) == ((), (), False)
    assert calls.upstream.times(path) == 1


@pytest.mark.parametrize(
    ("key_", "problem"), [(None, "key-missing"), ("a,b", "key-invalid"), ('""', "key-invalid")]
)
def test_a_call_without_a_proper_key_is_told_which_argument_is_wrong(
    calls: Calls, key_: str | None, problem: str
) -> None:
    path = calls.path("unary", Answer(), "required")

    ended = calls.client.unary(path, key_)

    assert (ended.code, ended.problem) == (Code.INVALID_ARGUMENT, problem)
    assert ("link", '<https://docs.example/idempotency>; rel="describedby"') in ended.trailing
    assert calls.upstream.times(path) == 0


def test_a_call_with_a_key_under_a_detached_policy_is_refused_and_one_without_passes(
    calls: Calls, key: str
) -> None:
    path = calls.path("unary", Answer(), "detached")

    refused, passed = calls.client.unary(path, key), calls.client.unary(path, None)

    assert (refused.code, refused.problem) == (Code.UNIMPLEMENTED, "key-invalid")
    assert "execution: detached" in refused.details
    assert (passed.code, passed.messages) == (Code.OK, (b"done",))
    assert calls.upstream.times(path) == 1


def test_a_response_that_is_too_large_to_keep_is_refused_to_retries(calls: Calls, key: str) -> None:
    path, (first, retry) = calls.unary(Answer(b"x" * 100), key, times=2, prefix="small")

    assert (first.code, first.messages) == (Code.OK, (b"x" * 100,))
    assert (retry.code, retry.problem) == (Code.FAILED_PRECONDITION, "response-not-stored")
    assert "with status OK" in retry.details
    assert calls.upstream.times(path) == 1


def test_a_store_that_is_gone_makes_keyed_calls_unavailable_and_leaves_the_others_alone(
    calls: Calls, tmp_path: Path, key: str
) -> None:
    path = calls.path("unary", Answer())
    origin = f"h2c://127.0.0.1:{calls.upstream.port}"
    with (
        start_valkey(tmp_path) as store,
        running_up(origin, tmp_path, "--store", store.url, config=CONFIG) as up,
        grpc_client(up.url) as client,
    ):
        store.process.kill()
        store.process.wait()
        keyed, keyless = client.unary(path, key), client.unary(path, None)

    assert (keyed.code, keyed.problem) == (Code.UNAVAILABLE, "store-unavailable")
    assert ("grpc-retry-pushback-ms", "1000") in keyed.trailing
    assert keyless.code is Code.OK
    assert calls.upstream.times(path) == 1


@pytest.mark.parametrize("format_", ["", "+proto", "+json"])
def test_an_error_is_trailers_only_whatever_the_format_of_the_call(calls: Calls, format_: str) -> None:
    url = calls.up.url + calls.path("unary", Answer(), "required")
    head = [("content-type", f"application/grpc{format_}"), ("te", "trailers")]

    reply = h2client.post(url, head, ONE_MESSAGE)

    assert (reply.header(":status"), reply.header("grpc-status")) == (["200"], ["3"])
    assert reply.header("content-type") == ["application/grpc"]
    assert (reply.body, reply.trailers) == (b"", [])


def test_grpc_web_with_a_key_is_refused_over_http_and_passes_without(calls: Calls, key: str) -> None:
    path = calls.path("unary", Answer())
    head = {"content-type": "application/grpc-web+proto"}
    with httpx.Client(base_url=calls.up.url, http1=False, http2=True) as client:
        refused = client.post(path, headers={**head, "idempotency-key": key}, content=b"x")
        passed = client.post(path, headers=head, content=b"x")

    assert (refused.status_code, refused.json()["type"]) == (400, "urn:idempotency:key-invalid")
    assert "application/grpc+" in refused.json()["detail"]
    assert passed.headers.get("content-type") != "application/problem+json"


def test_every_decision_on_a_call_is_counted(calls: Calls, key: str) -> None:
    def counted() -> tuple[float, ...]:
        results = ("executed", "replayed", "key_reused")
        of = calls.up.metric
        return (
            *(of("idempotency_requests_total", policy="default", result=result) for result in results),
            of("idempotency_outcomes_total", policy="default", outcome="record", reason="grpc-status"),
        )

    before = counted()
    path, _ = calls.unary(Answer(status=Code.NOT_FOUND), key, times=2)
    calls.client.unary(path, key, b"another")

    assert [after - was for after, was in zip(counted(), before, strict=True)] == [1, 1, 1, 1]
