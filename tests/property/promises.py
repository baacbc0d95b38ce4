"""What an exchange promises, held against every event it hears and every effect it wants.

Nothing here looks at how the exchange comes to its effects, save for its state and the size of what it keeps.
"""

from sidecar.exchange.effects import (
    AwaitOwner,
    BreakOff,
    Complete,
    Count,
    CountOutcome,
    Effect,
    Execute,
    ExtendTimeout,
    FetchPiece,
    HoldRequest,
    MarkUnknown,
    NoteFingerprint,
    ReadRequestBody,
    Release,
    Renew,
    RenewLater,
    ReplyPiece,
    ReplyTrailers,
    TakeClaim,
    WaitAtMost,
)
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    Event,
    InFlight,
    Noted,
    NotingFailed,
    Renewed,
    ResponseHeaders,
)
from sidecar.exchange.states import LEASED, TIMED, State
from tests.property.answer_promises import AnswerPromises
from tests.property.draws import LIMIT, LONGEST


class Promises(AnswerPromises):
    """An exchange and its twin, every event they hear and every effect they want."""

    def hear(self, event: Event) -> None:
        """Both twins do the same, and every effect is allowed where it comes."""
        match event:
            case Claimed():
                self.claimed = event
            case ClaimFailed():
                self.claim_failed = event
            case Noted(held=True):
                self.noted = True
            case Noted(held=False) | NotingFailed():
                self.unnoted = True
            case InFlight():
                self.met_owner = True
            case ResponseHeaders() if not self.executed:
                self.answered = event
            case Renewed(held=False):
                self.lease_lost = True
            case _:
                pass
        effects = self.exchange.handle(event)
        assert effects == self.twin.handle(event), "the same events gave other effects"
        if self.call is not None and self.answered is not None and self.exchange.state is not State.NOTING:
            self.call.meet_answer()
        self.visited.add(self.exchange.state)
        for effect in effects:
            self.check(effect)
        self.check_moment()

    def check(self, effect: Effect) -> None:
        match effect:
            case TakeClaim() | Renew() | NoteFingerprint() | AwaitOwner():
                self.check_question(effect)
            case Complete() | Release() | MarkUnknown():
                self.check_settling(effect)
            case Execute():
                self.check_execution(effect)
            case RenewLater() | WaitAtMost():
                self.check_timer(effect)
            case Count():
                self.told.counts.append(effect)
            case CountOutcome(outcome=outcome):
                assert self.settled
                self.told.outcomes.append(outcome)
            case ExtendTimeout(timeout_ms=timeout_ms):
                assert not self.ended
                assert not self.replied
                assert not self.full_duplex
                assert not self.request_duplex, "Envoy has no timer then"
                assert timeout_ms > 0
                assert not self.extended, "Envoy grants it once"
                self.extended = True
                assert ("request head", self.request_over) in self.unanswered
            case ReadRequestBody() | HoldRequest():
                assert not self.ended
                assert not self.replied
                assert not self.full_duplex
                assert not self.request_duplex, "Envoy takes no override then"
                assert not self.request_over
                self.full_duplex = True
                self.watched = isinstance(effect, HoldRequest)
            case FetchPiece() | ReplyPiece() | ReplyTrailers() | BreakOff():
                self.check_large(effect)
            case _:
                self.check_answer(effect)

    # --- What must hold at every moment, and at the end

    def check_moment(self) -> None:
        state = self.exchange.state
        self.as_a_driver_would(state)
        if self.unanswered and not (self.ended or self.replied):
            reading = (self.full_duplex or self.request_duplex) and not self.request_over
            assert self.asked.keeps_envoy_waiting() or reading, f"{self.unanswered} without an answer"
        if self.handed_request and not (self.ended or self.replied or self.response_begun):
            holds = any(message == "request head" for message, _ in self.unanswered)
            assert self.asked.keeps_envoy_waiting() or holds, f"{self.handed_request} is not given back"
        if state in LEASED and not self.lease_lost:
            assert self.asked.timer is RenewLater or self.asked.renewals, "a lease that nobody renews"
        assert len(self.told.outcomes) <= 1
        assert len(self.told.counts) <= 1
        assert len(self.told.records) <= 1
        self.check_memory()

    def as_a_driver_would(self, state: State) -> None:
        """Stop what an exchange in this state has no use for."""
        if state not in TIMED:
            self.asked.timer = None
        if state is not State.WAITING:
            self.asked.waiting = False

    def check_memory(self) -> None:
        assert len(self.exchange._body) <= self.policy.max_request_body + LONGEST
        capture = getattr(self.exchange, "_capture", None)
        if capture is not None:
            assert sum(map(len, capture._pieces)) + len(capture._kept or b"") <= LIMIT

    def check_end(self) -> None:
        """Nothing can happen any more: the exchange is over, and every claim that was taken is settled."""
        assert self.exchange.state is State.CLOSED
        assert self.settled or not self.held, "a claim that was never settled"
        assert len(self.told.outcomes) == (self.held and not self.turned_away)
        if self.claim_failed is not None and not self.bypassed:
            assert self.settled == self.claim_failed.asked, "a claim is dropped where one may stand"
