"""One stream: a call's messages in, its answers out, and its end (RFC 9113 §5.1, gRPC over HTTP/2)."""

from typing import Final, Protocol

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.answering import AnsweringHalf, AnswersOwner
from sidecar.extproc.transport.native.faults import ErrorCode, H2StreamError
from sidecar.extproc.transport.native.grpc_messages import MessageReader
from sidecar.extproc.transport.native.host import Timer
from sidecar.extproc.transport.native.receiving import LargeMessages
from sidecar.extproc.transport.native.request_head import RequestHead
from sidecar.extproc.transport.native.responses import OK_TRAILERS, Status, trailers
from sidecar.extproc.transport.port import Handler


class _Nobody:
    """The handler of a stream whose handler has been told the end, or has not been made yet."""

    def on_message(self, message: bytes) -> None:
        """Nobody is interested."""

    def on_end(self) -> None:
        """Nobody is interested."""


_NOBODY: Final = _Nobody()
_WELL: Final = (Status.OK, "")


class Owner(AnswersOwner, Protocol):
    """What a stream asks of its connection."""

    large_messages: LargeMessages

    def over(self, stream: "NativeStream") -> None:
        """The handler has to be told the end, as soon as it is not in the middle of a call."""
        ...

    def report(self, error: Exception) -> None:
        """A handler raised."""
        ...


