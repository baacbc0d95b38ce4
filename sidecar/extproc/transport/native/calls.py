"""The streams of one connection: which there are, how they begin and how they end (RFC 9113 §5.1)."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.answering import AnsweringHalf
from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError, H2StreamError
from sidecar.extproc.transport.native.host import Host, Timer
from sidecar.extproc.transport.native.hpack_cache import HeaderBlocks
from sidecar.extproc.transport.native.limits import Budget, Limits
from sidecar.extproc.transport.native.receiving import LargeMessages
from sidecar.extproc.transport.native.request_head import RequestHead
from sidecar.extproc.transport.native.responses import Status, trailers_only
from sidecar.extproc.transport.native.sending import Outlet
from sidecar.extproc.transport.native.stream import NativeStream
from sidecar.extproc.transport.port import Handler

Route: TypeAlias = Callable[[NativeStream], Handler]
"""Makes the handler of a call."""


class Calls:
    """The streams of one connection.

    Args:
        routes: What makes the handler of a call, by the call's path.
        host: The owner of the connection's socket.
        outlet: The way out.
        limits: What the peer may do.
        too_much_queued: Called when the peer asked for more than it makes room for, beyond what a connection
            may hold.
    """

    def __init__(
        self,
        routes: Mapping[bytes, Route],
        host: Host,
        outlet: Outlet,
        limits: Limits,
        too_much_queued: Callable[[], None],
    ) -> None:
        self.limits = limits
        self.outlet = outlet
        self.large_messages = LargeMessages(limits.large_messages)
        self.batch = 0
        self.blocks = HeaderBlocks(limits)
        self.report = host.report
        self.last_id = 0
        """The newest stream that the peer opened."""
        self.live: dict[int, NativeStream] = {}
        """The streams that have not ended, by their identifiers; the connection hands them their DATA."""
        self.refuse_new = False
        """No more calls are taken: the connection drains."""
        self._routes = routes
        self._host = host
        self._too_much_queued = too_much_queued
        self._watch: Timer | None = None
        """Runs while answers wait for room."""
        self._over: list[NativeStream] = []
        self._reset: dict[int, None] = {}
        self._left_out = False
        """The peer has passed over an identifier, which it cannot come back to."""
        self._early_resets = Budget(limits.early_resets, "streams reset early", host.time())
        self._ignored = Budget(limits.ignored_frames, "frames for streams that have ended", host.time())

    def __len__(self) -> int:
        return len(self.live)

    # --- Frames

    def on_block(self, stream_id: int, block: bytes, *, end_stream: bool) -> None:
        """A field block came: a call begins, or trailers end one.

        Raises:
            H2ConnectionError: See `HeaderBlocks`; a stream that a client cannot open, or not any more:
                PROTOCOL_ERROR (RFC 9113 §5.1.1); one that has ended: STREAM_CLOSED.
            H2StreamError: The call is malformed, or too many (REFUSED_STREAM).
        """
        if stream_id > self.last_id:
            self._open(stream_id, block, ended=end_stream)
            return
        stream = self.live.get(stream_id)
        if stream is None:
            self.blocks.skip(block)
            if self._left_out and stream_id not in self._reset:
                raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a stream older than one that was opened")
            self.require_known(stream_id, "HEADERS")
        elif stream.peer_done:
            self.blocks.skip(block)
            raise H2StreamError(ErrorCode.STREAM_CLOSED, "HEADERS after the end of the stream")
        else:
            self.blocks.trailers(block)
            if not end_stream:
                raise H2StreamError(ErrorCode.PROTOCOL_ERROR, "trailers that do not end the stream")
            stream.half_close()

    def on_reset(self, stream_id: int) -> None:
        """RST_STREAM, which is how Envoy ends an exchange.

        Where it was read together with what it resets, or before there was an answer, the peer has not waited
        for one: that counts as early.

        Raises:
            H2ConnectionError: The stream was never opened (PROTOCOL_ERROR), or too many (ENHANCE_YOUR_CALM).
        """
        stream = self.live.pop(stream_id, None)
        if stream is None:
            self.ignore(stream_id, "RST_STREAM")
            return
        stream.abandon()
        if stream.answered_in in (0, self.batch):
            self._early_resets.spend(self._host.time())

    def on_window_update(self, stream_id: int, increment: int) -> None:
        """WINDOW_UPDATE on a stream.

        Raises:
            H2ConnectionError: The stream was never opened: PROTOCOL_ERROR.
            H2StreamError: An increment of 0 (PROTOCOL_ERROR, RFC 9113 §6.9), or too large a window.
        """
        stream = self.live.get(stream_id)
        if stream is None:
            self.ignore(stream_id, "WINDOW_UPDATE")
        elif increment == 0:
            raise H2StreamError(ErrorCode.PROTOCOL_ERROR, "a window widened by nothing")
        else:
            stream.widen(increment)

    def widen_all(self, increment: int) -> None:
        """The peer changed the window of all streams (RFC 9113 §6.9.2).

        Raises:
            H2ConnectionError: One gets larger than a window can be: FLOW_CONTROL_ERROR.
        """
        try:
            for stream in list(self.live.values()):
                stream.widen(increment)
        except H2StreamError as fault:
            raise H2ConnectionError(fault.code, fault.detail) from fault

    # --- Streams that are not there

    def require_known(self, stream_id: int, what: str) -> None:
        """A frame came that only a live stream can have: let it pass where its end may have crossed with it.

        Raises:
            H2ConnectionError: It was never opened (PROTOCOL_ERROR) or the peer had ended it (STREAM_CLOSED).
        """
        self.ignore(stream_id, what)
        if stream_id not in self._reset:
            raise H2ConnectionError(ErrorCode.STREAM_CLOSED, f"{what} on a stream that has ended")

    def ignore(self, stream_id: int, what: str) -> None:
        """A frame came that a stream may have at any time after its beginning.

        Raises:
            H2ConnectionError: It was never opened (PROTOCOL_ERROR), or this happens too often
                (ENHANCE_YOUR_CALM).
        """
        if stream_id > self.last_id or stream_id % 2 == 0:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, f"{what} on a stream that was never opened")
        self._ignored.spend(self._host.time())

    # --- Beginnings

    def _open(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        if stream_id % 2 == 0:
            raise H2ConnectionError(
                ErrorCode.PROTOCOL_ERROR, "a stream of an even number, which are the server's"
            )
        self._left_out = self._left_out or stream_id > self.last_id + 2
        self.last_id = stream_id
        head = self.blocks.request(block)
        if self.refuse_new:
            raise H2StreamError(ErrorCode.REFUSED_STREAM, "the connection is draining")
        if len(self.live) >= self.limits.concurrent_streams:
            raise H2StreamError(ErrorCode.REFUSED_STREAM, "more streams than allowed at once")
        route = self._routes.get(head.path)
        if head.refusal is not None:
            self._refuse(stream_id, head.refusal, peer_done=ended)
        elif route is None:
            self._refuse(stream_id, _UNKNOWN_METHOD, peer_done=ended)
        else:
            self._begin(stream_id, route, head, ended=ended)

    def _begin(self, stream_id: int, route: Route, head: RequestHead, *, ended: bool) -> None:
        stream = self.live[stream_id] = NativeStream(self, stream_id, head)
        try:
            stream.handler = route(stream)
        except Exception as error:  # noqa: BLE001 (a bug there must not touch the other streams)
            self.report(error)
            stream.fail("internal error")
        if head.timeout_s is not None:
            stream.end_by(self._host.call_later(head.timeout_s, stream.expire))
        if ended:
            stream.half_close()

    def _refuse(self, stream_id: int, block: bytes, *, peer_done: bool) -> None:
        """Answer without a handler."""
        self.outlet.headers(stream_id, block, end_stream=True)
        if not peer_done:
            self._tell_to_stop(stream_id)

    # --- Ends

    def over(self, stream: NativeStream) -> None:
        """See `stream.Owner.over`."""
        self._over.append(stream)
        self.outlet.touch()

    def closed(self, stream: AnsweringHalf) -> None:
        """See `stream.Owner.closed`."""
        del self.live[stream.stream_id]
        if not stream.peer_done:
            self._tell_to_stop(stream.stream_id)

    def answers_wait(self) -> None:
        """See `answering.AnswersOwner.answers_wait`."""
        if self.outlet.queued > self.limits.unsent:
            self._too_much_queued()
        elif self._watch is None:
            self._watch = self._host.call_later(self.limits.no_room_s, self._end_stalled)

    def _end_stalled(self) -> None:
        """Reset the calls whose peer has made no room since the last look."""
        self._watch = None
        for stream in [stream for stream in self.live.values() if stream.has_stalled]:
            del self.live[stream.stream_id]
            stream.abandon()
            self.outlet.write(frames.reset_frame(stream.stream_id, ErrorCode.ENHANCE_YOUR_CALM))
            self._remember(stream.stream_id)
        for stream in self.live.values():
            stream.watch()
        if self.outlet.queued:
            self.answers_wait()

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """End a stream for its peer's fault.

        Raises:
            H2ConnectionError: The peer brings this about too often: ENHANCE_YOUR_CALM.
        """
        stream = self.live.pop(stream_id, None)
        if stream is not None:
            stream.abandon()
        self.outlet.write(frames.reset_frame(stream_id, code))
        self._remember(stream_id)
        self._early_resets.spend(self._host.time())

    def finish_all(self, status: Status, detail: str) -> None:
        """End every stream with this status."""
        for stream in list(self.live.values()):
            stream.finish(status, detail)

    def abandon_all(self) -> None:
        """Every stream is lost."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self.live:
            self.live.popitem()[1].abandon()

    def settle(self) -> None:
        """Tell the handlers of streams that are over so. Not to be called from within a handler."""
        while self._over:
            over, self._over = self._over, []
            for stream in over:
                stream.tell_end()

    def _tell_to_stop(self, stream_id: int) -> None:
        """The answer is complete, and the peer need not go on sending (RFC 9113 §8.1)."""
        self.outlet.write(frames.reset_frame(stream_id, ErrorCode.NO_ERROR))
        self._remember(stream_id)

    def _remember(self, stream_id: int) -> None:
        self._reset[stream_id] = None
        if len(self._reset) > self.limits.remembered_resets:
            del self._reset[next(iter(self._reset))]


_UNKNOWN_METHOD = trailers_only(Status.UNIMPLEMENTED, "no such method")
