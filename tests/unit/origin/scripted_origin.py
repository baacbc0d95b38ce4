"""An origin that speaks bytes: it keeps what it was sent, and says what its script says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from sidecar.idempotency.fields import Fields
from sidecar.origin.call import OriginCall
from sidecar.origin.client import OriginClient

Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CREATED = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class ScriptedOrigin:
    """Its client, and what came: how many connections, and the bytes of each when it is over."""

    client: OriginClient
    connections: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    finished: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)


def call(
    method: str = "POST",
    target: str = "/v1/payments",
    *,
    headers: Fields = (),
    body: bytes = b"",
    deadline_ms: int = 10_000,
    max_response_body: int = 1_048_576,
) -> OriginCall:
    return OriginCall(method, "shop.example", target, headers, body, deadline_ms, max_response_body)


def says(answer: bytes) -> Script:
    """Read a request with its body (sized, chunked or none) and answer it, then wait for the end."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()
        await reader.read()
        writer.close()

    return script


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    names = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    if b"transfer-encoding" in names:
        return head + await reader.readuntil(b"0\r\n\r\n")
    return head + await reader.readexactly(int(names.get(b"content-length", b"0")))


@contextlib.asynccontextmanager
async def scripted_origin(
    path: Path, script: Script, *, max_concurrent: int = 256
) -> AsyncIterator[ScriptedOrigin]:
    """Serve the script on a unix socket; the client and every connection end with the context."""
    origin = ScriptedOrigin(OriginClient(f"unix://{path}", max_concurrent=max_concurrent))
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type] # a callback of a server runs in a task
        kept = _Kept(reader)
        origin.connections += 1
        origin.arrived.set()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(kept, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            origin.finished.put_nowait(bytes(kept.bytes))
            writer.transport.abort()

    server = await asyncio.start_unix_server(serve, path, limit=1 << 24)
    try:
        yield origin
    finally:
        await origin.client.close()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Kept(asyncio.StreamReader):
    """A reader that keeps what is read from it."""

    def __init__(self, source: asyncio.StreamReader) -> None:
        super().__init__()
        self.bytes = bytearray()
        self._source = source

    async def readuntil(self, separator: Any = b"\n") -> bytes:
        return self._keep(await self._source.readuntil(separator))

    async def readexactly(self, n: int) -> bytes:
        return self._keep(await self._source.readexactly(n))

    async def read(self, n: int = -1) -> bytes:
        return self._keep(await self._source.read(n))

    def _keep(self, data: bytes) -> bytes:
        self.bytes += data
        return data
