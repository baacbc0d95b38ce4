"""How an exchange ends: its outcome is kept, or could not be; its stream is over, early or in time."""

from sidecar.exchange import states
from sidecar.exchange.core import AFTER_THE_END, INCOMPLETE, NEVER_FORWARDED, Effects
from sidecar.exchange.effects import BreakOff, Renew, Reply
from sidecar.exchange.events import (
    Claimed,
    EnvoyEvent,
    Event,
    RenewalDue,
    RenewalFailed,
    Renewed,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseTrailers,
    Settled,
    StreamEnded,
)
from sidecar.exchange.replying import Replying
from sidecar.idempotency.claim import UnknownReason

_NOTHING_FOLLOWS = BreakOff("a message behind the end of a request that was executed detached")


class Ending(Replying):
    """Actions after the decision, at the end of the stream, and on the lease."""

    # --- The outcome is kept, or could not be

    def hold(self, event: ResponseBody | ResponseTrailers) -> Effects:
        """More of the response while the store is asked: it waits with the rest."""
        if self._will_reply:
            return (_NOTHING_FOLLOWS,)
        self._held.append(self._passing(event))
        self._weigh(event)
        return ()

    @property
    def _will_reply(self) -> bool:
        """Whether what waits for the store is the reply of a detached execution, large (`_large`) or not.

        Its request came whole and was not forwarded, so Envoy has nothing more to show; an answer to what a
        peer sends all the same would stand in front of the reply, where Envoy takes none.
        """
        return not self._held or isinstance(self._held[0], Reply)

    def let_go(self, event: Settled) -> Effects:
        """The outcome is durable: the end of the response may go."""
        return self._end_response(held=event.held)

    def let_go_unsettled(self, _event: Event) -> Effects:
        """The outcome could not be kept; the client gets its response, the lease runs out as unknown."""
        return self._end_response(held=False)

    def _end_response(self, *, held: bool) -> Effects:
        outcome = self._outcome(held=held)
        if not self._held:  # of a detached execution, whose answer is large
            return (outcome, *self._begin_to_give())
        answers = self._let_go_held()
        self.state = states.ANSWERED if isinstance(answers[0], Reply) else states.PASSING
        return (*answers, outcome)

    # --- The stream ends early

    def drop_claim(self, event: Claimed) -> Effects:
        """The claim came too late: nothing was forwarded."""
        self._claim, self._taken_over = self._claim.granted(event.attempt), event.taken_over
        return self._settle_alone(self._drop(NEVER_FORWARDED))

    def release_unsent(self, _event: StreamEnded) -> Effects:
        """The stream ended before the whole request was forwarded."""
        return self._settle_alone(self._drop(INCOMPLETE))

    def lose_response(self, _event: StreamEnded) -> Effects:
        """The stream ended after the request was forwarded and before an answer came."""
        return self._settle_alone(self._lose(UnknownReason.LOST_BEFORE_RESPONSE))

    def lose_rest(self, _event: StreamEnded) -> Effects:
        """The stream ended within the response: unknown, unless every announced byte had come."""
        whole = self.state is states.CAPTURING
        if self._capture.has_whole_body:
            return self._settle_alone(self._complete(early=not whole))
        return self._settle_alone(self._lose(UnknownReason.LOST_MID_RESPONSE, whole=whole))

    def settle_alone(self, _event: StreamEnded) -> Effects:
        """The stream ended while the store was asked: its answer still counts."""
        self.state = states.SETTLING_ALONE
        return ()

    def close(self, _event: Event) -> Effects:
        """Over."""
        self.state = states.CLOSED
        return ()

    def close_settled(self, event: Settled) -> Effects:
        """Over, and the outcome is durable."""
        self.state = states.CLOSED
        return (self._outcome(held=event.held),)

    def close_unsettled(self, _event: Event) -> Effects:
        """Over, and the outcome could not be kept."""
        self.state = states.CLOSED
        return (self._outcome(held=False),)

    # --- The lease

    def renew(self, _event: RenewalDue) -> Effects:
        """Extend the lease while the exchange lives."""
        return (Renew(self._claim),)

    def keep_renewing(self, event: Renewed | RenewalFailed) -> Effects:
        """Again in a third of the lease; not where the claim is no longer ours."""
        if isinstance(event, Renewed) and not event.held:
            return ()
        return (self._renew_later(),)

    # --- What needs no decision

    def pass_on(self, event: EnvoyEvent) -> Effects:
        """Let it pass."""
        if self.state in (states.COMPARING, states.READING):
            # Envoy will not wait for the rest of the request.
            self.state = states.PASSING
        elif self.state is states.AWAITING_REQUEST:
            self.state = states.PASSING
            # Its body is not asked for. If it comes, the filter is configured to send it: in full duplex.
            self._response_duplex = True
        elif self.state is states.SETTLING and self._will_reply:
            return (_NOTHING_FOLLOWS,)
        if self._is_whole and isinstance(event, RequestBody | RequestTrailers):
            return (AFTER_THE_END,)
        return (self._passing(event),)

    def ignore(self, _event: Event) -> Effects:
        """Nothing to do."""
        return ()