class NativeStream(AnsweringHalf):
    """One stream, as its handler sees it (`port.Stream`) and as its connection does.

    A handler is called only while the connection reads, or settles what has ended; never from within `send`,
    `fail` or `finish`. Who asked for room is told while the connection reads, or when the socket takes more.
    """

    __slots__ = (
        "_content_left",
        "_large",
        "_metadata",
        "_paused",
        "_reader",
        "_receive_window",
        "_timer",
        "at_half_close",
        "handler",
    )

    _owner: Owner

    def __init__(self, owner: Owner, stream_id: int, head: RequestHead) -> None:
        super().__init__(owner, stream_id)
        self.handler: Handler = _NOBODY
        self.at_half_close: tuple[Status, str] | None = _WELL
        """How the stream ends when its peer has half-closed it; None where it goes on."""
        self._metadata = head.fields
        self._reader = MessageReader(self._limits.message_size, head.encoding)
        self._content_left = head.content_length
        self._receive_window = self._limits.stream_window
        self._large = False
        self._paused = False
        self._timer: Timer | None = None

    # --- Called by the handler

    def metadata(self, name: str) -> str | None:
        """See `port.Stream.metadata`."""
        return self._metadata.get(name)

    def fail(self, detail: str) -> None:
        """See `port.Stream.fail`."""
        self.finish(Status.INTERNAL, detail)

    def finish(self, status: Status, detail: str = "") -> None:
        """End the stream with this status, after the answers sent so far.

        Only health's calls end well of their own accord; of an exchange's see `port.Stream.fail`.
        """
        if self._over:
            return
        self._stop()
        self._finish_with(trailers(status, detail) if detail or status else OK_TRAILERS)

    def pause_reading(self) -> None:
        """See `port.Stream.pause_reading`."""
        self._paused = True

    def resume_reading(self) -> None:
        """See `port.Stream.resume_reading`."""
        self._paused = False
        if not self._over:
            self._deliver_held()

    # --- Called by the connection: what the peer sent

    def receive(self, content: bytes, size: int, *, ended: bool) -> None:
        """DATA came: its content, and its size as flow control counts it, padding included.

        Raises:
            H2StreamError: More than its window (FLOW_CONTROL_ERROR), after its end (STREAM_CLOSED), or not of
                the length that was announced (PROTOCOL_ERROR).
        """
        self._receive_window -= size
        if self._receive_window < 0:
            raise H2StreamError(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the stream's window")
        if self.peer_done:
            raise H2StreamError(ErrorCode.STREAM_CLOSED, "DATA after the end of the stream")
        if self._content_left is not None:
            self._count_content(len(content), ended=ended)
        self.peer_done = ended
        if self._over:
            return
        if ended and not content and not self._reader.held:
            self.half_closed()
            return
        message = self._reader.whole(content)
        if message is None or self._paused or self._queued > self._limits.queued_answers:
            self._reader.feed(content)
            self._deliver_held()
        else:
            try:  # as `_deliver`, which would be another call for each message
                self.handler.on_message(message)
            except Exception as error:  # noqa: BLE001 (as there)
                self._break_down(error)
            if ended:
                self.half_closed()
            elif self._receive_window <= self._limits.stream_window // 2:
                self._make_room()

    def half_close(self) -> None:
        """The request's fields, or trailers, ended the stream.

        Raises:
            H2StreamError: Before the length that was announced: PROTOCOL_ERROR.
        """
        if self._content_left is not None:
            self._count_content(0, ended=True)
        self.peer_done = True
        self.half_closed()

    def half_closed(self) -> None:
        """End it, well as a rule, once all of its messages have been taken."""
        if self._over:
            return
        if not self._reader.held:
            if self.at_half_close is not None:
                self.finish(*self.at_half_close)
        elif not self._is_held_up:
            self.finish(Status.INTERNAL, "the stream ended in the middle of a message")

    def end_by(self, timer: Timer) -> None:
        """The call has a deadline; the timer is stopped when it ends earlier."""
        self._timer = timer
        if self._over:
            self._stop_timer()

    def expire(self) -> None:
        """The deadline has come (grpc-timeout)."""
        self._timer = None
        self.finish(Status.DEADLINE_EXCEEDED, "the call's grpc-timeout has passed")

    def resume(self) -> None:
        """There is room: send what waited, and take what was held back for it."""
        self._pump()
        if not self._over:
            self._deliver_held()
        self.look_for_room()

    def admitted(self) -> None:
        """There is room for the message under way (`LargeMessages`)."""
        self._grant(self._reader.size)

    def abandon(self) -> None:
        """The stream is gone: reset, or lost with its connection. Nothing is sent on it any more."""
        if not self._over:
            self._stop()
        self._drop_queue()

    def tell_end(self) -> None:
        """Tell the handler that the stream is over."""
        handler, self.handler = self.handler, _NOBODY
        try:
            handler.on_end()
        except Exception as error:  # noqa: BLE001 (one handler's bug must not touch the other streams)
            self._owner.report(error)

    # --- Messages

    @property
    def _is_held_up(self) -> bool:
        """Whether no message is handed over: nobody wants one, or the peer does not take the answers."""
        return self._paused or self._queued > self._limits.queued_answers

    def _deliver(self, message: bytes) -> None:
        try:
            self.handler.on_message(message)
        except Exception as error:  # noqa: BLE001 (one handler's bug must not touch the other streams)
            self._break_down(error)

    def _break_down(self, error: Exception) -> None:
        """The handler has a bug: its stream must not end well."""
        self._owner.report(error)
        self.fail("internal error")

    def _deliver_held(self) -> None:
        """Give the handler what has come, as far as the peer takes the answers."""
        reader = self._reader
        while not self._over and not self._is_held_up:
            message = reader.take()
            if message is None:
                break
            self._leave_large()
            self._deliver(message)
        if reader.fault is not None:
            self.finish(*reader.fault)
        elif self.peer_done:
            self.half_closed()
        elif not self._over:
            self._make_room()

    def _count_content(self, size: int, *, ended: bool) -> None:
        left = (self._content_left or 0) - size
        self._content_left = left
        if left < 0 or (ended and left):
            raise H2StreamError(ErrorCode.PROTOCOL_ERROR, "content of another length than was announced")

    # --- Room for messages

    def _make_room(self) -> None:
        """Let the peer send what completes the message under way, or as much again as the window holds."""
        if self._over or self._is_held_up:
            return
        size, window = self._reader.size, self._limits.stream_window
        if size > window:
            self._large = True
            if self._owner.large_messages.admit(self, size):
                self._grant(size)
        elif (room := self._reader.held + self._receive_window) < size or room <= window // 2:
            self._grant(window)

    def _grant(self, wanted: int) -> None:
        """Make the room for the message under way and what follows it so large."""
        increment = wanted - self._reader.held - self._receive_window
        if increment > 0:
            self._receive_window += increment
            self._outlet.write(frames.window_frame(self.stream_id, increment))

    def _leave_large(self) -> None:
        if self._large:
            self._large = False
            self._owner.large_messages.leave(self)

    # --- The end

    def _stop(self) -> None:
        """Nothing more is taken from the handler or given to it but the end."""
        self._over = True
        if self._large:
            self._leave_large()
        if self._timer is not None:
            self._stop_timer()
        self._reader.discard()
        self._owner.over(self)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
