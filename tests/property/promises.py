"""What an exchange promises, held against every event it hears and every effect it wants.

Nothing here looks at how the exchange comes to its effects, save for its state and the size of what it keeps.
"""

from dataclasses import dataclass, field

from sidecar.exchange.effects import (
    AwaitOwner,
    BeginReply,
    BreakOff,
    Complete,
    Count,
    CountOutcome,
    EchoRequestBody,
    EchoResponseBody,
    Effect,
    Execute,
    ExtendTimeout,
    FetchPiece,
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    LargeReply,
    MarkUnknown,
    NoteFingerprint,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
    Release,
    Renew,
    RenewLater,
    Reply,
    ReplyAtOnce,
    ReplyPiece,
    ReplyTrailers,
    SettleEffect,
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
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
)
from sidecar.exchange.machine import Exchange
from sidecar.exchange.states import LEASED, TIMED, State
from sidecar.idempotency.body import size_of
from sidecar.idempotency.claim import Claim, UnknownPolicy
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.outcome import Outcome, Verdict, judge
from sidecar.idempotency.policy import Policies, Policy
from sidecar.idempotency.record import Record
from tests.property.call_account import CallAccount
from tests.property.draws import FORGED, LIMIT, LONGEST, Sent
from tests.unit.exchange.scenes import OWNER

REPLIES = (Reply, BeginReply, ReplyAtOnce)
ANSWERS: dict[str, tuple[type[Effect], ...]] = {
    "request head": (PassRequest, ForwardRequest, ForwardHeld, *REPLIES),
    "request body": (PassRequestBody, *REPLIES),
    "request trailers": (PassRequestTrailers, *REPLIES),
    "response head": (PassResponseHeaders,),
    "response body": (PassResponseBody, EchoResponseBody),
    "response trailers": (PassResponseTrailers,),
}
OF_RESPONSE = (PassResponseHeaders, PassResponseBody, EchoResponseBody, PassResponseTrailers)
FORWARDING = (ForwardRequest, ForwardHeld, Execute)


@dataclass
class Asked:
    """What has been asked of the store, the origin and the clock, and not been answered yet."""

    claim: bool = False
    settling: bool = False
    noting: bool = False
    executing: bool = False
    fetching: bool = False
    waiting: bool = False
    renewals: int = 0
    timer: type[RenewLater | WaitAtMost] | None = None

    def keeps_client_waiting(self) -> bool:
        """Whether one of them may take so long that the client leaves."""
        return self.claim or self.noting or self.executing or self.waiting or self.fetching

    def keeps_envoy_waiting(self) -> bool:
        """Whether one of them will lead to an answer for Envoy."""
        return self.settling or self.keeps_client_waiting()


@dataclass
class Told:
    """What was reported to operators, and what was kept."""

    counts: list[Count] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


