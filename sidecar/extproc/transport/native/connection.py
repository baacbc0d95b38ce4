"""One HTTP/2 connection, without I/O: bytes in, calls of handlers, bytes out (RFC 9113)."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, Final

from sidecar.extproc.transport.native import frames, settings
from sidecar.extproc.transport.native.calls import Calls, Route
from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError, H2StreamError
from sidecar.extproc.transport.native.field_block import FieldBlock
from sidecar.extproc.transport.native.host import Host
from sidecar.extproc.transport.native.limits import Budget, Limits
from sidecar.extproc.transport.native.preface import HTTP_1_ANSWER, HttpOneRequestError, PrefaceReader
from sidecar.extproc.transport.native.receiving import ConnectionWindow
from sidecar.extproc.transport.native.responses import Status
from sidecar.extproc.transport.native.sending import Outlet

_DRAIN_PING: Final = b"draining"


class Connection:
    """The server's end of a connection.

    The owner of the socket gives it what was read, and writes `data_to_send` after that and whenever it is
    woken (`Host.wake`); once `closing` is set it closes the socket behind that.

    Args:
        routes: What makes the handler of a call, by the call's path.
        host: The owner of the socket.
        limits: What the peer may do.
    """

    def __init__(self, routes: Mapping[bytes, Route], host: Host, limits: Limits) -> None:
        now = host.time()
        self.closing = False
        """Nothing is read any more, and the socket is to be closed once everything is written."""
        self._host = host
        self._limits = limits
        self._outlet = Outlet(host.wake)
        self._calls = Calls(routes, host, self._outlet, limits, self._too_much_queued)
        self._window = ConnectionWindow(limits.connection_window, self._outlet.write)
        self._preface: PrefaceReader | None = PrefaceReader()
        self._reader = frames.FrameReader(limits.frame_size)
        self.established = False
        """The client has shown its preface and its settings."""
        self._greeted = False
        self._interlude: Callable[[int, int, int, bytes], None] | None = self._first_frame
        """Takes the next frame, where it is not just any."""
        self._draining = False
        self._last_announced: int | None = None
        self._window_updates = 0
        self._pings = Budget(limits.pings, "PING frames", now)
        self._settings = Budget(limits.settings, "SETTINGS frames", now)
        self._empty = Budget(limits.empty_frames, "empty frames", now)
        self._ignored = Budget(limits.ignored_frames, "frames without a meaning here", now)

    # --- Called by the owner of the socket

    def receive_data(self, data: bytes) -> None:
        """Act on what was read, whatever it is. Never raises."""
        if self.closing:
            return
        self._calls.batch += 1
        self._outlet.busy = True
        try:
            if self._preface is not None:
                data = self._read_preface(self._preface, data)
            self._read(data)
        except H2ConnectionError as fault:
            self.give_up(fault.code, fault.detail)
        except HttpOneRequestError:
            self.closing = True
            self._outlet.write(HTTP_1_ANSWER)
        self._calls.settle()
        self._outlet.busy = False

    def data_to_send(self) -> bytes:
        """What is to be written now; empty where nothing is."""
        self._calls.settle()
        if self._calls.refuse_new and not len(self._calls):
            self.closing = True
        return self._outlet.take()

    def congest(self) -> None:
        """The socket takes nothing more for now."""
        self._outlet.congest()

    def relieve(self) -> None:
        """The socket takes more."""
        self._outlet.relieve()

    def lost(self) -> None:
        """The socket is gone."""
        self.closing = True
        self._calls.abandon_all()
        self._calls.settle()

    def drain(self) -> None:
        """Let the calls under way end, and take no new ones; `closing` is set when that is done.

        Two GOAWAYs (RFC 9113 §6.8): the first asks for no more, and a PING goes with it. What the client
        opened before it read them is still served; its answer to the PING comes after that. The second then
        says which stream was the last.
        """
        if not self._draining and not self.closing:
            self._draining = True
            self._greet()
            self._outlet.write(frames.goaway_frame(frames.GREATEST_STREAM_ID, ErrorCode.NO_ERROR, "draining"))
            self._outlet.write(frames.frame(frames.PING, 0, 0, _DRAIN_PING))
            self._host.call_later(self._limits.drain_ping_s, self._refuse_new)

    def abandon(self) -> None:
        """End the calls that are left, with status UNAVAILABLE, and the connection."""
        self._calls.finish_all(Status.UNAVAILABLE, "the server is stopping")
        self.give_up(ErrorCode.NO_ERROR, "stopping")

    def give_up(self, code: ErrorCode, detail: str) -> None:
        """Say why, and end everything on this connection; any other goes on."""
        if not self.closing:
            self.closing = True
            self._calls.abandon_all()
            self._greet()
            self._outlet.write(frames.goaway_frame(self._last_served(), code, detail))

    def _last_served(self) -> int:
        """The last stream that is or was served, for a GOAWAY: no later one may name a later stream."""
        if self._last_announced is None:
            self._last_announced = self._calls.last_id
        return self._last_announced

    # --- Reading

    def _read_preface(self, preface: PrefaceReader, data: bytes) -> bytes:
        """Take the client's preface off and answer it: not before, as what comes may be HTTP/1."""
        data = preface.read(data)
        if preface.complete:
            self._preface = None
            self._greet()
        return data

    def _greet(self) -> None:
        """Send the server's preface, which must be its first frame (RFC 9113 §3.4)."""
        if not self._greeted:
            self._greeted = True
            self._outlet.write(settings.announced(self._limits))
            self._window.widen()

    def _read(self, data: bytes) -> None:
        for kind, flags, stream_id, payload in self._reader.read(data):
            try:
                if self._interlude is not None:
                    self._interlude(kind, flags, stream_id, payload)
                elif kind == frames.DATA:
                    self._on_data(flags, stream_id, payload)
                elif kind <= frames.CONTINUATION:
                    self._HANDLERS[kind](self, flags, stream_id, payload)
                else:
                    self._ignored.spend(self._host.time())
            except H2StreamError as fault:
                self._calls.reset(stream_id, fault.code)
            if self.closing:
                return

    def _first_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind != frames.SETTINGS or flags & frames.ACK:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a preface without SETTINGS")
        self._interlude = None
        self.established = True
        self._on_settings(flags, stream_id, payload)

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size, window = len(payload), self._window
        window.left -= size
        if window.left < window.low:
            window.refill()
        ended = False
        if flags:  # of whole messages none, as a rule
            ended = flags & frames.END_STREAM != 0
            if flags & frames.PADDED:
                payload = frames.without_padding(payload)
        if not payload and not ended:
            self._empty.spend(self._host.time())
        stream = self._calls.live.get(stream_id)
        if stream is None:
            self._calls.require_known(stream_id, "DATA")
        else:
            stream.receive(payload, size, ended=ended)

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if flags == frames.END_HEADERS and stream_id and 0 < len(payload) <= self._limits.header_block_size:
            self._calls.on_block(stream_id, payload, end_stream=False)  # a block whole and bare, as most are
            return
        block = FieldBlock(self._limits, flags, stream_id, payload)
        if block.complete:
            self._on_block(block)
        else:
            self._interlude = partial(self._on_continuation, block)

    def _on_continuation(
        self, block: FieldBlock, kind: int, flags: int, stream_id: int, payload: bytes
    ) -> None:
        block.go_on(kind, flags, stream_id, payload)
        if block.complete:
            self._interlude = None
            self._on_block(block)

    def _on_block(self, block: FieldBlock) -> None:
        if not block.content:
            self._empty.spend(self._host.time())
        self._calls.on_block(block.stream_id, block.content, end_stream=block.end_stream)

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        """Ignored (RFC 9113 §5.3.2), but for its form (§6.3)."""
        del flags
        self._ignored.spend(self._host.time())
        if not stream_id:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "PRIORITY on no stream")
        if len(payload) != 5:
            raise H2StreamError(
                ErrorCode.FRAME_SIZE_ERROR, f"a PRIORITY frame of {len(payload)} bytes; allowed: 5"
            )

    def _on_reset(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        frames.read_word(payload, "RST_STREAM")
        self._calls.on_reset(stream_id)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._settings.spend(self._host.time())
        if stream_id:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        if not flags & frames.ACK:
            # First, so that what a wider window lets out comes behind it: a client may hold the server to the
            # old window until it reads this (RFC 9113 §6.5.3), and gRPC's C core does.
            self._outlet.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
            settings.apply(payload, self._outlet, self._calls)
        elif payload:
            raise H2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement with settings")
        else:
            self._calls.blocks.settings_acknowledged()

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags, stream_id, payload
        raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._pings.spend(self._host.time())
        if stream_id:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "PING on a stream")
        if len(payload) != 8:
            raise H2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, f"a PING of {len(payload)} bytes; allowed: 8")
        if not flags & frames.ACK:
            self._outlet.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif self._draining and payload == _DRAIN_PING:
            self._refuse_new()

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        """The client will take no streams of the server's, which has none; its own go on (RFC 9113 §6.8)."""
        del flags
        self._ignored.spend(self._host.time())
        if stream_id:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "GOAWAY on a stream")
        if len(payload) < 8:
            raise H2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY of less than 8 bytes")

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags
        self._window_updates += 1
        earned = self._outlet.frames_sent * self._limits.window_updates_per_frame
        if self._window_updates > self._limits.window_updates + earned:
            raise H2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "too many WINDOW_UPDATE frames")
        increment = frames.read_word(payload, "WINDOW_UPDATE") & frames.GREATEST_WINDOW
        if stream_id:
            self._calls.on_window_update(stream_id, increment)
        elif increment:
            self._outlet.widen(increment)
        else:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a window widened by nothing")

    def _on_lone_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        del flags, stream_id, payload
        raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION of nothing")

    # --- Ending

    def _refuse_new(self) -> None:
        """The client knows of the drain: say which stream was the last."""
        if not self._calls.refuse_new and not self.closing:
            self._calls.refuse_new = True
            self._outlet.write(frames.goaway_frame(self._last_served(), ErrorCode.NO_ERROR, "draining"))

    def _too_much_queued(self) -> None:
        self.give_up(ErrorCode.ENHANCE_YOUR_CALM, "more answers are waiting for the peer than may be held")

    _HANDLERS: ClassVar = (
        _on_data,
        _on_headers,
        _on_priority,
        _on_reset,
        _on_settings,
        _on_push_promise,
        _on_ping,
        _on_goaway,
        _on_window_update,
        _on_lone_continuation,
    )
    """By the type of the frame."""
