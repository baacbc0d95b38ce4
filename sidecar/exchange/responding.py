"""The response on its way back: judged by its head, captured as it passes, held at its end."""

from sidecar.exchange.capture import Capture
from sidecar.exchange.core import NEVER_FORWARDED, Core, Effects, present
from sidecar.exchange.effects import (
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
)
from sidecar.exchange.events import ResponseBody, ResponseHeaders, ResponseTrailers
from sidecar.exchange.states import State
from sidecar.idempotency.outcome import Outcome, judge
from sidecar.idempotency.replay import REPLAYED


class Responding(Core):
    """Actions that hear the response."""

    def judge_response(self, event: ResponseHeaders) -> Effects:
        """Decide by the response's head what becomes of the key."""
        return self._judge(event, early=False)

    def _judge(self, event: ResponseHeaders, *, early: bool) -> Effects:
        """`early`: before the request was known whole."""
        self._verdict = judge(event.status, event.origin, self._policy.outcomes)
        recording = self._verdict.outcome is Outcome.RECORD
        answer = PassResponseHeaders(recording and not event.end_of_stream, present(event.headers, REPLAYED))
        if not recording:
            return self._settle(answer, self._give_up_record(whole=not early))
        self._capture = Capture(event, self._policy)
        if event.end_of_stream:
            return self._settle(answer, self._complete(early=early))
        self.state = State.CAPTURING_EARLY if early else State.CAPTURING
        return (answer,)

    def overtake(self, _event: ResponseHeaders) -> Effects:
        """Envoy answered itself (it would not wait for the body any longer) before anything was sent."""
        return self._settle(PassResponseHeaders(more=False), self._drop(NEVER_FORWARDED))

    def capture(self, event: ResponseBody) -> Effects:
        """Keep a piece of the body and let it pass; hold the piece that ends it until the record is kept."""
        self._capture.feed(event.data)
        if event.end_of_stream or self._capture.has_whole_body:
            return self._settle(PassResponseBody(), self._complete(early=self.state is State.CAPTURING_EARLY))
        return (PassResponseBody(),)

    def capture_trailers(self, event: ResponseTrailers) -> Effects:
        """The response ends with trailers."""
        early = self.state is State.CAPTURING_EARLY
        return self._settle(PassResponseTrailers(), self._complete(early=early, trailers=event.fields))