class Promises:
    """An exchange and its twin, every event they hear and every effect they want."""

    sent: Sent

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.exchange = Exchange(Policies((policy,)), OWNER)
        self.twin = Exchange(Policies((policy,)), OWNER)
        self.asked, self.told = Asked(), Told()
        self.visited = {self.exchange.state}
        # Envoy's messages without an answer; whether each is the last of its direction.
        self.unanswered: list[tuple[str, bool]] = []
        # What was handed over in full duplex and not given back yet; whether it is the last of the request.
        self.handed_request: list[tuple[RequestBody | RequestTrailers, bool]] = []
        self.handed_response: list[ResponseBody] = []
        self.opened_duplex = False
        """Envoy's own reply opens the stream, and its body goes in full duplex."""
        self.ended = self.replied = self.settled = self.turned_away = False
        self.gone_whole = self.extended = self.full_duplex = self.watched = self.forwarded = self.executed = (
            False
        )
        self.request_over = self.response_begun = self.response_over = False
        self.fetched = self.given = 0
        self.large: LargeReply | None = None
        self.broken = self.reply_over = False
        self.body = b""
        self.trailers: Fields = ()
        self.call: CallAccount | None = None
        self.announced: int | None = None
        self.claimed: Claimed | None = None
        self.claim_failed: ClaimFailed | None = None
        self.answered: ResponseHeaders | None = None
        self.told_uncomparable = False
        self.bypassed = self.forged = self.noted = self.unnoted = self.lease_lost = self.met_owner = False

    @property
    def held(self) -> bool:
        """Whether the claim was granted."""
        return self.claimed is not None

    @property
    def request_duplex(self) -> bool:
        """Whether the filter is configured to exchange the request's body in full duplex."""
        return hasattr(self, "sent") and self.sent.begun.request_duplex

    @property
    def response_duplex(self) -> bool:
        """The same of the response's."""
        return self.opened_duplex or (hasattr(self, "sent") and self.sent.begun.response_duplex)

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

    # --- Questions to the store, the origin and the clock

    def check_question(self, effect: TakeClaim | Renew | NoteFingerprint | AwaitOwner) -> None:
        assert not self.settled
        assert not self.asked.settling
        match effect:
            case TakeClaim(wanted=wanted):
                assert not self.asked.claim
                assert not self.held
                assert not self.ended
                assert wanted.attempt == 0
                self.asked.claim = True
            case Renew(claim=claim):
                self.check_claim(claim)
                self.asked.renewals += 1
            case NoteFingerprint(claim=claim, fingerprint=fingerprint):
                self.check_claim(claim)
                self.check_note(fingerprint)
                self.asked.noting = True
            case AwaitOwner():
                assert self.exchange.state is State.WAITING
                assert not self.asked.waiting
                assert not self.held
                assert self.policy.in_progress.wait_ms
                self.asked.waiting = True

    def check_claim(self, claim: Claim) -> None:
        assert self.claimed is not None, "a claim that was never granted"
        assert (claim.owner, claim.attempt) == (OWNER, self.claimed.attempt)

    def check_note(self, noted: bytes) -> None:
        """Once, before it went whole: of all of the request, or where that came too late, that of none.

        Of a gRPC call that goes on it is that of none, until it ends while that is noted.
        """
        assert not self.asked.noting
        assert not self.unnoted, "noted again, though the first was not kept"
        assert not self.gone_whole
        assert self.policy.unknown is UnknownPolicy.RETRY
        goes_on = self.call is not None and not self.call.is_unary()
        if noted == UNCOMPARABLE:
            assert not self.noted, "noted twice"
            assert self.forwarded
            # In full duplex its end may have come already, and wait behind what is noted here.
            known = goes_on or self.answered is not None or self.request_duplex
            assert known, "it can be compared with"
        else:
            ended_meanwhile = self.call is not None and self.told_uncomparable
            assert not self.noted or ended_meanwhile, "noted twice"
            assert not goes_on, "a takeover would wait for an end that may not come"
            assert self.answered is None, "noted as whole though it was answered before it was"
            assert noted == self.sent.fingerprint(self.policy), "noted before it was known whole"
        self.told_uncomparable = noted == UNCOMPARABLE

    def check_timer(self, effect: RenewLater | WaitAtMost) -> None:
        # In full duplex the body may be there already, and decide at once: the driver stops the timer then.
        decided = self.request_duplex and self.exchange.state not in TIMED
        assert decided or self.exchange.state in TIMED, "a timer where nothing may come of it"
        if isinstance(effect, RenewLater):
            assert self.held
            assert 0 < effect.after_ms < self.policy.lease_ms
        else:
            assert effect.after_ms == self.policy.in_progress.wait_ms > 0
            assert self.exchange.state is State.WAITING
            assert self.asked.timer is None, "a wait of an exchange that has another timer"
        self.asked.timer = type(effect)

    def check_execution(self, effect: Execute) -> None:
        assert not self.asked.executing
        assert not self.executed
        assert not self.ended
        assert not self.forwarded, "executed here and forwarded"
        self.check_forwarding()
        self.check_whole()
        assert effect.body == self.sent.body
        assert len(effect.body) <= self.policy.max_request_body
        self.asked.executing = self.executed = True

    def check_forwarding(self) -> None:
        """A request may go, whole or in part, with the claim, and not where another was taken over from."""
        assert self.claimed is not None, "forwarded without a claim"
        assert not self.settled
        assert not self.asked.settling
        expected = self.claimed.fingerprint
        if expected is not None:
            assert self.request_over, "a takeover that did not wait to be compared"
            assert expected == self.sent.fingerprint(self.policy), "a takeover with another payload"
        self.forwarded = True

    def check_whole(self) -> None:
        """The last byte of the request may go: whoever takes over from here will know what to compare."""
        assert self.claimed is not None
        self.gone_whole = True
        known = self.noted or self.claimed.fingerprint is not None
        # Who has answered has the request in hand: a store that did not take the note cannot change that.
        too_late = self.unnoted and self.answered is not None
        assert known or too_late or self.policy.unknown is UnknownPolicy.HOLD
        if (
            self.call is not None
            and not self.call.request_over
            and self.policy.unknown is UnknownPolicy.RETRY
        ):
            assert self.told_uncomparable or too_late, "a takeover would wait for an end that may not come"

    # --- What becomes of the claim

    def check_settling(self, effect: SettleEffect) -> None:
        assert not self.asked.settling, "two settlements at once"
        assert not self.settled, "settled twice"
        assert not self.asked.executing, "settled while the call is under way"
        self.asked.settling = True
        if isinstance(effect, Release):
            assert self.claimed is None or not self.claimed.taken_over, "a takeover was released"
            self.check_release()
        if self.held:
            self.check_claim(effect.claim)
        else:
            assert isinstance(effect, Release), "an outcome without a claim"
            assert self.claim_failed is not None
            assert self.claim_failed.asked, "a claim that was never asked for was dropped"
        if isinstance(effect, MarkUnknown):
            self.check_marked(effect.fingerprint)
        if isinstance(effect, Complete):
            assert self.forwarded, "a record of what was never sent"
            assert self.executed or self.is_whole() or self.announced == 0, "a record of half a response"
            assert self.answered is None or self.verdict(self.answered).outcome is Outcome.RECORD
            self.check_record(effect.record)

    def check_marked(self, marked: bytes | None) -> None:
        """Of all of the request, or of none; where a note was to say that of none, it is said again."""
        is_stream = self.call is not None and not self.call.is_unary()
        if marked is None:
            assert not self.told_uncomparable
        elif marked == UNCOMPARABLE:
            assert self.told_uncomparable or is_stream
        else:
            assert not is_stream, "a takeover would wait for an end that may not come"
            assert marked == self.sent.fingerprint(self.policy)

    def check_release(self) -> None:
        """Only what was not sent whole, or was answered so that the policy lets it go."""
        if self.answered is not None and self.forwarded:
            verdict = self.verdict(self.answered)
            assert verdict.outcome is Outcome.RELEASE, "released though it was answered otherwise"
        else:
            assert not self.gone_whole or self.executed, "released what may have been executed"

    def verdict(self, head: ResponseHeaders) -> Verdict:
        """What the response means, by all that came of it."""
        if self.call is not None:
            return self.call.verdict(head, self.policy)
        return judge(head.status, head.origin, self.policy.outcomes)

    def is_whole(self) -> bool:
        """Whether the response has ended, or all that was announced of a body has come."""
        length = self.announced
        return self.response_over or (length is not None and 0 < length <= len(self.body))

    def check_record(self, record: Record) -> None:
        self.told.records.append(record)
        assert size_of(record.body) <= LIMIT
        if record.replayable:
            assert record.body == self.body
            assert record.fingerprint == self.sent.fingerprint(self.policy)
            assert self.executed or record.trailers == self.trailers
            assert self.call is None or self.call.is_unary(), "a stream that would be given again"
        else:
            assert record.body == b""
            assert self.executed or len(self.body) > LIMIT or record.fingerprint is None
        if record.fingerprint is not None and self.call is not None:
            assert self.call.is_unary(), "a duplicate would wait for an end that may not come"
        assert first(record.headers, "idempotent-replayed") is None

    # --- Answers

    def check_answer(self, effect: Effect) -> None:
        assert not self.ended, "an answer after the end of the stream"
        assert not self.replied, "an answer after the reply"
        last = self.take_answered(effect)
        if isinstance(effect, OF_RESPONSE) and self.held:
            assert not self.asked.settling, "a part of a response while its outcome is being kept"
            assert self.settled or not last, "the end of a response before its outcome was kept"
        match effect:
            case ForwardRequest(has_body=has_body):
                self.check_forwarding()
                self.watched = True
                if not has_body:
                    self.check_whole()
            case ForwardHeld(body=body):
                self.check_forwarding()
                self.check_whole()
                assert body == self.sent.body
                assert len(body) <= self.policy.max_request_body
                self.full_duplex = False
                self.handed_request.clear()
            case PassRequestBody() | EchoRequestBody() | PassRequestTrailers() if last and self.held:
                self.check_whole()
            case PassRequest(remove=remove):
                assert not self.held
                self.bypassed = self.claim_failed is not None
                assert self.bypassed <= self.policy.bypass_when_unavailable
                assert not self.met_owner, "unprotected, though somebody was seen executing it"
                assert ("idempotency-attempt" in remove) == (FORGED[1] in self.sent.begun.request.headers)
            case PassResponseHeaders(more=more, remove=remove):
                assert ("idempotent-replayed" in remove) == (self.forged and self.forwarded)
                self.watched = more
            case Reply() | BeginReply() | ReplyAtOnce():
                self.check_reply_begun(effect)
            case PassResponseBody() | EchoResponseBody():
                self.check_response_piece(effect)
            case _:
                pass

    def take_given_back(self, effect: Effect) -> bool:
        """What was handed over of a request goes on as it came, once its head has; whether it is the last."""
        assert not any(message == "request head" for message, _ in self.unanswered)
        handed, last = self.handed_request.pop(0)
        if isinstance(handed, RequestBody):
            assert effect == EchoRequestBody(handed.data, handed.end_of_stream)
        else:
            assert isinstance(effect, PassRequestTrailers)
        return last

    def check_response_piece(self, effect: PassResponseBody | EchoResponseBody) -> None:
        """A piece goes on as it came, and is echoed where it was handed over."""
        handed = self.handed_response.pop(0)
        if isinstance(effect, EchoResponseBody):
            assert self.response_duplex, "given back though it was not handed over"
            assert effect == EchoResponseBody(handed.data, handed.end_of_stream)
        else:
            assert not self.response_duplex, "Envoy has given this piece away"

    def take_answered(self, effect: Effect) -> bool:
        """The message that this answers is the oldest of its direction; return whether it is the last."""
        if self.request_duplex and isinstance(effect, EchoRequestBody | PassRequestTrailers):
            return self.take_given_back(effect)
        if isinstance(effect, REPLIES) and self.handed_request and self.forwarded:
            return self.handed_request.pop(0)[1]
        answered = next(one for one in self.unanswered if isinstance(effect, ANSWERS[one[0]]))
        direction = answered[0].split()[0]
        assert next(one for one in self.unanswered if one[0].startswith(direction)) == answered
        self.unanswered.remove(answered)
        return answered[1]

    def check_reply_begun(self, effect: Reply | BeginReply | ReplyAtOnce) -> None:
        match effect:
            case Reply():
                self.check_reply(effect)
            case BeginReply(reply=reply):
                self.large = reply
                self.check_reply(reply)
            case ReplyAtOnce(reply=reply, body=body):
                assert (body.count, self.fetched) == (reply.body.count, reply.body.count)
                self.check_reply(reply)

    def check_large(self, effect: FetchPiece | ReplyPiece | ReplyTrailers | BreakOff) -> None:
        """The pieces of a large reply, one after the other; its end comes once, and with the last of them."""
        assert not self.ended
        assert not self.reply_over
        match effect:
            case FetchPiece(number=number):
                assert not self.asked.fetching
                assert number == self.fetched
                self.fetched += 1
                self.asked.fetching = True
            case ReplyPiece(ends=ends):
                assert self.large is not None, "a piece of a reply that has not begun"
                self.given += 1
                last = self.given == self.large.body.count
                assert ends == (last and not self.large.trailers)
                self.reply_over = ends
            case ReplyTrailers(fields=fields):
                assert self.large is not None
                assert (self.given, fields) == (self.large.body.count, self.large.trailers)
                self.reply_over = True
            case BreakOff():
                answered_by_envoy = self.response_begun and (self.executed or not self.forwarded)
                assert self.given or answered_by_envoy, "broken off before anything was given"
                self.broken = True

    def check_reply(self, reply: Reply | LargeReply) -> None:
        self.replied = True
        assert not self.response_begun, "a reply within a response"
        assert reply.to_call == self.sent.is_call
        self.turned_away = self.held and not self.settled
        replayed = reply.details == "idempotency_replayed"
        assert (first(reply.headers, "idempotent-replayed") == b"true") == replayed
        if replayed:
            assert not self.held
            assert self.request_over or not self.full_duplex
            assert isinstance(reply, LargeReply) or reply.grpc_status is None, (
                "a replay that would be an error"
            )
        if self.claimed is not None and self.claimed.fingerprint == UNCOMPARABLE:
            assert reply.details == "idempotency_outcome_unknown", "nobody can say whether it is the same"
        if reply.details == "idempotency_executed":
            assert self.settled, "an answer before its outcome was kept"
        elif reply.to_call and not replayed:
            assert isinstance(reply, Reply)
            assert reply.grpc_status, "an error that would be none"

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
