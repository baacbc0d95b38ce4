"""A client on a real socket that says exactly what a test wants: by `h2`, or in raw bytes."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)

from sidecar.extproc.transport.native import Limits, NativeTransport
from sidecar.extproc.transport.port import PROCESS, Handler, Stream
from tests.stack.ports import lasting_port
from tests.transport.transport_scene import PATIENCE_S, Recorder, echo

E = TypeVar("E", bound=Event)
CALL = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PROCESS),
    (":authority", "sidecar"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]


def framed(message: bytes) -> bytes:
    """A gRPC message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


@dataclass
class Serving:
    """A native transport that listens on TCP, and the handlers of its streams."""

    transport: NativeTransport
    port: int
    recorders: list[Recorder]


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[Stream, bytes], None] = echo,
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Serving]:
    """Serve while the context lasts."""
    recorders: list[Recorder] = []

    def accept(stream: Stream) -> Handler:
        recorders.append(Recorder(stream, answer))
        return recorders[-1]

    port = lasting_port()
    transport = NativeTransport(f"127.0.0.1:{port}", accept, limits=limits or Limits(), ssl_context=tls)
    await transport.start()
    try:
        yield Serving(transport, port, recorders)
    finally:
        await transport.stop(0)


@dataclass
class RawClient:
    """Bytes, as they are."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_to_the_end(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read()


@contextlib.asynccontextmanager
async def raw_client(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawClient]:
    """Connect."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await writer.wait_closed()


@dataclass
class H2Client:
    """h2's side of a connection, and what it was told."""

    raw: RawClient
    h2: H2Connection = field(default_factory=lambda: H2Connection(H2Configuration(header_encoding=None)))
    events: list[Event] = field(default_factory=list)

    async def flush(self) -> None:
        """Send what h2 wants to."""
        await self.raw.send(self.h2.data_to_send())

    async def call(self, stream_id: int, *messages: bytes, end: bool = False) -> None:
        """Open a stream and send messages."""
        self.h2.send_headers(stream_id, CALL)
        for message in messages:
            self.h2.send_data(stream_id, framed(message))
        if end:
            self.h2.end_stream(stream_id)
        await self.flush()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Read until it holds; fail if it never does."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                data = await self.raw.reader.read(65_536)
                assert data, "the server closed the connection"
                events = self.h2.receive_data(data)
                for event in events:
                    if isinstance(event, DataReceived) and event.flow_controlled_length:
                        self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self.events += events
                await self.flush()

    def of(self, kind: type[E], stream_id: int | None = None) -> list[E]:
        """The events of a kind, on a stream or any."""
        return [
            event
            for event in self.events
            if isinstance(event, kind) and stream_id in (None, getattr(event, "stream_id", None))
        ]

    def content(self, stream_id: int) -> bytes:
        """What came as DATA on a stream."""
        return b"".join(event.data or b"" for event in self.of(DataReceived, stream_id))

    def status(self, stream_id: int) -> str | None:
        """The grpc-status that a stream ended with; None where it has not."""
        heads = [event.headers for event in self.of(ResponseReceived, stream_id)]
        ends = [event.headers for event in self.of(TrailersReceived, stream_id)]
        for fields in map(dict, filter(None, (*ends, *heads))):
            if b"grpc-status" in fields:
                return fields[b"grpc-status"].decode()
        return None

    def ended(self, stream_id: int) -> bool:
        """Whether a stream has ended, in whichever way."""
        return self.status(stream_id) is not None or bool(self.of(StreamReset, stream_id))

    def gone(self) -> bool:
        """Whether a GOAWAY came."""
        return bool(self.of(ConnectionTerminated))


@contextlib.asynccontextmanager
async def h2_client(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[H2Client]:
    """Connect, and send the preface."""
    async with raw_client(port, tls) as raw:
        client = H2Client(raw)
        client.h2.initiate_connection()
        await client.flush()
        yield client
