"""A connection on a socket of asyncio's (or uvloop's): the owner that `host.Host` describes."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import cast

from sidecar.extproc.transport.native.calls import Route
from sidecar.extproc.transport.native.connection import Connection
from sidecar.extproc.transport.native.limits import Limits


class ConnectionProtocol(asyncio.Protocol):
    """Reads and writes for one connection, each as much at once as there is.

    When the peer does not take what is written, nothing more is read from it; if that lasts, it is cut off.

    Args:
        routes: What makes the handler of a call, by the call's path.
        limits: What the peer may do.
        secure: Whether the socket is TLS, on which HTTP/2 must have been agreed on (RFC 9113 §3.2).
        on_open: Told that the connection is there.
        on_close: Told that it is gone.
    """

    def __init__(
        self,
        routes: Mapping[bytes, Route],
        limits: Limits,
        *,
        secure: bool,
        on_open: Callable[["ConnectionProtocol"], None],
        on_close: Callable[["ConnectionProtocol"], None],
    ) -> None:
        self._routes = routes
        self._limits = limits
        self._secure = secure
        self._on_open = on_open
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._handshake: asyncio.TimerHandle | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._closing = False

    # --- Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self.connection = Connection(self._routes, self, self._limits)
        self._handshake = self._loop.call_later(self._limits.handshake_s, self._expect_established)
        self._on_open(self)
        if self._secure and transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            self.cut_off()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.connection.receive_data(data)
        self._flush()

    def pause_writing(self) -> None:
        """The peer does not take what is written: read nothing that would have to be answered."""
        if not self._closing:
            self.connection.congest()
            self._transport.pause_reading()
            self._cut = self._loop.call_later(self._limits.stalled_s, self.cut_off)

    def resume_writing(self) -> None:
        """The peer takes it again."""
        if not self._closing:
            self._spare()
            self._transport.resume_reading()
            self.connection.relieve()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        del exc
        self._closing = True
        self._spare()
        if self._handshake is not None:
            self._handshake.cancel()
        self.connection.lost()
        self._on_close(self)

    # --- Called by the connection (`host.Host`)

    def time(self) -> float:
        """See `Host.time`."""
        return self._loop.time()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """See `Host.call_later`."""
        return self._loop.call_later(delay_s, callback)

    def wake(self) -> None:
        """See `Host.wake`: all that is answered in one turn of the loop is written at its end, at once."""
        self._loop.call_soon(self._flush)

    def report(self, error: Exception) -> None:
        """See `Host.report`: as asyncio reports the errors of callbacks."""
        self._loop.call_exception_handler(
            {"message": "an ext_proc handler raised", "exception": error, "protocol": self}
        )

    # --- Called by the server

    def drain(self) -> None:
        """See `Connection.drain`."""
        self.connection.drain()
        self._flush()

    def abandon(self) -> None:
        """See `Connection.abandon`."""
        self.connection.abandon()
        self._flush()

    def cut_off(self) -> None:
        """Close the socket, whatever has not been written."""
        self._transport.abort()

    # ---

    def _flush(self) -> None:
        data = self.connection.data_to_send()
        if data and not self._closing:
            self._transport.write(data)
        if self.connection.closing:
            self._close()
        elif self._cut is not None and self._transport.get_write_buffer_size() > self._limits.unsent:
            self.cut_off()

    def _expect_established(self) -> None:
        if not self.connection.established:
            self.cut_off()

    def _close(self) -> None:
        """Let the peer read the last frames, and then close.

        To close at once what has unread bytes in it makes TCP reset the connection, and the frames that say
        why are lost with it. So only the way out is closed, what comes is read and ignored, and the peer
        closes.
        """
        if self._closing:
            return
        self._closing = True
        if self._cut is not None:
            self._spare()
            self._transport.resume_reading()
        self._cut = self._loop.call_later(self._limits.linger_s, self.cut_off)
        if self._transport.can_write_eof():
            with contextlib.suppress(OSError):  # the peer has gone, which `connection_lost` is about to say
                self._transport.write_eof()
        else:
            self._transport.close()

    def _spare(self) -> None:
        if self._cut is not None:
            self._cut.cancel()
            self._cut = None
