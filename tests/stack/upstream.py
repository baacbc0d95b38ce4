"""An upstream that does as it is told, over HTTP/1.1 and HTTP/2, and keeps a ledger of what it was sent."""

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h11

_PREFACE = b"PRI * HTTP/2.0"
HELD_AT_MOST_S = 30.0
"""How long an answer is held back, so that no failing test hangs."""

CUT_AFTER_S = 0.1
"""How long a cut response waits before it is cut, so that what came before it has been passed on."""
Fields: TypeAlias = list[tuple[str, str]]


@dataclass(frozen=True)
class Seen:
    """One request as the upstream got it; the body as its size and SHA-256."""

    method: str
    target: str
    headers: Fields
    size: int
    sha256: str

    def header(self, name: str) -> list[str]:
        return [value for field_name, value in self.headers if field_name == name]


@dataclass
class Answer:
    """What the upstream does with a request.

    `lost` closes the connection (over HTTP/2 it resets the stream) in the answer's place; `sized` announces
    the body's length; `cut_after` resets the connection after so many pieces of the body; `early` answers on
    the request's head, without reading its body; `wait` holds the answer until it is set, `delay_s` for so
    many seconds; `informational` sends a 103 first.
    """

    status: int = 201
    headers: Fields = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=lambda: [b"done"])
    trailers: Fields = field(default_factory=list)
    lost: bool = False
    sized: bool = True
    cut_after: int | None = None
    early: bool = False
    wait: threading.Event | None = None
    delay_s: float = 0
    informational: bool = False

    def to(self, method: str) -> "Answer":
        """The answer to a request with this method: HEAD gets no body, but the length of it."""
        if method != "HEAD":
            return self
        length = ("content-length", str(sum(map(len, self.pieces))))
        return replace(self, headers=[*self.headers, length], pieces=[], sized=False)

    def head(self) -> list[tuple[bytes, bytes]]:
        """The header fields as bytes, text being Latin-1."""
        length = [("content-length", str(sum(map(len, self.pieces))))] if self.sized else []
        return [(name.encode(), value.encode("latin-1")) for name, value in [*self.headers, *length]]


Script: TypeAlias = Callable[[str], Answer]


class Upstream:
    """The server and its ledger. `script` gives the answer for a request target."""

    def __init__(self) -> None:
        self.ledger: list[Seen] = []
        self.script: Script = lambda _target: Answer()
        self.port = 0

    def times(self, target: str) -> int:
        """How often the target was executed."""
        return sum(seen.target == target for seen in self.ledger)

    def last(self, target: str) -> Seen:
        return [seen for seen in self.ledger if seen.target == target][-1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, h11.RemoteProtocolError):
            first = await reader.readexactly(len(_PREFACE))
            serve = _serve_h2 if first == _PREFACE else _serve_h1
            await serve(self, first, reader, writer)
        writer.close()


async def _held(answer: Answer) -> None:
    await asyncio.sleep(answer.delay_s)
    if answer.wait is not None:
        await asyncio.to_thread(answer.wait.wait, HELD_AT_MOST_S)


# --- HTTP/1.1


