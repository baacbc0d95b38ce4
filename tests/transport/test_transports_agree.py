"""The same exchanges on both transports: the same calls of handlers, the same answers, the same ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.extproc.transport.grpcio import GrpcioTransport
from sidecar.extproc.transport.native import NativeTransport
from sidecar.extproc.transport.port import PROCESS, Handler, Stream
from tests.transport.transport_scene import NO_LIMITS, Recorder, read, status_of


class Reaction(Enum):
    """What the handler does with a message."""

    ANSWER = "answer"
    ANSWER_TWICE = "answer twice"
    ANSWER_LATER = "answer later"
    FAIL = "fail"
    RAISE = "raise"


class Ending(Enum):
    """What the client does when it has its answers."""

    HALF_CLOSE = "half-close"
    CANCEL = "cancel"


@dataclass(frozen=True)
class Turn:
    """One message, and what becomes of it. The handler is told by the message's first byte."""

    reaction: Reaction
    size: int

    @property
    def message(self) -> bytes:
        return bytes([list(Reaction).index(self.reaction)]) + b"x" * self.size

    @property
    def answers(self) -> int:
        return {Reaction.ANSWER: 1, Reaction.ANSWER_TWICE: 2, Reaction.ANSWER_LATER: 1}.get(self.reaction, 0)


@dataclass(frozen=True)
class Seen:
    """What the client saw of a call, and what its handler was told."""

    answers: list[bytes | None]
    status: grpc.StatusCode | str
    detail: str
    messages: list[bytes]
    ends: int


SIZES = st.sampled_from([0, 1, 5, 300, 16_379, 16_384, 65_530, 65_535, 200_000])
GOOD = st.builds(Turn, st.sampled_from(list(Reaction)[:3]), SIZES)
BAD = st.builds(Turn, st.sampled_from(list(Reaction)[3:]), SIZES)
EXCHANGES = st.tuples(st.lists(GOOD, min_size=1, max_size=5), st.none() | BAD, st.sampled_from(Ending))
AT_ONCE = st.lists(st.builds(Turn, st.sampled_from(list(Reaction)[:2]), SIZES), max_size=8)


def react(stream: Stream, message: bytes) -> None:
    match list(Reaction)[message[0]]:
        case Reaction.ANSWER:
            stream.send(message)
        case Reaction.ANSWER_TWICE:
            stream.send(message)
            stream.send(b"again")
        case Reaction.ANSWER_LATER:
            asyncio.get_running_loop().call_soon(stream.send, message)
        case Reaction.FAIL:
            stream.send(b"last words")
            stream.fail("cannot go on: 100 %, für immer")
        case Reaction.RAISE:
            raise LookupError("a bug")


@dataclass
class Served:
    """A transport that serves, and a channel to it."""

    channel: grpc.aio.Channel
    recorders: list[Recorder]

    async def exchange(self, turns: list[Turn], bad: Turn | None, ending: Ending) -> Seen:
        """One call: each message when the one before has been answered."""
        self.recorders.clear()
        process: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(PROCESS)
        call, answers = process(), []
        for turn in turns:
            await call.write(turn.message)
            answers += [await read(call) for _ in range(turn.answers)]
        if bad is not None:
            await call.write(bad.message)
            if bad.reaction is Reaction.FAIL:
                answers.append(await read(call))
        elif ending is Ending.CANCEL:
            call.cancel()
        else:
            await call.done_writing()
        status, detail = await status_of(call)
        recorder = self.recorders[0]
        assert await recorder.ended_once()
        if bad is not None and bad.reaction is Reaction.RAISE:
            return Seen(
                answers, "not OK" if status is not grpc.StatusCode.OK else "OK", "", recorder.messages, 1
            )
        return Seen(answers, status, detail, recorder.messages, recorder.ends)

    async def outpouring(self, turns: list[Turn]) -> Seen:
        """One call: all messages, and only then is anything read."""
        self.recorders.clear()
        process: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(PROCESS)
        call = process()
        for turn in turns:
            await call.write(turn.message)
        answers = [await read(call) for turn in turns for _ in range(turn.answers)]
        await call.done_writing()
        status, detail = await status_of(call)
        recorder = self.recorders[0]
        assert await recorder.ended_once()
        return Seen(answers, status, detail, recorder.messages, recorder.ends)


@contextlib.asynccontextmanager
async def served(kind: type[GrpcioTransport | NativeTransport], path: Path) -> AsyncIterator[Served]:
    recorders: list[Recorder] = []

    def accept(stream: Stream) -> Handler:
        recorders.append(Recorder(stream, react))
        return recorders[-1]

    transport = kind(f"unix:{path}", accept)
    await transport.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}", options=NO_LIMITS) as channel:
            yield Served(channel, recorders)
    finally:
        await transport.stop(0)


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[asyncio.Runner, Served, Served]]:
    """Both transports on one loop, for all the examples."""
    folder = tmp_path_factory.mktemp("both")
    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        reference = runner.run(stack.enter_async_context(served(GrpcioTransport, folder / "grpcio")))
        native = runner.run(stack.enter_async_context(served(NativeTransport, folder / "native")))
        yield runner, reference, native
        runner.run(stack.aclose())


@given(exchange=EXCHANGES)
@settings(deadline=None, max_examples=60)
def test_both_transports_make_the_same_of_an_exchange(
    both: tuple[asyncio.Runner, Served, Served], exchange: tuple[list[Turn], Turn | None, Ending]
) -> None:
    runner, reference, native = both

    expected = runner.run(reference.exchange(*exchange))

    assert runner.run(native.exchange(*exchange)) == expected
    assert expected.messages == [turn.message for turn in (*exchange[0], *filter(None, [exchange[1]]))]


@given(turns=AT_ONCE)
@settings(deadline=None, max_examples=40)
def test_both_transports_make_the_same_of_messages_that_come_at_once(
    both: tuple[asyncio.Runner, Served, Served], turns: list[Turn]
) -> None:
    runner, reference, native = both

    expected = runner.run(reference.outpouring(turns))

    assert runner.run(native.outpouring(turns)) == expected
    assert expected.status is grpc.StatusCode.OK
