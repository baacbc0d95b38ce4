"""A transport, and the calls that are played on it: what the handlers do, and what both ends see."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from sidecar.extproc.transport.grpcio import GrpcioTransport
from sidecar.extproc.transport.native import NativeTransport
from sidecar.extproc.transport.port import PROCESS, Handler, Stream
from tests.transport.drawn_scenes import (
    OF_A_BUG,
    PARTS,
    Act,
    Hear,
    Metadata,
    Reaction,
    Say,
    Scene,
    Script,
    Step,
    Turn,
)
from tests.transport.transport_scene import NO_LIMITS, PATIENCE_S, Call, Recorder, read, status_of

NAME = "x-call"
"""The metadata that a call is known by on both sides."""


@dataclass(frozen=True)
class Story:
    """What the client saw of a call, and what its handler was told.

    The detail is None where it is not the port's: a client whose deadline passes may find out by itself or be
    told, in other words, whichever is first; and a bug's is the transport's own.
    """

    heard: list[bytes]
    status: grpc.StatusCode | str
    detail: str | None
    told: list[bytes]
    ends: int
    early: list[bytes]
    """What the handler was told in a pause, the end behind messages that wait included."""
    told_of_room_after_the_end: int


def react(stream: Stream, message: bytes) -> None:
    match list(Reaction)[message[0]]:
        case Reaction.ANSWER:
            stream.send(message)
        case Reaction.ANSWER_TWICE:
            stream.send(message)
            stream.send(b"again")
        case Reaction.ANSWER_LATER:
            asyncio.get_running_loop().call_soon(stream.send, message)
        case Reaction.ANSWER_WITH_ROOM:
            stream.when_writable(lambda: stream.send(message))
        case Reaction.POUR:
            pour(stream, message, PARTS)
        case Reaction.READ_METADATA:
            stream.send(str(stream.metadata(message[1:].decode())).encode())
        case Reaction.PAUSE:
            stream.send(message)
            stream.pause_reading()
        case Reaction.FAIL:
            stream.send(b"last words")
            stream.fail("cannot go on: 100 %, für immer")
        case Reaction.RAISE:
            raise LookupError("a bug")


def pour(stream: Stream, part: bytes, left: int) -> None:
    """Send so many parts, each when there is room."""

    def send() -> None:
        stream.send(part)
        asyncio.get_running_loop().call_soon(pour, stream, part, left - 1)

    if left:
        stream.when_writable(send)


@dataclass
class Served:
    """A transport that serves, and a channel to it."""

    channel: grpc.aio.Channel
    status_of_a_bug: grpc.StatusCode
    handlers: dict[str, asyncio.Future[Recorder]] = field(default_factory=dict)

    def accept(self, stream: Stream) -> Handler:
        recorder = Recorder(stream, react)
        self.handlers[str(stream.metadata(NAME))].set_result(recorder)
        return recorder

    def call(self, name: str, metadata: Metadata = (), deadline_s: float | None = None) -> Call:
        self.handlers[name] = asyncio.get_running_loop().create_future()
        process: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(PROCESS)
        return process(metadata=(*metadata, (NAME, name)), timeout=deadline_s)

    async def handler(self, name: str) -> Recorder:
        async with asyncio.timeout(PATIENCE_S):
            return await self.handlers[name]

    async def play(self, scene: Scene) -> list[Story]:
        """All calls, a step of one at a time."""
        self.handlers.clear()
        conversations = [Conversation(self, f"{n}", script) for n, script in enumerate(scene.scripts)]
        rest = [iter(script.steps) for script in scene.scripts]
        for number in scene.order:
            async with asyncio.timeout(PATIENCE_S):
                await conversations[number].take(next(rest[number]))
        return [await conversation.story() for conversation in conversations]

    async def pass_by(self) -> None:
        """A call of its own, whose message comes behind all that was sent before on the connection."""
        call = self.call("passing by")
        await call.write(Turn(Reaction.ANSWER).message)
        await read(call)
        await call.done_writing()
        await status_of(call)


class Conversation:
    """A call that follows its script, and what its handler is due to have been told."""

    def __init__(self, served: Served, name: str, script: Script) -> None:
        self._served = served
        self._name = name
        self._script = script
        self._call: Call | None = None
        self._heard: list[bytes] = []
        self._due: list[bytes] = []
        self._waiting: list[bytes] | None = None
        """What was sent in a pause; None where there is none."""
        self._early: list[bytes] = []

    @property
    def call(self) -> Call:
        """The call, which begins with its first step."""
        if self._call is None:
            self._call = self._served.call(self._name, self._script.metadata, self._script.deadline_s)
        return self._call

    async def take(self, step: Step) -> None:
        match step:
            case Say(turn):
                await self._say(turn)
            case Hear(turn):
                for _ in turn.answers(self._script.metadata):
                    await self._hear()
            case Act.RESUME:
                await self._resume()
            case Act.HALF_CLOSE:
                await self.call.done_writing()
            case Act.CANCEL:
                await self._told_what_is_due()
                self.call.cancel()
            case Act.OUTLAST:
                await self._told_what_is_due()
                await status_of(self.call)

    async def story(self) -> Story:
        """How it ended."""
        status, detail = await status_of(self.call)
        recorder = await self._served.handler(self._name)
        assert await recorder.ended_once()
        room: list[str] = []
        recorder.stream.resume_reading()
        recorder.stream.when_writable(lambda: room.append("told"))
        recorder.stream.send(b"too late")
        assert recorder.messages == self._due
        has_a_bug = self._script.status == OF_A_BUG
        return Story(
            self._heard,
            OF_A_BUG if has_a_bug and status is self._served.status_of_a_bug else status,
            None if has_a_bug or self._script.deadline_s is not None else detail,
            recorder.messages,
            recorder.ends,
            self._early,
            len(room),
        )

    async def _say(self, turn: Turn) -> None:
        (self._due if self._waiting is None else self._waiting).append(turn.message)
        if turn.reaction is Reaction.PAUSE:
            self._waiting = []
        await self.call.write(turn.message)

    async def _hear(self) -> None:
        answer = await read(self.call)
        if answer is not None:
            self._heard.append(answer)

    async def _resume(self) -> None:
        await self._served.pass_by()
        recorder = await self._served.handler(self._name)
        self._early += recorder.messages[len(self._due) :]
        if self._waiting and recorder.ends:
            self._early.append(b"the end")
        self._due += self._waiting or []
        self._waiting = None
        recorder.stream.resume_reading()

    async def _told_what_is_due(self) -> None:
        recorder = await self._served.handler(self._name)
        await recorder.until(lambda: len(recorder.messages) >= len(self._due))


@contextlib.asynccontextmanager
async def served(
    kind: type[GrpcioTransport | NativeTransport], path: Path, status_of_a_bug: grpc.StatusCode
) -> AsyncIterator[Served]:
    async with grpc.aio.insecure_channel(f"unix:{path}", options=NO_LIMITS) as channel:
        serving = Served(channel, status_of_a_bug)
        transport = kind(f"unix:{path}", serving.accept)
        await transport.start()
        try:
            yield serving
        finally:
            await channel.close()
            await transport.stop(0)