async def _serve_h1(
    upstream: Upstream, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(first)
    while True:
        request = await _next(connection, reader)
        if not isinstance(request, h11.Request):
            return
        answer = upstream.script(request.target.decode()).to(request.method.decode())
        digest, size = hashlib.sha256(), 0
        while not answer.early:
            event = await _next(connection, reader)
            if isinstance(event, h11.Data):
                digest.update(event.data)
                size += len(event.data)
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return
        headers = [(name.decode(), value.decode("latin-1")) for name, value in request.headers]
        upstream.ledger.append(
            Seen(request.method.decode(), request.target.decode(), headers, size, digest.hexdigest())
        )
        await _held(answer)
        if not await _answer_h1(connection, writer, answer) or answer.early:
            # An early answer leaves the rest of the request unread: wait for the peer to give up.
            while answer.early and await reader.read(65536):
                pass
            return
        connection.start_next_cycle()


async def _next(connection: h11.Connection, reader: asyncio.StreamReader) -> object:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        connection.receive_data(await reader.read(65536))


async def _answer_h1(connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> bool:
    """Write the answer; False where the connection was cut."""

    async def write(event: h11.Event) -> None:
        writer.write(connection.send(event) or b"")
        await writer.drain()

    if answer.lost:
        return False
    if answer.informational:
        await write(h11.InformationalResponse(status_code=103, headers=[("link", "</a.css>")]))
    await write(h11.Response(status_code=answer.status, headers=answer.head()))
    for number, piece in enumerate(answer.pieces):
        if number == answer.cut_after:
            await asyncio.sleep(CUT_AFTER_S)
            writer.transport.abort()
            return False
        await write(h11.Data(data=piece))
    await write(h11.EndOfMessage(headers=answer.trailers))
    return True


# --- HTTP/2


async def _serve_h2(
    upstream: Upstream, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await _Http2(upstream, reader, writer).serve(first)


class _Http2:
    """One HTTP/2 connection; each of its streams is answered by a task of its own."""

    def __init__(
        self, upstream: Upstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._upstream, self._reader, self._writer = upstream, reader, writer
        configuration = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(configuration)
        self._requests: dict[int, tuple[Fields, list[bytes]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()

    async def serve(self, data: bytes) -> None:
        self._h2.initiate_connection()
        while data:
            for event in self._h2.receive_data(data):
                self._react(event)
            await self._flush()
            data = await self._reader.read(65536)

    async def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()

    def _react(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = [(str(name), str(value)) for name, value in event.headers or ()]
            self._requests[event.stream_id] = (fields, [])
            if self._upstream.script(dict(fields)[":path"]).early:
                self._execute_soon(event.stream_id)
        elif isinstance(event, h2.events.DataReceived):
            if event.stream_id in self._requests:
                self._requests[event.stream_id][1].append(event.data or b"")
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated):
            self._room.set()
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self._requests:
            self._execute_soon(event.stream_id)

    def _execute_soon(self, stream: int) -> None:
        task = asyncio.create_task(self._execute(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(self, stream: int) -> None:
        fields, pieces = self._requests.pop(stream)
        method, target = dict(fields)[":method"], dict(fields)[":path"]
        body = b"".join(pieces)
        seen = Seen(method, target, fields, len(body), hashlib.sha256(body).hexdigest())
        answer = self._upstream.script(target).to(method)
        self._upstream.ledger.append(seen)
        await _held(answer)
        with contextlib.suppress(h2.exceptions.ProtocolError, ConnectionError):
            await self._send(stream, answer)

    async def _send(self, stream: int, answer: Answer) -> None:
        if answer.lost:
            self._h2.reset_stream(stream)
            await self._flush()
            return
        if answer.informational:
            self._h2.send_headers(stream, [(":status", "103"), ("link", "</a.css>")])
        bare = not answer.pieces and not answer.trailers
        head = [(b":status", str(answer.status).encode()), *answer.head()]
        self._h2.send_headers(stream, head, end_stream=bare)
        await self._flush()
        for number, piece in enumerate(answer.pieces):
            if number == answer.cut_after:
                await asyncio.sleep(CUT_AFTER_S)
                self._h2.reset_stream(stream)
                await self._flush()
                return
            await self._send_piece(
                stream, piece, end=number == len(answer.pieces) - 1 and not answer.trailers
            )
        if answer.trailers:
            self._h2.send_headers(stream, answer.trailers, end_stream=True)
            await self._flush()

    async def _send_piece(self, stream: int, piece: bytes, *, end: bool) -> None:
        left = memoryview(piece)
        while True:
            window = self._h2.local_flow_control_window(stream)
            size = min(len(left), window, self._h2.max_outbound_frame_size)
            if left and not size:
                self._room.clear()
                await self._room.wait()
                continue
            self._h2.send_data(stream, bytes(left[:size]), end_stream=end and size == len(left))
            await self._flush()
            left = left[size:]
            if not left:
                return


# --- In a thread of its own


@contextlib.contextmanager
def running_upstream() -> Iterator[Upstream]:
    """An upstream on a free port of the loopback, served by a thread of its own."""
    upstream, started, loop = Upstream(), threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, limit=1 << 20)
        upstream.port = server.sockets[0].getsockname()[1]
        started.set()
        await stop.wait()
        server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),), daemon=True)
    thread.start()
    started.wait()
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
