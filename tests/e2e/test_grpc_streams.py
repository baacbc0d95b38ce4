"""gRPC streams with a key, through a real Envoy: they pass unharmed, are executed once, and nothing hangs."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc
import pytest

from tests.e2e.conftest import eventually
from tests.e2e.grpc_scene import Calls, running_calls
from tests.stack.grpc_client import grpc_client
from tests.stack.grpc_upstream import Answer
from tests.stack.valkey import Server

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def calls(valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    with running_calls(valkey, Path(tmp_path_factory.mktemp("grpc"))) as running:
        yield running


@pytest.mark.parametrize("prefix", ["call", "retrying"])
@pytest.mark.parametrize(
    ("kind", "sent", "got"),
    [
        ("server-stream", [b"a,b,c"], (b"a", b"b", b"c")),
        ("client-stream", [b"a", b"", b"c" * 100_000], (b"done",)),
        ("bidi", [b"a", b"b"], (b"a", b"b")),
    ],
)
def test_a_stream_passes_as_it_is_and_its_duplicate_is_refused(  # noqa: PLR0917 (a table's columns)
    calls: Calls, key: str, prefix: str, kind: str, sent: list[bytes], got: tuple[bytes, ...]
) -> None:
    path = calls.path(kind, Answer(trailing=(("x-cost", "3"),)), prefix)

    first, duplicate = (calls.client.stream(path, key, sent) for _ in range(2))

    assert (first.code, first.messages) == (Code.OK, got)
    assert first.bare().trailing == (("x-cost", "3"),)
    assert (duplicate.code, duplicate.problem) == (Code.FAILED_PRECONDITION, "response-not-stored")
    assert calls.upstream.times(path) == 1


@pytest.mark.parametrize("kind", ["server-stream", "client-stream"])
def test_a_stream_of_one_message_each_way_cannot_be_told_from_a_unary_call_and_is_given_again(
    calls: Calls, key: str, kind: str
) -> None:
    path = calls.path(kind, Answer(b"one"))

    # A server that answers a message before the end of the request has come makes it a conversation: so the
    # one that does not wait for the end is sent it together with the message.
    first, retry = (
        calls.client.unary(path, key, b"one")
        if kind == "server-stream"
        else calls.client.stream(path, key, [b"one"])
        for _ in range(2)
    )

    assert (first.code, first.messages, first.replayed) == (Code.OK, (b"one",), False)
    assert (retry.messages, retry.replayed) == ((b"one",), True)
    assert calls.upstream.times(path) == 1


class TurnByTurn:
    """What a client sends that waits for the answer to each message before it sends the next."""

    def __init__(self, messages: Iterable[bytes]) -> None:
        self._messages = list(messages)
        self.answered = threading.Semaphore(0)
        self.gave_up = False

    def __iter__(self) -> Iterator[bytes]:
        for message in self._messages:
            yield message
            # It gives up after a while, so that a deadlock fails a test rather than hangs it.
            if not self.answered.acquire(timeout=5):
                self.gave_up = True
                return


@pytest.mark.parametrize("prefix", ["call", "retrying"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_conversation_never_waits_for_its_own_end(calls: Calls, key: str, prefix: str, count: int) -> None:
    path = calls.path("bidi", Answer(), prefix)
    sent = [b"turn %d" % number for number in range(count)]
    turns = TurnByTurn(sent)

    call = calls.client.begin(path, key, turns)
    got = []
    for message in call:
        got.append(message)
        turns.answered.release()
    duplicate = calls.client.stream(path, key, TurnByTurn(sent))

    assert (got, call.code(), turns.gave_up) == (sent, Code.OK, False)
    assert (duplicate.code, duplicate.problem) == (Code.FAILED_PRECONDITION, "response-not-stored")
    assert calls.upstream.times(path) == 1


def test_a_conversation_that_was_broken_off_is_not_taken_over(calls: Calls, key: str) -> None:
    # A takeover would have to be compared, and so waited for: this client never ends before it is answered.
    path = calls.path("bidi", Answer(), "retrying")
    turns = TurnByTurn([b"a", b"b"])
    with grpc_client(calls.up.url) as client:
        broken = client.begin(path, key, turns)
        assert next(broken) == b"a"
        broken.cancel()

    def answer_to_a_retry() -> tuple[grpc.StatusCode, str]:
        retry = calls.client.stream(path, key, TurnByTurn([b"a", b"b"]))
        return retry.code, retry.problem

    # Until the cancellation has come all the way, the first attempt is in progress.
    eventually(lambda: answer_to_a_retry() == (Code.FAILED_PRECONDITION, "outcome-unknown"))
    assert calls.upstream.times(path) == 1
