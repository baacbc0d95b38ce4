"""A transport that serves, a client's channel to it, and handlers that note what they are told."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

import grpc
import pytest

from sidecar.extproc.transport.port import PROCESS, Accept, Handler, Stream, Transport
from tests.stack.ports import lasting_port

SERVICE = PROCESS[1:].split("/")[0]
PATIENCE_S = 5.0
"""How long a test waits for what must come; nothing waits that long when all is well."""
NO_LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
"""Options of a channel on which messages may be of any size."""

Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


class HealthyTransport(Transport, Protocol):
    """A transport that also serves grpc.health.v1."""

    async def set_serving(self, serving: bool) -> None:
        """What grpc.health.v1 says."""
        ...


@dataclass
class Recorder:
    """A handler that notes what it is told, and answers as `answer` does."""

    stream: Stream
    answer: Callable[[Stream, bytes], None]
    messages: list[bytes] = field(default_factory=list)
    ends: int = 0
    reentered: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    _busy: bool = False

    def on_message(self, message: bytes) -> None:
        self.reentered |= self._busy
        self._busy = True
        self.messages.append(message)
        try:
            self.answer(self.stream, message)
        finally:
            self._busy = False
            self.changed.set()

    def on_end(self) -> None:
        self.reentered |= self._busy
        self.ends += 1
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as the condition holds; fail if it never does."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def ended_once(self) -> bool:
        """Whether the end comes, and does not come again."""
        await self.until(lambda: self.ends > 0)
        for _ in range(50):
            await asyncio.sleep(0)
        return self.ends == 1 and not self.reentered


def echo(stream: Stream, message: bytes) -> None:
    stream.send(b"re:" + message)


def silent(stream: Stream, message: bytes) -> None:
    del stream, message


@dataclass
class Served:
    """A transport that listens, and the handlers of the streams it accepted."""

    transport: HealthyTransport
    channel: grpc.aio.Channel
    recorders: list[Recorder]
    accepted: asyncio.Event

    def call(self, *metadata: tuple[str, str]) -> Call:
        """Open a stream."""
        process: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(PROCESS)
        return process(metadata=metadata)

    async def begun(self, *messages: bytes) -> tuple[Call, Recorder]:
        """Open a stream, send these messages, and wait until they have come."""
        call, before = self.call(), len(self.recorders)
        for message in messages or (b"first",):
            await call.write(message)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.recorders) == before:
                self.accepted.clear()
                await self.accepted.wait()
        recorder = self.recorders[before]
        await recorder.until(lambda: len(recorder.messages) == len(messages or (b"first",)))
        return call, recorder


async def read(call: Call) -> bytes | None:
    """The next answer; None at the end of the stream."""
    async with asyncio.timeout(PATIENCE_S):
        message = await call.read()
    return message if isinstance(message, bytes) else None


async def status_of(call: Call) -> tuple[grpc.StatusCode, str]:
    """How the stream ended."""
    async with asyncio.timeout(PATIENCE_S):
        return await call.code(), await call.details()


class TransportScene(ABC):
    """What a transport's tests need; each runs over a unix socket and over TCP."""

    @abstractmethod
    def make(self, address: str, accept: Accept) -> HealthyTransport:
        """A transport that has not been started."""

    def channel(self, address: str) -> grpc.aio.Channel:
        """A client's channel to it, without limits on messages."""
        return grpc.aio.insecure_channel(address, options=NO_LIMITS)

    @pytest.fixture(params=["unix", "tcp"])
    def address(self, request: pytest.FixtureRequest, tmp_path: Path) -> str:
        if request.param == "unix":
            return f"unix:{tmp_path}/ext_proc.sock"
        return f"127.0.0.1:{lasting_port()}"

    @asynccontextmanager
    async def serving(
        self, address: str, answer: Callable[[Stream, bytes], None] = echo
    ) -> AsyncIterator[Served]:
        recorders: list[Recorder] = []
        accepted = asyncio.Event()

        def accept(stream: Stream) -> Handler:
            recorders.append(Recorder(stream, answer))
            accepted.set()
            return recorders[-1]

        transport = self.make(address, accept)
        await transport.start()
        try:
            async with self.channel(address) as channel:
                yield Served(transport, channel, recorders, accepted)
        finally:
            await transport.stop(0)
