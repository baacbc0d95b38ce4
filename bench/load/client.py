"""A small HTTP/1.1 client: for what is prepared, held open, or sent at a pace of our own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from bench.errors import BenchError

_LINE = "\r\n"
_LIMIT = 4 * 1024 * 1024
_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Response:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def replayed(self) -> bool:
        """Whether it says that it is a stored response, in one of the spellings that peers use."""
        return any(self.headers.get(name) == "true" for name in REPLAY_MARKS)


REPLAY_MARKS = ("idempotent-replayed", "idempotency-replayed")


class Connection:
    """One connection, one request at a time."""

    def __init__(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = host
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to the host and port of a URL.

        Raises:
            BenchError: Nobody listens there.
        """
        target = urlsplit(url)
        try:
            streams = await asyncio.open_connection(target.hostname, target.port, limit=_LIMIT)
        except OSError as error:
            raise BenchError(f"{url} cannot be reached: {error.strerror}") from None
        return cls(target.netloc, *streams)

    def send(self, path: str, key: str | None, body: bytes, *, method: str = "POST") -> None:
        """Write a request, without waiting for anything."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(body)}"]
        lines += ["Content-Type: application/json", *([f"Idempotency-Key: {key}"] if key is not None else [])]
        self._writer.write(_LINE.join([*lines, "", ""]).encode() + body)

    async def receive(self) -> Response:
        """The next response, to its end.

        Raises:
            BenchError: None comes, or the connection is closed.
        """
        try:
            async with asyncio.timeout(_WITHIN_S):
                return await self._receive()
        except (asyncio.IncompleteReadError, OSError) as error:  # TimeoutError is one
            raise BenchError(f"no response from {self._host}: {type(error).__name__}") from None

    async def request(self, path: str, key: str | None, body: bytes, *, method: str = "POST") -> Response:
        """Send, and wait for the response."""
        self.send(path, key, body, method=method)
        return await self.receive()

    def close(self) -> None:
        """Go away at once."""
        self._writer.transport.abort()

    async def _receive(self) -> Response:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *fields = head.rstrip(_LINE).split(_LINE)
        headers = {
            name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)
        }
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Response(int(status.split(" ")[1]), headers, body)

    async def _chunks(self) -> bytes:
        pieces = []
        while size := int((await self._reader.readline()).partition(b";")[0], 16):
            pieces.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readline()
        return b"".join(pieces)


@contextlib.asynccontextmanager
async def connected(url: str, count: int = 1) -> AsyncIterator[list[Connection]]:
    """Several connections, closed at the end."""
    connections: list[Connection] = []
    try:
        while len(connections) < count:  # a few at a time: a listener's queue is not endless
            missing = min(64, count - len(connections))
            connections += await asyncio.gather(*(Connection.open(url) for _ in range(missing)))
        yield connections
    finally:
        for connection in connections:
            connection.close()
