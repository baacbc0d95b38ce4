"""The way out of a connection: frames waiting to be written, and the windows that its peer gives for DATA."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError
from sidecar.extproc.transport.native.responses import TABLE_OFF

if TYPE_CHECKING:
    from sidecar.extproc.transport.native.answering import AnsweringHalf


class Outlet:
    """Collects frames until the owner of the socket takes them, all at once.

    Args:
        wake: Called when there is something to take, and `busy` does not say that it will be taken anyway.
    """

    __slots__ = (
        "_block_prefix",
        "_blocked",
        "_congested",
        "_pending",
        "_waiting",
        "_wake",
        "_woken",
        "busy",
        "frames_sent",
        "max_frame_size",
        "queued",
        "stream_window",
        "window",
    )

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._woken = False
        self._pending: list[bytes] = []
        self._block_prefix = TABLE_OFF
        self._blocked: dict[AnsweringHalf, None] = {}
        self._congested = False
        self._waiting: dict[AnsweringHalf, None] = {}
        self.busy = False
        self.window = frames.DEFAULT_WINDOW
        self.stream_window = frames.DEFAULT_WINDOW
        """The window of new streams (the peer's SETTINGS_INITIAL_WINDOW_SIZE)."""
        self.max_frame_size = frames.LEAST_MAX_FRAME_SIZE
        self.frames_sent = 0
        """DATA frames so far."""
        self.queued = 0
        """Bytes that streams hold back for want of a window."""

    def write(self, frame: bytes) -> None:
        """Send this when everything before it has been."""
        self._pending.append(frame)
        if not self.busy and not self._woken:  # as `touch`, which would be another call for each frame
            self._woken = True
            self._wake()

    def message(self, stream_id: int, message: bytes, size: int) -> None:
        """Send a message, `size` bytes with its prefix, for which there is room, in a frame of its own."""
        self.window -= size
        self.frames_sent += 1
        self._pending.append(frames.message_frame(stream_id, message))
        if not self.busy and not self._woken:  # as `touch`
            self._woken = True
            self._wake()

    def touch(self) -> None:
        """Have the owner come back, if only to find what has ended."""
        if not self.busy and not self._woken:
            self._woken = True
            self._wake()

    def take(self) -> bytes:
        """Everything that is to be written now."""
        self._woken = False
        pending = self._pending
        if len(pending) == 1:
            return pending.pop()
        data = b"".join(pending)
        pending.clear()
        return data

    def congest(self) -> None:
        """The socket takes nothing more for now; what is written all the same lies in memory."""
        self._congested = True

    def relieve(self) -> None:
        """The socket takes more: tell the streams that asked for it."""
        self._congested = False
        waiting, self._waiting = self._waiting, {}
        for stream in waiting:
            stream.look_for_room()

    def has_room_for(self, stream: "AnsweringHalf") -> bool:
        """Whether the socket takes more; where it does not, the stream looks again once it does."""
        if self._congested:
            self._waiting[stream] = None
        return not self._congested

    def headers(self, stream_id: int, block: bytes, *, end_stream: bool = False) -> None:
        """Send a field block."""
        if self._block_prefix:
            block, self._block_prefix = self._block_prefix + block, b""
        self.write(frames.headers_frame(stream_id, block, end_stream=end_stream))

    def spend(self, size: int) -> None:
        """So much of what was queued goes out in a DATA frame."""
        self.window -= size
        self.queued -= size
        self.frames_sent += 1

    def block(self, stream: "AnsweringHalf") -> None:
        """The stream has DATA and a window of its own, but the connection's is used up."""
        self._blocked[stream] = None

    def unblock(self, stream: "AnsweringHalf") -> None:
        """The stream has nothing to send any more."""
        self._blocked.pop(stream, None)

    def widen(self, increment: int) -> None:
        """The peer makes room on the connection; the streams that waited for it send, in their order.

        Raises:
            H2ConnectionError: More than a window can be: FLOW_CONTROL_ERROR (RFC 9113 §6.9.1).
        """
        self.window += increment
        if self.window > frames.GREATEST_WINDOW:
            raise H2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "a connection's window over 2^31-1")
        while self._blocked and self.window > 0:
            stream = next(iter(self._blocked))
            del self._blocked[stream]
            stream.resume()  # comes back to the end of the line if the window is used up again
