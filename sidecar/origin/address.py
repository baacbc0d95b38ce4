"""Where the origin is, and how a connection to it is made."""

import asyncio
import re
import socket
from dataclasses import dataclass

from sidecar.origin.connection import Connection

_UNIX = re.compile(r"unix://(/[^\0]+)")
_LABEL = "[A-Za-z0-9_-]{1,63}"  # RFC 1035 §2.3.4; what is none cannot even be looked up
_TCP = re.compile(rf"http://(?:\[([0-9A-Fa-f:.]+)\]|((?:{_LABEL}\.)*{_LABEL}\.?)):([0-9]{{1,5}})/?")
_PAUSE_S = 0.01


@dataclass(frozen=True, slots=True)
class Address:
    """The path of a unix socket, or else host and port; `url` is how it was written."""

    url: str
    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read `unix:///absolute/path` or `http://host:port`.

        Raises:
            ValueError: It is neither.
        """
        if unix := _UNIX.fullmatch(url):
            return cls(url, path=unix[1])
        tcp = _TCP.fullmatch(url)
        if tcp is None or not 1 <= int(tcp[3]) <= 65_535:
            raise ValueError(f"{url!r} is not an origin; allowed: unix:///absolute/path or http://host:port")
        return cls(url, host=tcp[1] or tcp[2], port=int(tcp[3]))

    async def connect(self) -> Connection:
        """A new connection.

        Raises:
            OSError: There is none to be had.
        """
        loop = asyncio.get_running_loop()
        if not self.path:
            _, connection = await loop.create_connection(Connection, self.host, self.port)
            return connection
        with socket.socket(socket.AF_UNIX) as unconnected:
            unconnected.setblocking(False)
            await self._connect_unix(unconnected)
            # From here on the socket is asyncio's, which closes it.
            sock = socket.socket(fileno=unconnected.detach())
        _, connection = await loop.create_unix_connection(Connection, sock=sock)
        return connection

    async def _connect_unix(self, sock: socket.socket) -> None:
        """Connect, and wait for a place in the listener's queue.

        Where that queue is full, Linux says "try again" (EAGAIN). asyncio takes this for a connection that is
        about to be there and goes on with a socket that has no peer; the first write to it fails, and then it
        would look as if the request might have been sent.
        """
        while True:
            try:
                return sock.connect(self.path)
            except BlockingIOError:
                await asyncio.sleep(_PAUSE_S)  # the kernel offers nothing to wait on
