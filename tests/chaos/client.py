"""One request on a connection of its own, over HTTP/1.1 or HTTP/2, by a client that may leave at any time."""

import asyncio
import contextlib
from typing import Protocol

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

from tests.chaos.history import Answer, Departure, Ending, Fields

LIMIT_S = 20.0
"""How long a client waits for the end of its response."""

_PIECE = 8_192
_READ = 65_536


class RequestLost(Exception):  # noqa: N818 (what happened to the request, not what went wrong here)
    """The connection or the stream ended before the response did."""


class Wire(Protocol):
    """One request's side of a protocol, without I/O."""

    answer: Answer
    done: bool

    def head(self, method: str, path: str, headers: Fields) -> bytes:
        """The bytes of the request's head."""
        ...

    def piece(self, data: bytes) -> bytes:
        """The bytes of a piece of its body; what may not be sent yet is kept for `receive`."""
        ...

    def end(self) -> bytes:
        """The bytes that mark its end."""
        ...

    def receive(self, data: bytes) -> bytes:
        """Take in bytes of the peer (none: it closed); the bytes to send in return.

        Raises:
            RequestLost: There is no more to come of an unfinished response.
        """
        ...


class Http1Wire:
    """HTTP/1.1."""

    def __init__(self) -> None:
        self.answer = Answer(Ending.NOTHING)
        self.done = False
        self._h11 = h11.Connection(h11.CLIENT)

    def head(self, method: str, path: str, headers: Fields) -> bytes:
        """See `Wire`."""
        return self._h11.send(h11.Request(method=method, target=path, headers=list(headers))) or b""

    def piece(self, data: bytes) -> bytes:
        """See `Wire`."""
        return self._h11.send(h11.Data(data=data)) or b""

    def end(self) -> bytes:
        """See `Wire`."""
        return self._h11.send(h11.EndOfMessage()) or b""

    def receive(self, data: bytes) -> bytes:
        """See `Wire`."""
        try:
            self._h11.receive_data(data)
            while (event := self._h11.next_event()) is not h11.NEED_DATA and not self.done:
                self._take(event)
        except h11.RemoteProtocolError as error:
            raise RequestLost(str(error)) from error
        if not data and not self.done:
            raise RequestLost("closed")
        return b""

    def _take(self, event: object) -> None:
        if isinstance(event, h11.Response):
            self.answer.ending, self.answer.status = Ending.CUT, event.status_code
            self.answer.headers = tuple(
                (name.decode(), value.decode("latin-1")) for name, value in event.headers
            )
        elif isinstance(event, h11.Data):
            self.answer.body += event.data
        elif isinstance(event, h11.EndOfMessage):
            self.answer.ending, self.done = Ending.COMPLETE, True
        elif isinstance(event, h11.ConnectionClosed):
            raise RequestLost("closed")


class Http2Wire:
    """HTTP/2 in the clear, with prior knowledge. Its bodies fit into the peer's first window."""

    def __init__(self) -> None:
        self.answer = Answer(Ending.NOTHING)
        self.done = False
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self._h2.initiate_connection()
        self._stream = self._h2.get_next_available_stream_id()

    def head(self, method: str, path: str, headers: Fields) -> bytes:
        """See `Wire`."""
        named = dict(headers)
        pseudo = {":method": method, ":scheme": "http", ":authority": named.pop("host"), ":path": path}
        named.pop("transfer-encoding", None)
        self._h2.send_headers(self._stream, [*pseudo.items(), *named.items()])
        return self._h2.data_to_send()

    def piece(self, data: bytes) -> bytes:
        """See `Wire`."""
        self._h2.send_data(self._stream, data)
        return self._h2.data_to_send()

    def end(self) -> bytes:
        """See `Wire`."""
        self._h2.end_stream(self._stream)
        return self._h2.data_to_send()

    def receive(self, data: bytes) -> bytes:
        """See `Wire`."""
        if not data:
            raise RequestLost("closed")
        try:
            for event in self._h2.receive_data(data):
                self._take(event)
        except h2.exceptions.ProtocolError as error:
            raise RequestLost(str(error)) from error
        return self._h2.data_to_send()

    def _take(self, event: object) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            fields = [(str(name), str(value)) for name, value in event.headers or ()]
            self.answer.ending, self.answer.status = Ending.CUT, int(dict(fields)[":status"])
            self.answer.headers = tuple(field for field in fields if field[0] != ":status")
        elif isinstance(event, h2.events.DataReceived):
            self.answer.body += event.data or b""
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, self._stream)
        elif isinstance(event, h2.events.StreamEnded):
            self.answer.ending, self.done = Ending.COMPLETE, True
        elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated) and not self.done:
            raise RequestLost("reset")


async def ask(
    port: int,
    path: str,
    headers: Fields,
    body: bytes,
    *,
    method: str = "POST",
    http2: bool = False,
    departure: Departure = Departure.NEVER,
    patience_s: float = 0.0,
) -> Answer:
    """Send the request to 127.0.0.1; what came of it. Never raises for what the peer does.

    `headers` hold `host` and the body's framing as of HTTP/1.1. The client leaves when `departure` says so,
    `patience_s` later where it had sent everything.
    """
    wire: Wire = Http2Wire() if http2 else Http1Wire()
    head = wire.head(method, path, headers)
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return Answer(Ending.REFUSED)
    writer.transport.set_write_buffer_limits(0)
    try:
        async with asyncio.timeout(LIMIT_S):
            with contextlib.suppress(ConnectionError):  # what was answered before that can still be read
                for data in _request(wire, head, body, departure):
                    writer.write(data)
                    await writer.drain()
            await _stay(wire, reader, writer, departure, patience_s)
    except TimeoutError:
        wire.answer.ending = Ending.TIMEOUT
    except (RequestLost, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return wire.answer


def _request(wire: Wire, head: bytes, body: bytes, departure: Departure) -> list[bytes]:
    """Everything that is sent; nothing by a client that leaves before."""
    return [] if departure is Departure.CONNECTED else [head, *_body(wire, body, departure)]


def _body(wire: Wire, body: bytes, departure: Departure) -> list[bytes]:
    """The body, piece by piece, up to where the client leaves."""
    pieces = [body[start : start + _PIECE] for start in range(0, len(body), _PIECE)]
    if departure is Departure.IN_BODY:
        half = pieces[: len(pieces) // 2] or [body[: len(body) // 2]]
        return [wire.piece(piece) for piece in half]
    sent = [wire.piece(piece) for piece in pieces]
    return sent if departure is Departure.BEFORE_END else [*sent, wire.end()]


_LEAVES_UNANSWERED = (Departure.CONNECTED, Departure.IN_BODY, Departure.BEFORE_END, Departure.SENT)


async def _stay(
    wire: Wire,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    departure: Departure,
    patience_s: float,
) -> None:
    """Read the response to its end, or until the client leaves."""
    if departure in _LEAVES_UNANSWERED:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await _read(wire, reader, writer, to_the_end=True)
    else:
        await _read(wire, reader, writer, to_the_end=departure is Departure.NEVER)
    if not wire.done:
        wire.answer.ending = Ending.LEFT


async def _read(
    wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_the_end: bool
) -> None:
    while not wire.done and (to_the_end or wire.answer.status is None):
        writer.write(wire.receive(await reader.read(_READ)))
