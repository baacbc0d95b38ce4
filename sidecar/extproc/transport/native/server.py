"""The native transport: HTTP/2 and gRPC for this one service, on asyncio or uvloop."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

from sidecar.extproc.transport.native import listening
from sidecar.extproc.transport.native.calls import Route
from sidecar.extproc.transport.native.health import CHECK, WATCH, Health
from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.protocol import ConnectionProtocol
from sidecar.extproc.transport.port import PROCESS, Accept

_SERVICE = PROCESS[1:].split("/")[0]
_NO_LIMITS_OF_ITS_OWN = Limits()


class NativeTransport:
    """Serves ext_proc streams and grpc.health.v1 on one endpoint (see `port.Transport`).

    Args:
        address: `unix:/path`, `host:port` or `[ipv6]:port`, as grpc writes it.
        accept: Makes the handler of every stream.
        ssl_context: For TLS on TCP: the server's certificate, and where it is wanted what clients' are
            checked against. HTTP/2 is offered by ALPN, so its list of protocols is set here.
        socket_mode: The permissions of a unix socket; None leaves them to the process's umask.
        limits: What a peer may do.

    Raises:
        ValueError: TLS on a unix socket.
    """

    def __init__(
        self,
        address: str,
        accept: Accept,
        *,
        ssl_context: ssl.SSLContext | None = None,
        socket_mode: int | None = None,
        limits: Limits = _NO_LIMITS_OF_ITS_OWN,
    ) -> None:
        if ssl_context is not None and address.startswith(listening.UNIX):
            raise ValueError(f"TLS on {address}; allowed: host:port")
        self._address = address
        self._ssl = ssl_context
        self._socket_mode = socket_mode
        self._limits = limits
        self._health = Health(["", _SERVICE])
        self._routes: Mapping[bytes, Route] = {
            PROCESS.encode(): accept,
            CHECK: self._health.check,
            WATCH: self._health.watch,
        }
        self._listeners: dict[socket.socket, asyncio.Task[None]] = {}
        self._file: tuple[Path, tuple[int, int]] | None = None
        self._arriving: dict[ConnectionProtocol, asyncio.Task[None]] = {}
        self._open: set[ConnectionProtocol] = set()
        self._changed = asyncio.Event()
        if ssl_context is not None:
            ssl_context.set_alpn_protocols(["h2"])

    async def start(self) -> None:
        """Listen; raise `OSError` where the endpoint cannot be had."""
        try:
            if self._address.startswith(listening.UNIX):
                self._listen_unix(Path(self._address.removeprefix(listening.UNIX)))
            else:
                for listener in await listening.bind_tcp(*listening.split_address(self._address)):
                    self._listen(listener)
        except OSError as error:
            raise OSError(
                f"cannot listen on {self._address}: it is taken or not allowed ({error.strerror or error})"
            ) from error

    async def set_serving(self, serving: bool) -> None:
        """What grpc.health.v1 says."""
        self._health.set_serving(serving)

    async def stop(self, grace_s: float) -> None:
        """Take no new streams (GOAWAY), wait `grace_s` seconds for the others, then cancel them."""
        await self._stop_listening()
        self._health.end_watches()
        if grace_s > 0:
            for protocol in tuple(self._open):
                protocol.drain()
            await self._until_closed(grace_s)
        for protocol in tuple(self._open):
            protocol.abandon()
        await self._until_closed(2 * self._limits.linger_s)  # each cuts itself off within one

    # --- Listening

    def _listen_unix(self, path: Path) -> None:
        listener = listening.bind_unix(path, self._socket_mode)
        self._file = (path, listening.inode(path))
        self._listen(listener)

    def _listen(self, listener: socket.socket) -> None:
        self._listeners[listener] = asyncio.create_task(self._accept(listener))

    async def _stop_listening(self) -> None:
        listeners, self._listeners = self._listeners, {}
        for task in listeners.values():
            task.cancel()
        await asyncio.gather(*listeners.values(), return_exceptions=True)
        for listener in listeners:
            listener.close()
        if self._file is not None:
            listening.remove_unix(*self._file)
            self._file = None

    async def _accept(self, listener: socket.socket) -> None:
        """Take connections until cancelled.

        Not by a server of asyncio's, which tells of a connection once TLS stands, and not at all of one that
        comes to nothing before that: peers that say nothing would not count, and take every descriptor.
        """
        while True:
            peer = await listening.accept(listener)
            if len(self._open) + len(self._arriving) < self._limits.connections:
                self._welcome(peer)
            else:
                peer.close()

    # --- Connections

    def _welcome(self, peer: socket.socket) -> None:
        """Make it a connection, once TLS stands where that is wanted."""
        protocol = self._protocol()
        self._arriving[protocol] = arrival = asyncio.create_task(self._shake_hands(peer, protocol))
        arrival.add_done_callback(lambda _: self._arriving.pop(protocol, None))

    async def _shake_hands(self, peer: socket.socket, protocol: ConnectionProtocol) -> None:
        with contextlib.suppress(OSError):  # TLS that fails, which is the peer's affair, is one, too
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                peer,
                ssl=self._ssl,
                ssl_handshake_timeout=self._limits.handshake_s if self._ssl else None,
            )

    def _protocol(self) -> ConnectionProtocol:
        return ConnectionProtocol(
            self._routes,
            self._limits,
            secure=self._ssl is not None,
            on_open=self._opened,
            on_close=self._closed,
        )

    def _opened(self, protocol: ConnectionProtocol) -> None:
        self._arriving.pop(protocol, None)
        self._open.add(protocol)
        if not self._listeners:  # it was accepted, or in its TLS handshake, when the server stopped
            protocol.cut_off()

    def _closed(self, protocol: ConnectionProtocol) -> None:
        self._open.discard(protocol)
        self._changed.set()

    async def _until_closed(self, within_s: float) -> None:
        """Return when no connection is left, or at the end of the time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._open:
                    self._changed.clear()
                    await self._changed.wait()
