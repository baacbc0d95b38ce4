"""Bodies in full duplex: handed over by Envoy, not shown, and to be given back piece by piece.

So they go where the filter is configured for it, which is how an Envoy before 1.40 lets a body be read while
its head is held (docs/decisions/0018). Envoy waits for nothing then: pieces of a body come before its head is
answered, and while the store is asked.
"""

from typing import ClassVar, TypeAlias

from sidecar.exchange.effects import (
    Answer,
    EchoRequestBody,
    EchoResponseBody,
    ExtendTimeout,
    HoldRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
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

HELD_BYTES = 256 * 1024
"""How much an exchange holds of what it cannot let pass yet before no more is read from its stream."""

PIECE_COST = 256
"""What a piece counts for beside its data, in bytes: many small ones take memory, too."""

Early: TypeAlias = RequestBody | RequestTrailers | ResponseBody | ResponseTrailers


class FullDuplex:
    """What an exchange knows and holds of bodies in full duplex."""

    __slots__ = ("_early", "_held_bytes", "_request_duplex", "_response_duplex", "is_full")

    def __init__(self) -> None:
        self._request_duplex = self._response_duplex = False
        self._early: tuple[Early, ...] = ()
        """What came before anybody could say what is to be done with it."""
        self._held_bytes = 0
        self.is_full = False
        """It holds so much that no more is to be read from its stream, until it has let go of that."""

    def _note_modes(self, event: RequestHeaders) -> None:
        if event.request_duplex or event.response_duplex:
            self._request_duplex, self._response_duplex = event.request_duplex, event.response_duplex

    @property
    def _may_stream_reply(self) -> bool:
        """Whether Envoy takes a streamed reply: only where both bodies go in full duplex, or neither does."""
        return self._request_duplex == self._response_duplex

    def _passing(self, event: EnvoyEvent) -> Answer:
        """The answer that lets a message pass."""
        if self._request_duplex and isinstance(event, RequestBody):
            return EchoRequestBody(event.data, event.end_of_stream)
        if self._response_duplex and isinstance(event, ResponseBody):
            return EchoResponseBody(event.data, event.end_of_stream)
        return self._PASSING[type(event)]

    def _asking(self, answer: ReadRequestBody | HoldRequest | ExtendTimeout) -> tuple[Answer, ...]:
        """What has Envoy show a body, or wait: in full duplex it does both of its own accord."""
        return () if self._request_duplex else (answer,)

    def _weigh(self, held: EnvoyEvent) -> None:
        """Count what is held from now on; outside full duplex Envoy does that, and keeps the bytes."""
        duplex = self._request_duplex or self._response_duplex
        if duplex and isinstance(held, RequestBody | ResponseBody):
            self._held_bytes += len(held.data) + PIECE_COST
            self.is_full = self._held_bytes > HELD_BYTES

    def _unburden(self) -> None:
        """What was held has gone."""
        if self._held_bytes:
            self._held_bytes, self.is_full = 0, False

    _PASSING: ClassVar[dict[type[EnvoyEvent], Answer]] = {
        RequestBody: PassRequestBody(),
        RequestTrailers: PassRequestTrailers(),
        ResponseHeaders: PassResponseHeaders(more=False),
        ResponseBody: PassResponseBody(),
        ResponseTrailers: PassResponseTrailers(),
    }
