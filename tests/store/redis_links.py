"""Servers that misbehave as a test needs it: a scripted one, a proxy that falls silent or leads elsewhere."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import hiredis

Respond = Callable[[list[bytes]], bytes | None]
"""From a command to the bytes of its answer; None closes the connection."""


class Silence(Exception):  # noqa: N818 - not an error, but an answer that does not come
    """Raised by a `Respond` that answers nothing, and keeps the connection."""


@asynccontextmanager
async def scripted_server(respond: Respond, *, after_greeting: bytes = b"") -> AsyncIterator[str]:
    """A server that greets any client and then answers as `respond` says; yields its URL.

    Args:
        respond: Asked for each command after the client has introduced itself (CLIENT SETINFO).
        after_greeting: Sent in one piece with the last answer to the introduction.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands, greetings = hiredis.Reader(), 0
        with contextlib.closing(writer):
            while data := await reader.read(65536):
                commands.feed(data)
                while (command := commands.gets()) is not False:
                    greeting = command[0] == b"CLIENT"
                    greetings += greeting
                    with contextlib.suppress(Silence):
                        answer = b"+OK\r\n" if greeting else respond(command)
                        if answer is None:
                            return
                        writer.write(answer + (after_greeting if greeting and greetings == 2 else b""))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        server.close()


class Proxy:
    """Between a store and its server; it can fall silent without closing anything.

    `port` is where a new connection is led to.
    """

    def __init__(self, port: int) -> None:
        self.accepted = 0
        self.swallowed = 0
        self.port = port
        self._silent = False
        self._generation = 0

    def silence(self) -> None:
        """Swallow whatever arrives, on every connection and on new ones."""
        self._silent, self._generation = True, self._generation + 1

    def heal(self) -> None:
        """Serve new connections; what was silent stays so."""
        self._silent, self._generation = False, self._generation + 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side closes it."""
        self.accepted += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(back), contextlib.closing(writer):
            ways = ((reader, back), (there, writer))
            pumps = [asyncio.create_task(self._pump(*way, self._generation)) for way in ways]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, generation: int
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if generation == self._generation and not self._silent:
                    writer.write(data)
                    await writer.drain()
                else:
                    self.swallowed += 1


@asynccontextmanager
async def proxied(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Proxy, int]]:
    """A proxy in front of a port of the loopback, and the port it listens on (with TLS, given a context)."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield proxy, server.sockets[0].getsockname()[1]
    finally:
        server.close()
