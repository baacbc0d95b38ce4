"""A reply with a large body, given piece by piece as fast as the peer takes it (docs/decisions/0017)."""

from sidecar.exchange import states
from sidecar.exchange.core import Core, Effects
from sidecar.exchange.effects import (
    BeginReply,
    BreakOff,
    Effect,
    FetchPiece,
    LargeReply,
    ReplyAtOnce,
    ReplyPiece,
    ReplyTrailers,
)
from sidecar.exchange.events import PieceFetched, PieceLost
from sidecar.idempotency.body import HeldBody
from sidecar.idempotency.problem import StoreUnavailable
from sidecar.idempotency.replay import may_stream


class Replying(Core):
    """Actions of REPLYING, and the way there."""

    # Each is set on the way to REPLYING.
    _large: LargeReply
    _fetched: int
    _gathered: list[bytes]
    """The pieces of a reply that can only be given as one message."""
    _told: tuple[Effect, ...]
    """What operators see of the reply, as soon as it begins."""

    def _begin_to_give(self, *told: Effect) -> Effects:
        """Ask for the first piece of `_large`: until it is there nothing is said, and refusal is possible."""
        self.state = states.REPLYING
        self._fetched, self._gathered, self._told = 0, [], told
        return (FetchPiece(self._large.body, 0),)

    def give_piece(self, event: PieceFetched) -> Effects:
        """A piece is there: give it to the client, and ask for the next."""
        self._fetched += 1
        reply, last = self._large, self._fetched == self._large.body.count
        if self._gives_piecewise:
            given = self._streamed(event.data, last=last)
        else:
            given = self._at_once(event.data, last=last)
        if not last:
            return (*given, FetchPiece(reply.body, self._fetched))
        self.state = states.ANSWERED
        return given

    @property
    def _gives_piecewise(self) -> bool:
        """Whether `_large` may be given as it is read; else it has to be gathered, for one message."""
        return self._may_stream_reply and may_stream(self._large.headers, to_call=self._large.to_call)

    def _streamed(self, data: bytes, *, last: bool) -> Effects:
        reply = self._large
        head = (BeginReply(reply), *self._told) if self._fetched == 1 else ()
        end = (ReplyTrailers(reply.trailers, reply.to_call),) if last and reply.trailers else ()
        return (*head, ReplyPiece(data, ends=last and not end), *end)

    def _at_once(self, data: bytes, *, last: bool) -> Effects:
        self._gathered.append(data)
        if not last:
            return ()
        pieces, self._gathered = self._gathered, []
        return (ReplyAtOnce(self._large, HeldBody(tuple(pieces))), *self._told)

    def break_off(self, _event: PieceLost) -> Effects:
        """The rest is not to be had: refuse, or, where the client has the beginning, fail the stream.

        The client then sees that its response stops short; it never takes a part for the whole.
        """
        if not self._fetched or self._gathered:
            return self._refuse(StoreUnavailable())
        self.state = states.ANSWERED
        return (BreakOff("a piece of the recorded response could not be read"),)
