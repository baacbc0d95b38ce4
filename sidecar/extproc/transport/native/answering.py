"""The half of a stream that answers: messages out, as far as the peer makes room for them, and the end."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Protocol

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.faults import ErrorCode, H2StreamError
from sidecar.extproc.transport.native.grpc_messages import PREFIX
from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.responses import RESPONSE
from sidecar.extproc.transport.native.sending import Outlet


class AnswersOwner(Protocol):
    """What the answers of a stream ask of its connection."""

    limits: Limits
    outlet: Outlet
    batch: int
    """Counts the reads from the socket."""

    def closed(self, stream: "AnsweringHalf") -> None:
        """The last frame of the stream was sent."""
        ...

    def answers_wait(self) -> None:
        """The peer makes no room for what was just queued."""
        ...


class AnsweringHalf(ABC):
    """Sends a stream's answers in order, and queues what the peer has no room for.

    A base class, not a part of the stream: there is one for every exchange, and two objects that know each
    other would have to be found by the garbage collector.
    """

    __slots__ = (
        "_end",
        "_limits",
        "_moved",
        "_outlet",
        "_over",
        "_owner",
        "_queue",
        "_queued",
        "_send_window",
        "_told",
        "answered_in",
        "peer_done",
        "stream_id",
    )

    def __init__(self, owner: AnswersOwner, stream_id: int) -> None:
        self.stream_id = stream_id
        self.peer_done = False
        """The peer has half-closed the stream."""
        self.answered_in = 0
        """The read from the socket that the first answer was given after; 0 before there is one."""
        self._owner = owner
        self._limits = owner.limits
        self._outlet = owner.outlet
        self._send_window = owner.outlet.stream_window
        self._queue: deque[memoryview] | None = None
        """Made for the first that has to wait: most streams have none."""
        self._queued = 0
        self._moved = False
        self._over = False
        self._end = b""
        self._told: Callable[[], None] | None = None
        """Wants to know when there is room."""

    @abstractmethod
    def resume(self) -> None:
        """The peer has made room on its connection."""

    def send(self, message: bytes) -> None:
        """See `port.Stream.send`."""
        if self._over:
            return
        if not self.answered_in:
            self.answered_in = self._owner.batch
            self._outlet.headers(self.stream_id, RESPONSE)
        outlet, size = self._outlet, PREFIX + len(message)
        if self._queued or size > self._send_window or size > outlet.window or size > outlet.max_frame_size:
            self._enqueue(message)
            return
        self._send_window -= size
        outlet.message(self.stream_id, message, size)

    def when_writable(self, told: Callable[[], None]) -> None:
        """See `port.Stream.when_writable`."""
        if not self._over:
            self._told = told
            self.look_for_room()

    def look_for_room(self) -> None:
        """Tell whoever asked for room if there is: on the stream (`resume` looks again), in the socket."""
        told = self._told
        if told is None or self._over or self._queued > self._limits.queued_answers:
            return
        if self._outlet.has_room_for(self):
            self._told = None
            told()

    def widen(self, increment: int) -> None:
        """The peer makes room on the stream, or by its settings takes some back.

        Raises:
            H2StreamError: More than a window can be: FLOW_CONTROL_ERROR (RFC 9113 §6.9.1).
        """
        self._send_window += increment
        if self._send_window > frames.GREATEST_WINDOW:
            raise H2StreamError(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window over 2^31-1")
        if self._queued:
            self.resume()

    @property
    def has_stalled(self) -> bool:
        """Whether answers wait, and none has moved since `watch`."""
        return bool(self._queued) and not self._moved

    def watch(self) -> None:
        """Notice from now on whether its answers move."""
        self._moved = False

    def _enqueue(self, message: bytes) -> None:
        framed = b"\x00" + len(message).to_bytes(4, "big") + message
        if self._queue is None:
            self._queue = deque()
        if not self._queued:
            self._moved = True  # it waits from now on
        self._queue.append(memoryview(framed))
        self._queued += len(framed)
        self._outlet.queued += len(framed)
        self._pump()
        if self._queued:
            self._owner.answers_wait()

    def _pump(self) -> None:
        """Send of the queue what the windows allow, in as long frames as the peer takes."""
        queue, outlet = self._queue, self._outlet
        while queue:
            room = min(self._send_window, outlet.window, outlet.max_frame_size)
            if room <= 0:
                if self._send_window > 0:
                    outlet.block(self)
                return
            piece = queue.popleft()
            if len(piece) > room:
                queue.appendleft(piece[room:])
                piece = piece[:room]
            self._moved = True
            self._queued -= len(piece)
            self._send_window -= len(piece)
            outlet.spend(len(piece))
            outlet.write(frames.frame(frames.DATA, 0, self.stream_id, piece))
        if self._end:
            self._send_end()

    def _drop_queue(self) -> None:
        """Nothing of it will be sent."""
        self._outlet.queued -= self._queued
        self._queued = 0
        self._queue = None
        self._outlet.unblock(self)

    def _finish_with(self, trailers: bytes) -> None:
        """End the stream behind the answers."""
        self._end = trailers
        if not self._queued:
            self._send_end()

    def _send_end(self) -> None:
        block, self._end = self._end, b""
        if not self.answered_in:
            block = RESPONSE + block  # Trailers-Only
        self._outlet.headers(self.stream_id, block, end_stream=True)
        self._owner.closed(self)
