"""The response on its way back: judged by its head, captured as it passes, held at its end."""

from sidecar.exchange import states
from sidecar.exchange.call import Call
from sidecar.exchange.capture import Capture
from sidecar.exchange.core import LARGE_BODY_MS, NEVER_FORWARDED, Core, Effects, present
from sidecar.exchange.effects import Answer, ExtendTimeout, PassResponseHeaders
from sidecar.exchange.events import ResponseBody, ResponseHeaders, ResponseTrailers
from sidecar.idempotency.body import HeldBody
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.grpc import GrpcStatus, status_in
from sidecar.idempotency.outcome import Outcome, Verdict, is_envoys_own, judge, judge_call
from sidecar.idempotency.replay import REPLAYED

CALL_OK = 200
"""The HTTP status of every response that is gRPC's own, whatever the call ends with."""

_RECORD = Outcome.RECORD

AWAITING_TRAILERS = Verdict(_RECORD, "awaiting-trailers")
"""Of a gRPC call, while its response passes: it may still have to be kept."""


class Responding(Core):
    """Actions that hear the response."""

    def judge_response(self, event: ResponseHeaders) -> Effects:
        """Decide by the response's head what becomes of the key."""
        return self._judge(event, early=False)

    def _judge(self, event: ResponseHeaders, *, early: bool) -> Effects:
        """`early`: before the request was known whole."""
        self._judge_head(event)
        marks = present(event.headers, REPLAYED)
        if self._verdict.outcome is not _RECORD:
            answer = PassResponseHeaders(more=False, remove=marks)
            return self._settle(answer, self._give_up_record(whole=not early))
        of_call = self._grpc_call is not None
        self._capture = Capture(event, self._policy, self._request.method, of_call=of_call)
        whole = event.end_of_stream or self._capture.has_whole_body
        answer = PassResponseHeaders(more=not whole, remove=marks, advertised=self._advertised())
        if whole:
            return self._settle(answer, self._complete(early=early))
        self.state = states.CAPTURING_EARLY if early else states.CAPTURING
        return (answer,)

    def _judge_head(self, event: ResponseHeaders) -> None:
        if self._grpc_call is None:
            self._verdict = judge(event.status, event.origin, self._policy.outcomes)
        else:
            self._verdict = self._judge_call_head(self._grpc_call, event)

    def _judge_call_head(self, call: Call, head: ResponseHeaders) -> Verdict:
        """What the head of the response to a gRPC call tells; where more is to come, the trailers will."""
        call.begin_response()
        if head.status == CALL_OK and not head.end_of_stream and not is_envoys_own(head.origin):
            return AWAITING_TRAILERS
        return self._judge_call(head, ())

    def _judge_call(self, head: ResponseHeaders, trailers: Fields) -> Verdict:
        """What a whole response to a gRPC call means: by grpc-status; without one, its client has UNKNOWN.

        With another HTTP status than 200 it is not gRPC's but of somebody between: judged as HTTP is.
        """
        if head.status == CALL_OK:
            status = status_in(trailers, head.headers)
            return judge_call(
                GrpcStatus.UNKNOWN if status is None else status, head.origin, self._policy.outcomes
            )
        return judge(head.status, head.origin, self._policy.outcomes)

    def overtake(self, _event: ResponseHeaders) -> Effects:
        """Envoy answered itself (it would not wait for the body any longer) before anything was sent."""
        return self._settle(PassResponseHeaders(more=False), self._drop(NEVER_FORWARDED))

    def capture(self, event: ResponseBody) -> Effects:
        """Keep a piece of the body and let it pass; hold the piece that ends it until the record is kept."""
        self._hear(event.data)
        if event.end_of_stream or self._capture.has_whole_body:
            return self._conclude(self._passing(event))
        return (self._passing(event),)

    def _hear(self, data: bytes) -> None:
        self._capture.feed(data)
        if self._grpc_call is not None:
            self._grpc_call.response.feed(data)
            if self._grpc_call.is_stream:
                self._capture.let_go()

    def capture_trailers(self, event: ResponseTrailers) -> Effects:
        """The response ends with trailers."""
        return self._conclude(self._passing(event), event.fields)

    def _conclude(self, answer: Answer, trailers: Fields = ()) -> Effects:
        """The response is whole; what becomes of a gRPC call is known only now."""
        early = self.state is states.CAPTURING_EARLY
        if self._grpc_call is not None:
            self._verdict = self._judge_call(self._capture.head, trailers)
            if self._verdict.outcome is not _RECORD:
                return self._settle(answer, self._give_up_record(whole=not early))
        complete = self._complete(early=early, trailers=trailers)
        settling = self._settle(answer, complete)
        if isinstance(complete.record.body, HeldBody) and not self._response_duplex:
            return (ExtendTimeout(LARGE_BODY_MS), *settling)
        return settling
