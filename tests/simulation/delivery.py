"""The response on its way through Envoy to the client, shown to the sidecar where it wants to see it."""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from sidecar.exchange.effects import (
    EchoResponseBody,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
)
from sidecar.exchange.events import ResponseBody, ResponseHeaders, ResponseTrailers
from sidecar.idempotency.fields import Fields, first
from tests.simulation.guarantees import Received

Part: TypeAlias = ResponseBody | ResponseTrailers
LetsResponse: TypeAlias = PassResponseHeaders | PassResponseBody | EchoResponseBody | PassResponseTrailers


class Delivery:
    """One response, from its head to its end.

    Args:
        tell: Shows the sidecar a message, and whether with it the client would have the whole response.
        complete: Called when the client has it.
    """

    def __init__(
        self,
        tell: Callable[[ResponseHeaders | Part, bool], None],
        complete: Callable[[Received], None],
    ) -> None:
        self.begun = False
        self._tell = tell
        self._complete = complete
        self._watched = self._opened = False
        self._head_fields: Fields = ()
        self._announced: int | None = None
        self._seen = 0
        self._arrived: deque[Part] = deque()
        self._shown: deque[Part] = deque()
        self._received = Received()

    # --- It comes from the upstream, or from Envoy itself

    def begin(self, head: ResponseHeaders, *, watched: bool) -> None:
        """Its head; `watched`: the sidecar sees it first."""
        self.begun, self._watched = True, watched
        self._received.status, self._head_fields = head.status, head.headers
        length = first(head.headers, "content-length")
        self._announced = None if length is None else int(length)
        self._bare = head.end_of_stream
        if watched:
            self._tell(head, head.end_of_stream)
        else:
            self._open(())

    def take(self, part: Part) -> None:
        """A piece of it, or its trailers."""
        self._arrived.append(part)
        self._flow()

    # --- The sidecar lets it go

    def let(self, answer: LetsResponse) -> None:
        """The sidecar has answered the oldest message."""
        if isinstance(answer, PassResponseHeaders):
            self._watched = answer.more
            self._open(answer.remove)
        else:
            self._give(self._shown.popleft())
            self._flow()

    # --- The client is given it

    def _open(self, remove: tuple[str, ...]) -> None:
        self._received.headers = tuple(pair for pair in self._head_fields if pair[0] not in remove)
        self._opened = True
        if self._bare:
            self._complete(self._received)
        else:
            self._flow()

    def _flow(self) -> None:
        """What has come goes on its way once the head is with the client; trailers wait for the body."""
        while self._opened and self._arrived:
            part = self._arrived[0]
            if isinstance(part, ResponseTrailers) and self._shown:
                return
            self._arrived.popleft()
            if self._watched:
                self._show(part)
            else:
                self._give(part)

    def _show(self, part: Part) -> None:
        whole = True
        if isinstance(part, ResponseBody):
            self._seen += len(part.data)
            whole = part.end_of_stream or (self._announced is not None and self._seen >= self._announced)
        self._shown.append(part)
        self._tell(part, whole)

    def _give(self, part: Part) -> None:
        if isinstance(part, ResponseTrailers):
            self._received.trailers = part.fields
            self._complete(self._received)
            return
        self._received.body += part.data
        if part.end_of_stream:
            self._complete(self._received)
