"""Both sides of an exchange over HTTP/1.1 (see `live.py`), by `h11` or byte by byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import h11

from tests.stack.live import Data, End, Fields, Gone, Head, Heard, Side

CHUNK = 65_536


class Http1Side(Side):
    """One exchange on a connection; the next one begins when both messages of this one have ended."""

    def __init__(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._h11 = connection
        self._reader, self._writer = reader, writer
        self._heard_end = self._sent_end = False
        self.over = asyncio.Event()
        """Both messages have ended, or this side has left."""

    async def send_head(self, head: Head, *, ends: bool = False) -> None:
        await self._send(self._event(head))
        if ends:
            await self.end()

    async def send(self, data: bytes, *, ends: bool = False) -> None:
        pieces = [self._h11.send(h11.Data(data=data)) or b""]
        if ends:
            pieces.append(self._h11.send(h11.EndOfMessage()) or b"")
        await self.raw(b"".join(pieces))
        if ends:
            self._note_end(sent=True)

    async def end(self, trailers: Fields = ()) -> None:
        await self._send(h11.EndOfMessage(headers=_encoded(trailers)))
        self._note_end(sent=True)

    async def leave(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        self.over.set()

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def _next(self) -> Heard:
        while True:
            event = self._event_or_none()
            if isinstance(event, h11.Request):
                method, target = event.method.decode(), event.target.decode()
                return Head({":method": method, ":path": target}, _decoded(event.headers))
            if isinstance(event, h11.Response | h11.InformationalResponse):
                return Head({":status": str(event.status_code)}, _decoded(event.headers))
            if isinstance(event, h11.Data):
                return Data(bytes(event.data))
            if isinstance(event, h11.EndOfMessage):
                self._note_end(sent=False)
                return End(_decoded(event.headers))
            if event is not h11.NEED_DATA:
                return Gone()
            await self._read()

    def _event_or_none(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError:  # the connection ended within a message
            return None

    async def _read(self) -> None:
        data = b""
        with contextlib.suppress(ConnectionError):
            data = await self._reader.read(CHUNK)
        self._h11.receive_data(data)

    def _event(self, head: Head) -> h11.Event:
        fields = _encoded(head.fields)
        if ":status" not in head.start:
            return h11.Request(method=head.start[":method"], target=head.start[":path"], headers=fields)
        if head.status < 200:
            return h11.InformationalResponse(status_code=head.status, headers=fields)
        return h11.Response(status_code=head.status, headers=fields)

    async def _send(self, event: h11.Event) -> None:
        await self.raw(self._h11.send(event) or b"")

    def _note_end(self, *, sent: bool) -> None:
        self._sent_end, self._heard_end = self._sent_end or sent, self._heard_end or not sent
        if self._sent_end and self._heard_end:
            self.over.set()


@contextlib.asynccontextmanager
async def http1_client(host: str, port: int) -> AsyncIterator[Http1Side]:
    """The client's side of one exchange, on a connection of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    side = Http1Side(h11.Connection(h11.CLIENT), reader, writer)
    try:
        yield side
    finally:
        await side.leave()


async def serve_http1(
    first: bytes,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    arrived: Callable[[Head, Side], None],
) -> None:
    """Hand over the exchanges of a connection, one after the other, as their heads come."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(first)
    while True:
        side = Http1Side(connection, reader, writer)
        heard = await side._next()
        if not isinstance(heard, Head):
            return
        arrived(heard, side)
        await side.over.wait()
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return
        connection.start_next_cycle()


def _encoded(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in fields]


def _decoded(headers: "h11._headers.Headers | list[tuple[bytes, bytes]]") -> Fields:
    return tuple((name.decode(), value.decode("latin-1")) for name, value in headers)
