"""What a peer may send: the connection's window, and room for messages longer than a stream's window."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError

if TYPE_CHECKING:
    from sidecar.extproc.transport.native.stream import NativeStream


class ConnectionWindow:
    """The window of a connection (RFC 9113 §6.9): all DATA counts, also of streams that have ended.

    Args:
        size: The window, in bytes.
        write: Sends a frame.
    """

    __slots__ = ("_size", "_write", "left", "low")

    def __init__(self, size: int, write: Callable[[bytes], None]) -> None:
        self._size = size
        self.low = size // 2
        """From here on downwards it is filled up again."""
        self._write = write
        self.left = frames.DEFAULT_WINDOW
        """Bytes that may still come; whoever takes DATA counts it here, padding included."""

    def widen(self) -> None:
        """Make it as large as it is meant to be, from what it is by default."""
        if self._size > self.left:
            self._write(frames.window_frame(0, self._size - self.left))
            self.left = self._size

    def refill(self) -> None:
        """Make room again, for `left` has fallen below `low`.

        Raises:
            H2ConnectionError: More came than there was room for: FLOW_CONTROL_ERROR.
        """
        if self.left < 0:
            raise H2ConnectionError(ErrorCode.FLOW_CONTROL_ERROR, "more DATA than the connection's window")
        self.widen()


class LargeMessages:
    """Room for the messages of a connection that are longer than a stream's window.

    A message that is let in part of the way holds what it has, and needs the rest to get out. Several of
    them that share what is left would wait for each other for ever. So each gets all the room that it needs,
    or none: by its prefix, which tells its length, and in the order of asking.

    Args:
        room: Bytes for all of them together; no message may be longer.
    """

    __slots__ = ("_admitted", "_left", "_waiting")

    def __init__(self, room: int) -> None:
        self._left = room
        self._admitted: dict[NativeStream, int] = {}
        self._waiting: dict[NativeStream, int] = {}

    def admit(self, stream: "NativeStream", size: int) -> bool:
        """Whether the stream may send so much for its message; if not, `stream.admitted` is called later."""
        if stream in self._admitted:
            return True
        self._waiting[stream] = size
        if next(iter(self._waiting)) is not stream or size > self._left:
            return False
        self._enter(stream)
        return True

    def leave(self, stream: "NativeStream") -> None:
        """The stream's message has been taken, or will never be."""
        self._waiting.pop(stream, None)
        self._left += self._admitted.pop(stream, 0)
        while self._waiting:
            first, size = next(iter(self._waiting.items()))
            if size > self._left:
                return
            self._enter(first)
            first.admitted()

    def _enter(self, stream: "NativeStream") -> None:
        size = self._waiting.pop(stream)
        self._left -= size
        self._admitted[stream] = size
