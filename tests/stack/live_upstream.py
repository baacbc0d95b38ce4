"""An upstream whose every step a test takes, over HTTP/1.1 and HTTP/2 on one port."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator

from tests.stack.live import PATIENCE_S, End, Head, Message, Side
from tests.stack.live_http1 import serve_http1
from tests.stack.live_http2 import Http2Connection

_PREFACE = b"PRI * HTTP/2.0"


class LiveUpstream:
    """Each exchange waits, from its head on, for the test that asks for its target."""

    def __init__(self) -> None:
        self.port = 0
        self._arrivals: dict[str, asyncio.Queue[tuple[Head, Side]]] = defaultdict(asyncio.Queue)
        self._times: dict[str, int] = defaultdict(int)

    def times(self, target: str) -> int:
        """How often a request for the target has come."""
        return self._times[target]

    async def arrival(self, target: str) -> tuple[Head, Side]:
        """The head of the next request for the target, and this side of its exchange."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._arrivals[target].get()

    async def request(self, target: str) -> tuple[Message, Side]:
        """The next request for the target, once all of it has come, and this side of its exchange."""
        head, side = await self.arrival(target)
        body, end = await side.rest()
        assert isinstance(end, End), end
        return Message(head, body, end.trailers, whole=True), side

    def _arrived(self, head: Head, side: Side) -> None:
        self._times[head.start[":path"]] += 1
        self._arrivals[head.start[":path"]].put_nowait((head, side))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            first = await reader.readexactly(len(_PREFACE))
            if first == _PREFACE:
                connection = Http2Connection(reader, writer, client_side=False, arrived=self._arrived)
                await connection.run(first)
            else:
                await serve_http1(first, reader, writer, self._arrived)


@contextlib.asynccontextmanager
async def running_live_upstream() -> AsyncIterator[LiveUpstream]:
    """Serve on a free port of the loopback while the context lasts."""
    upstream, connections = LiveUpstream(), set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await upstream.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections)
        await server.wait_closed()
