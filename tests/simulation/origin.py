"""The call that a sidecar makes itself (CONTRACT §6), to the same scripted upstream."""

from sidecar.exchange.effects import Execute
from sidecar.exchange.events import (
    Event,
    Executed,
    ExecutionFailed,
    Failure,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.idempotency.fields import Fields
from tests.simulation.guarantees import Execution
from tests.simulation.hosted import Hosted, Surroundings, attempt_of
from tests.simulation.upstream import REFUSED, UPSTREAM, UpstreamCall


class DetachedCall:
    """A call that a sidecar makes itself: gathers the response, and gives up at its deadline."""

    def __init__(self, around: Surroundings, hosted: Hosted, effect: Execute) -> None:
        self.call = hosted.stream.call
        self.owner = hosted.stream.owner
        self._hosted = hosted
        self._limit = effect.max_response_body
        self._execution: Execution | None = None
        self._head: ResponseHeaders | None = None
        self._body = b""
        self._over = False
        self._direct = self.call.luck % 2 == 0
        """Straight to the origin: there is no Envoy between that would answer in its place."""
        self._upstream = UpstreamCall(around.timeline, around.guarantees, self, attempt_of(effect))
        self._upstream.begin()
        if not self._over:
            self._upstream.take(effect.body)
            self._upstream.end()
        around.timeline.after(effect.deadline_ms, self._give_up)

    def drop(self) -> None:
        """See `OriginCall.drop`."""
        self._over = True
        self._upstream.cancel()

    def on_head(self, head: ResponseHeaders, execution: Execution | None) -> None:
        """See `Receiver.on_head`."""
        self._head, self._execution = head, execution
        if self._direct and head.origin is REFUSED:
            self._end(ExecutionFailed(Failure.NEVER_SENT))
        elif self._direct and head.origin is not UPSTREAM:
            self._end(ExecutionFailed(Failure.LOST))
        elif head.end_of_stream:
            self._end_answered(())

    def on_piece(self, piece: ResponseBody) -> None:
        """See `Receiver.on_piece`."""
        self._body += piece.data
        if piece.end_of_stream:
            self._end_answered(())

    def on_trailers(self, trailers: ResponseTrailers) -> None:
        """See `Receiver.on_trailers`."""
        self._end_answered(trailers.fields)

    def on_broken(self) -> None:
        """See `Receiver.on_broken`."""
        self._end(ExecutionFailed(Failure.LOST))

    def _end_answered(self, trailers: Fields) -> None:
        if self._head is not None and not self._over:
            body = None if len(self._body) > self._limit else self._body
            self._hosted.stream.execution = self._execution
            self._end(Executed(self._head.status, self._head.headers, body, trailers, self._head.origin))

    def _give_up(self) -> None:
        self._end(ExecutionFailed(Failure.DEADLINE))

    def _end(self, event: Event) -> None:
        if not self._over:
            self._over = True
            self._upstream.cancel()
            self._hosted.hand(self._hosted.on_executed, event, self._execution)
