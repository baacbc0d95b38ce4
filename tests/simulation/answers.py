"""Which answer belongs to which of Envoy's messages (invariant 3), at the sidecar's end of a stream."""

from collections import deque

from sidecar.exchange.effects import (
    Answer,
    EchoRequestBody,
    EchoResponseBody,
    ExtendTimeout,
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
    Reply,
)
from sidecar.exchange.events import (
    EnvoyEvent,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from tests.simulation.violation import Violation

OF_RESPONSE = (ResponseHeaders, ResponseBody, ResponseTrailers)
LETS_RESPONSE = (PassResponseHeaders, PassResponseBody, EchoResponseBody, PassResponseTrailers)
_ANSWERED_BY: dict[type[Answer], type[EnvoyEvent]] = {
    PassRequest: RequestHeaders,
    ForwardRequest: RequestHeaders,
    ReadRequestBody: RequestHeaders,
    HoldRequest: RequestHeaders,
    PassRequestBody: RequestBody,
    EchoRequestBody: RequestBody,
    PassRequestTrailers: RequestTrailers,
    PassResponseHeaders: ResponseHeaders,
    PassResponseBody: ResponseBody,
    EchoResponseBody: ResponseBody,
    PassResponseTrailers: ResponseTrailers,
}


class Answers:
    """The messages of one stream that wait for an answer, in either direction."""

    def __init__(self) -> None:
        self.replied = False
        self._waiting: tuple[deque[tuple[EnvoyEvent, bool]], ...] = (deque(), deque())
        self._full_duplex = self._forwarded = self._configured = False
        self._handed: deque[EnvoyEvent] = deque()
        """What was handed over of the request, where the filter is configured to do so."""

    def expect(self, message: EnvoyEvent, completes: bool) -> None:
        """A message has come; `completes`: with it the client would have the whole response."""
        in_response = isinstance(message, OF_RESPONSE)
        if isinstance(message, RequestHeaders):
            self._configured = message.request_duplex
        elif self._configured and not in_response:
            self._handed.append(message)
            return
        if in_response or not self._full_duplex:
            self._waiting[in_response].append((message, completes))

    def give(self, answer: Answer) -> bool:
        """An answer is given; returns whether with it the client has the whole response.

        Raises:
            Violation: It answers nothing, or something else.
        """
        if self.replied:
            raise Violation("invariant 3", f"{type(answer).__name__} after the reply")
        match answer:
            case ExtendTimeout():
                return False
            case Reply():
                return self._reply()
            case ForwardHeld():
                return self._forward_held()
            case EchoRequestBody() | PassRequestTrailers() if self._configured:
                return self._give_back(answer)
            case _:
                return self._answer(answer)

    def _reply(self) -> bool:
        if not (self._full_duplex or any(self._waiting) or self._handed):
            raise Violation("invariant 3", "a reply to nothing")
        self.replied = True
        return True

    def _forward_held(self) -> bool:
        held = self._full_duplex or (self._configured and any(self._waiting))
        if not held or self._forwarded:
            raise Violation("invariant 3", "a request was forwarded that is not held")
        self._forwarded = True
        if self._configured:
            self._waiting[False].clear()
            self._handed.clear()
        return False

    def _give_back(self, answer: EchoRequestBody | PassRequestTrailers) -> bool:
        """What was handed over goes on in its order, and behind its head."""
        handed = self._handed.popleft() if self._handed and not self._waiting[False] else None
        if isinstance(answer, EchoRequestBody):
            kept = handed == RequestBody(answer.data, answer.end_of_stream)
        else:
            kept = isinstance(handed, RequestTrailers)
        if not kept:
            raise Violation("invariant 3", f"{answer} is given back for {handed}")
        return False

    def _answer(self, answer: Answer) -> bool:
        if self._configured and isinstance(answer, ReadRequestBody | HoldRequest | PassRequestBody):
            raise Violation("invariant 3", f"{answer} where Envoy has given the body away")
        kind = type(answer)
        waiting = self._waiting[issubclass(kind, LETS_RESPONSE)]
        if not waiting or not isinstance(waiting[0][0], _ANSWERED_BY[kind]):
            raise Violation(
                "invariant 3", f"{kind.__name__} answers {waiting[0][0] if waiting else 'nothing'}"
            )
        if kind in (ReadRequestBody, HoldRequest):
            self._full_duplex = True
        return waiting.popleft()[1]
