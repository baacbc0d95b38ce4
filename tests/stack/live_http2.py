"""Both sides of an exchange over HTTP/2 in the clear (see `live.py`), by `h2`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.stack.live import Data, End, Fields, Gone, Head, Heard, Side

CHUNK = 65_536


class Http2Connection:
    """One connection, from either side; it hands over each stream that the other side opens."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        client_side: bool,
        arrived: Callable[[Head, Side], None] | None = None,
    ) -> None:
        configuration = h2.config.H2Configuration(client_side=client_side, header_encoding="latin-1")
        self.h2 = h2.connection.H2Connection(configuration)
        self._reader, self._writer = reader, writer
        self._arrived = arrived
        self._sides: dict[int, Http2Side] = {}
        self.room = asyncio.Condition()

    async def run(self, data: bytes = b"") -> None:
        """Read to the end of the connection, `data` having been read already."""
        self.h2.initiate_connection()
        await self.flush()
        with contextlib.suppress(ConnectionError):
            while data or (data := await self._reader.read(CHUNK)):
                for event in self.h2.receive_data(data):
                    await self._react(event)
                await self.flush()
                data = b""
        for side in self._sides.values():
            side.heard.put_nowait(Gone())

    async def flush(self) -> None:
        """Send what h2 wants to."""
        self._writer.write(self.h2.data_to_send())
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    def side(self, stream_id: int) -> "Http2Side":
        """The side of a stream."""
        return self._sides.setdefault(stream_id, Http2Side(self, stream_id))

    async def _react(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(headers=headers, stream_id=stream_id) if self._arrived:
                self._arrived(_head(headers), self.side(stream_id))
            case h2.events.ResponseReceived() | h2.events.InformationalResponseReceived():
                self.side(event.stream_id).heard.put_nowait(_head(event.headers))
            case h2.events.DataReceived(stream_id=stream_id):
                self.h2.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
                if event.data:
                    self.side(stream_id).heard.put_nowait(Data(event.data))
            case h2.events.TrailersReceived(stream_id=stream_id):
                self.side(stream_id).trailers = _head(event.headers).fields
            case h2.events.StreamEnded(stream_id=stream_id):
                self.side(stream_id).heard.put_nowait(End(self.side(stream_id).trailers))
            case h2.events.StreamReset(stream_id=stream_id) if stream_id is not None:
                self.side(stream_id).heard.put_nowait(Gone())
            case h2.events.WindowUpdated():
                async with self.room:
                    self.room.notify_all()
            case _:
                pass


class Http2Side(Side):
    """One stream."""

    def __init__(self, connection: Http2Connection, stream_id: int) -> None:
        self._connection, self._stream_id = connection, stream_id
        self.heard: asyncio.Queue[Heard] = asyncio.Queue()
        self.trailers: Fields = ()

    async def send_head(self, head: Head, *, ends: bool = False) -> None:
        fields = (*head.start.items(), *head.fields)
        self._h2.send_headers(self._stream_id, _encoded(fields), end_stream=ends)
        await self._connection.flush()

    async def send(self, data: bytes, *, ends: bool = False) -> None:
        left = memoryview(data)
        while left:
            room = min(self._h2.local_flow_control_window(self._stream_id), self._h2.max_outbound_frame_size)
            if room:
                last = ends and room >= len(left)
                self._h2.send_data(self._stream_id, bytes(left[:room]), end_stream=last)
                left = left[room:]
                await self._connection.flush()
            else:
                async with self._connection.room:
                    await self._connection.room.wait()

    async def end(self, trailers: Fields = ()) -> None:
        if trailers:
            self._h2.send_headers(self._stream_id, _encoded(trailers), end_stream=True)
        else:
            self._h2.end_stream(self._stream_id)
        await self._connection.flush()

    async def leave(self) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._h2.reset_stream(self._stream_id)
        await self._connection.flush()

    async def _next(self) -> Heard:
        return await self.heard.get()

    @property
    def _h2(self) -> h2.connection.H2Connection:
        return self._connection.h2


@contextlib.asynccontextmanager
async def http2_client(host: str, port: int) -> AsyncIterator[Http2Side]:
    """The client's side of one exchange, on a connection of its own."""
    reader, writer = await asyncio.open_connection(host, port)
    connection = Http2Connection(reader, writer, client_side=True)
    running = asyncio.create_task(connection.run())
    await asyncio.sleep(0)  # the preface is the first that is sent
    try:
        yield connection.side(1)
    finally:
        writer.close()
        await running
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _encoded(fields: Fields) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in fields]


def _head(headers: object) -> Head:
    assert isinstance(headers, list)
    pairs = [(str(name), str(value)) for name, value in headers]
    start = {name: value for name, value in pairs if name.startswith(":")}
    return Head(start, tuple(pair for pair in pairs if not pair[0].startswith(":")))
