"""The scripted Envoy of a version before 1.40, whose filter is configured to exchange bodies in full duplex.

It hands bodies over without waiting for any answer, takes no override, and sends on what it is given back.
"""

from msgspec.structs import replace

from sidecar.exchange.effects import (
    EchoRequestBody,
    EchoResponseBody,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseHeaders,
)
from sidecar.exchange.events import RequestBody, RequestHeaders, RequestTrailers, ResponseBody
from tests.simulation.delivery import Delivery, LetsResponse, Part
from tests.simulation.envoy import Decision, Envoy, Neighbours
from tests.simulation.plan import CallScript
from tests.simulation.violation import Violation


class DuplexDelivery(Delivery):
    """A response all of which is handed over, whatever is answered to its head."""

    def take(self, part: Part) -> None:
        """A piece of it, or its trailers: it waits for nothing."""
        self._show(part)

    def let(self, answer: LetsResponse) -> None:
        """The sidecar has answered the oldest message, a piece of the body by giving it back."""
        if isinstance(answer, PassResponseHeaders):
            self._open(answer.remove)
            return
        part = self._shown.popleft()
        if isinstance(part, ResponseBody) and answer != EchoResponseBody(part.data, part.end_of_stream):
            raise Violation("G2", f"{part} is given back as {answer}")
        self._give(part)


class DuplexEnvoy(Envoy):
    """One request through such an Envoy."""

    def __init__(self, world: Neighbours, call: CallScript) -> None:
        super().__init__(world, call)
        self._duplex = True
        self._delivery = DuplexDelivery(self._tell, self._complete)
        self._has_given_up = False

    def begin(self) -> None:
        """The client's request arrives, and its body follows at once."""
        super().begin()
        if self.done:
            return
        if self.call.pieces:
            self._send_piece(0)
        if self.call.held_at_most_ms is not None:
            self._timeline.after(self.call.held_at_most_ms, self._lose_patience)

    def _head(self) -> RequestHeaders:
        return replace(super()._head(), request_duplex=True, response_duplex=True)

    def _send_piece(self, index: int) -> None:
        """The client has got this far with its body; all of it is handed over."""
        if self.done or self._has_given_up:
            return
        last = index == len(self.call.pieces) - 1
        self._tell(RequestBody(self.call.pieces[index], end_of_stream=last and not self.call.trailers))
        if not last and not self.call.waits:
            self._timeline.after(self.call.pace_ms, self._send_piece, index + 1)
        elif last and self.call.trailers:
            self._tell(RequestTrailers())

    def _decide(self, answer: Decision) -> None:
        if not self._has_given_up:
            super()._decide(answer)

    def _call_upstream(self, attempt: int | None) -> None:
        super()._call_upstream(attempt)
        if not self.call.pieces:
            self._end_request()

    def _let_request(self, answer: PassRequestBody | EchoRequestBody | PassRequestTrailers) -> None:
        if self._has_given_up:
            return
        if isinstance(answer, EchoRequestBody):
            self._forward(RequestBody(answer.data, answer.end_of_stream))
        else:
            self._end_request()

    def _lose_patience(self) -> None:
        self._has_given_up = self._upstream is None
        super()._lose_patience()
