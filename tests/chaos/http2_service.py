"""The upstream's HTTP/2 in the clear: one connection, each of its streams answered by a task of its own."""

import asyncio
import contextlib

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from tests.chaos.history import Fields
from tests.chaos.service import BEFORE_A_CUT_S, READ, Reply, Request, Service

PREFACE = b"PRI * HTTP/2.0"
"""How a connection begins that is HTTP/2."""


async def serve_http2(
    service: Service, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve a connection whose first bytes have been read, until it breaks."""
    connection = _Connection(service, writer)
    try:
        await connection.serve(first, reader)
    finally:
        await connection.finish()


class _Connection:
    def __init__(self, service: Service, writer: asyncio.StreamWriter) -> None:
        self._service = service
        self._writer = writer
        configuration = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self._h2 = h2.connection.H2Connection(configuration)
        self._open: dict[int, tuple[Fields, bytearray]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._gone: set[int] = set()

    async def serve(self, data: bytes, reader: asyncio.StreamReader) -> None:
        self._h2.initiate_connection()
        with contextlib.suppress(h2.exceptions.ProtocolError):
            while data:
                for event in self._h2.receive_data(data):
                    self._take(event)
                await self._flush()
                data = await reader.read(READ)

    async def finish(self) -> None:
        """The connection is over: what was not whole never will be, and what was begun is still done."""
        for _ in self._open:
            self._service.broke_off()
        self._open.clear()
        self._writer.transport.abort()
        self._room.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._begin(event)
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id)
            if event.stream_id in self._open:
                self._open[event.stream_id][1].extend(event.data or b"")
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self._open:
            fields, payload = self._open.pop(event.stream_id)
            request = Request(dict(fields)[":path"], fields, bytes(payload))
            task = asyncio.get_running_loop().create_task(self._answer(event.stream_id, request))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif isinstance(event, h2.events.StreamReset):
            self._lose(event.stream_id)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            self._room.set()

    def _begin(self, event: h2.events.RequestReceived) -> None:
        if self._service.refuses_streams():
            self._h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        fields = tuple((str(name), str(value)) for name, value in event.headers or ())
        self._open[event.stream_id] = (fields, bytearray())

    def _lose(self, stream: int) -> None:
        self._gone.add(stream)
        self._room.set()
        if self._open.pop(stream, None) is not None:
            self._service.broke_off()

    async def _answer(self, stream: int, request: Request) -> None:
        reply = await self._service.answer(request)
        with contextlib.suppress(h2.exceptions.ProtocolError, ConnectionError):
            if reply is not None:
                await self._send(stream, reply)
            if reply is None or reply.cut:
                self._h2.reset_stream(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
            await self._flush()

    async def _send(self, stream: int, reply: Reply) -> None:
        length = (("content-length", str(len(reply.body))),) if reply.sized else ()
        self._h2.send_headers(stream, [(":status", str(reply.status)), *reply.fields, *length])
        for piece in reply.pieces:
            await self._send_piece(stream, piece)
        if reply.cut:
            await asyncio.sleep(BEFORE_A_CUT_S)
        else:
            self._h2.end_stream(stream)

    async def _send_piece(self, stream: int, piece: bytes) -> None:
        """Send it as the peer's windows allow; `ConnectionError` where nobody is there any more."""
        while piece:
            if stream in self._gone or self._writer.transport.is_closing():
                raise ConnectionResetError
            window = self._h2.local_flow_control_window(stream)
            size = min(len(piece), window, self._h2.max_outbound_frame_size)
            if size <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            self._h2.send_data(stream, piece[:size])
            piece = piece[size:]
            await self._flush()

    async def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
        await self._writer.drain()
