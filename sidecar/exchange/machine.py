"""One exchange: takes an event, carries out the transition the table names, returns the effects in order."""

from dataclasses import replace

from sidecar.exchange.capture import Capture
from sidecar.exchange.effects import (
    Answer,
    Complete,
    Count,
    CountOutcome,
    Effect,
    ForwardRequest,
    MarkUnknown,
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
    TakeClaim,
)
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    EnvoyEvent,
    Event,
    InFlight,
    Recorded,
    RenewalFailed,
    Renewed,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Settled,
    StreamEnded,
    Unknown,
)
from sidecar.exchange.states import TABLE, State
from sidecar.idempotency.claim import Claim, UnknownReason
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.fingerprint import Fingerprinter
from sidecar.idempotency.key import find_key
from sidecar.idempotency.outcome import Outcome, Verdict, judge
from sidecar.idempotency.policy import Policies, Policy
from sidecar.idempotency.problem import (
    InProgress,
    KeyInvalid,
    KeyReused,
    OutcomeUnknown,
    Problem,
    ResponseNotStored,
    StoreUnavailable,
)
from sidecar.idempotency.record import Record
from sidecar.idempotency.replay import REPLAYED, replay_headers
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import record_id

ATTEMPT = "idempotency-attempt"
"""Tells the upstream which attempt it sees; a client cannot set it (CONTRACT §4)."""

Effects = tuple[Effect, ...]


class ProtocolViolation(Exception):  # noqa: N818 (what the peer did, not what went wrong here)
    """An event that the table does not know in this state."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{type(event).__name__} while {state.name}")


class Exchange:
    """The state machine of one exchange.

    Args:
        policies: The snapshot of the configuration this exchange is decided by.
        owner: A token unique to this exchange; guards its claim.
    """

    _policy: Policy
    _request: Request
    _claim: Claim
    _fingerprint: Fingerprinter
    _record: Record
    _capture: Capture

    def __init__(self, policies: Policies, owner: str) -> None:
        self.state = State.AWAITING_REQUEST
        self._policies = policies
        self._owner = owner
        self._request_has_body = False
        self._held: list[Answer] = []
        self._verdict = Verdict(Outcome.UNKNOWN, "")

    def handle(self, event: Event) -> Effects:
        """Take in what happened; return what is to be done, in this order.

        Raises:
            ProtocolViolation: The event cannot happen here. The exchange is left as it was.
        """
        transition = TABLE.get((self.state, type(event)))
        if transition is None:
            raise ProtocolViolation(self.state, event)
        effects: Effects = getattr(self, transition.action)(event)
        if self.state not in transition.targets:
            raise AssertionError(f"{transition.action} led to {self.state.name}")
        return effects

    # --- The request's head

    def admit(self, event: RequestHeaders) -> Effects:
        """Find the policy and the key; claim it, or let the request pass, or refuse it."""
        request = event.request
        self._request, self._request_has_body = request, not event.end_of_stream
        policy = self._policies.select(request.method, request.authority, request.path)
        if policy is None:
            return self._pass_untouched()
        self._policy = policy
        try:
            key = find_key(request.headers, policy.key)
            if key is None:
                return self._pass_untouched()
            _check_protectable(request)
        except Problem as problem:
            return self._refuse(problem)
        self._claim = Claim(
            record_id(policy.scope, request, key), self._owner, 0, policy.lease_ms, policy.ttl_ms
        )
        self._fingerprint = Fingerprinter(policy.fingerprint, request)
        self.state = State.CLAIMING
        return (TakeClaim(self._claim, policy.unknown),)

    def _pass_untouched(self) -> Effects:
        self.state = State.PASSING
        return (PassRequest(_present(self._request.headers, ATTEMPT)),)

    # --- The store's answer to the claim

    def forward(self, event: Claimed) -> Effects:
        """The key is ours: the request goes upstream."""
        self._claim = replace(self._claim, attempt=event.attempt)
        self.state = State.FORWARDING if self._request_has_body else State.AWAITING_RESPONSE
        return (
            ForwardRequest(event.attempt, self._request_has_body),
            self._count("executed"),
            RenewLater(self._claim.lease_ms // 3),
        )

    def refuse_in_flight(self, _event: InFlight) -> Effects:
        """Somebody else is executing it."""
        answer = self._policy.in_progress
        return self._refuse(InProgress(status=answer.status, retry_after_s=answer.retry_after_s))

    def refuse_unknown(self, event: Unknown) -> Effects:
        """An earlier attempt may have executed; the policy holds the key."""
        return self._refuse(OutcomeUnknown(event.attempt, event.reason))

    def cope_without_claim(self, event: ClaimFailed) -> Effects:
        """The store did not answer: refuse, or bypass where the configuration says so."""
        if event.unavailable and self._policies.bypass_when_unavailable:
            self.state = State.PASSING
            return (PassRequest(_present(self._request.headers, ATTEMPT)), self._count("bypassed"))
        # The claim may have been taken though its answer was lost; nothing was forwarded: it can be dropped.
        return (*self._refuse(StoreUnavailable()), Release(self._claim))

    def consult_record(self, event: Recorded) -> Effects:
        """It was executed: replay it, once the payload is known to be the same (G3)."""
        self._record = event.record
        if self._record.fingerprint is not None and self._request_has_body:
            self.state = State.COMPARING
            return (ReadRequestBody(),)
        return self._answer_from_record()

    # --- A duplicate's body

    def compare(self, event: RequestBody) -> Effects:
        """Take in a piece of the duplicate's body; answer at its end."""
        self._fingerprint.feed(event.data)
        return self._answer_from_record() if event.end_of_stream else ()

    def compare_at_trailers(self, _event: RequestTrailers) -> Effects:
        """The duplicate's body ended with trailers."""
        return self._answer_from_record()

    def _answer_from_record(self) -> Effects:
        record = self._record
        if record.fingerprint is not None and not self._fingerprint.equals(record.fingerprint):
            return self._refuse(KeyReused())
        if not record.replayable:
            return self._refuse(ResponseNotStored(record.status))
        self.state = State.ANSWERED
        reply = Reply(
            record.status, replay_headers(record), record.body, "idempotency_replayed", record.trailers
        )
        return (reply, self._count("replayed"))

    # --- The rest of the request, going upstream

    def forward_body(self, event: RequestBody) -> Effects:
        """Hash and forward a piece of the body."""
        self._fingerprint.feed(event.data)
        if event.end_of_stream:
            self._request_forwarded()
        return (PassRequestBody(),)

    def forward_trailers(self, _event: RequestTrailers) -> Effects:
        """The request ends with trailers."""
        self._request_forwarded()
        return (PassRequestTrailers(),)

    def _request_forwarded(self) -> None:
        early = self.state is State.CAPTURING_EARLY
        self.state = State.CAPTURING if early else State.AWAITING_RESPONSE

    # --- The response

    def judge_response(self, event: ResponseHeaders) -> Effects:
        """Decide by the response's head what becomes of the key."""
        self._verdict = judge(event.status, event.origin, self._policy.outcomes)
        more = self._verdict.outcome is Outcome.RECORD and not event.end_of_stream
        answer = PassResponseHeaders(more, _present(event.headers, REPLAYED))
        early = self.state is State.FORWARDING
        if self._verdict.outcome is not Outcome.RECORD:
            return self._settle(answer, self._give_up_record(early))
        self._capture = Capture(event, self._policy)
        if event.end_of_stream:
            return self._settle(answer, self._complete(early))
        self.state = State.CAPTURING_EARLY if early else State.CAPTURING
        return (answer,)

    def capture(self, event: ResponseBody) -> Effects:
        """Keep a piece of the body and let it pass; hold the piece that ends it until the record is kept."""
        self._capture.feed(event.data)
        if event.end_of_stream or self._capture.has_whole_body:
            return self._settle(PassResponseBody(), self._complete(self.state is State.CAPTURING_EARLY))
        return (PassResponseBody(),)

    def capture_trailers(self, event: ResponseTrailers) -> Effects:
        """The response ends with trailers."""
        early = self.state is State.CAPTURING_EARLY
        return self._settle(PassResponseTrailers(), self._complete(early, event.fields))

    def _complete(self, early: bool, trailers: Fields = ()) -> Complete:
        """The record; of a request that was never seen whole nothing can be compared, so nothing replayed."""
        fingerprint = None if early else self._fingerprint.digest()
        return Complete(self._claim, self._capture.record(fingerprint, trailers))

    def _give_up_record(self, early: bool) -> Release | MarkUnknown:
        if self._verdict.outcome is Outcome.RELEASE:
            return Release(self._claim)
        by_envoy = self._verdict.reason == "envoy-may-have-sent"
        reason = UnknownReason.ENVOY_REPLY if by_envoy else UnknownReason.UPSTREAM_STATUS
        return self._mark_unknown(reason, early)

    def _settle(self, answer: Answer, effect: Complete | Release | MarkUnknown) -> Effects:
        self._held.append(answer)
        self.state = State.SETTLING
        return (effect,)

    # --- The outcome is kept, or could not be

    def hold(self, event: ResponseBody | ResponseTrailers) -> Effects:
        """More of the response while the store is asked: it waits with the rest."""
        self._held.append(_passing(event))
        return ()

    def let_go(self, event: Settled) -> Effects:
        """The outcome is durable: the end of the response may go."""
        return (*self._let_go_held(), self._outcome(event.held))

    def let_go_unsettled(self, _event: Event) -> Effects:
        """The outcome could not be kept: the client gets its response, the lease runs out as unknown."""
        return (*self._let_go_held(), self._outcome(held=False))

    def _let_go_held(self) -> Effects:
        self.state = State.PASSING
        held, self._held = self._held, []
        return tuple(held)

    # --- The stream ends early

    def abandon(self, _event: StreamEnded) -> Effects:
        """The client left while the store was asked."""
        self.state = State.ABANDONED
        return ()

    def drop_claim(self, event: Claimed) -> Effects:
        """The claim came too late: nothing was forwarded."""
        self._claim = replace(self._claim, attempt=event.attempt)
        self._verdict = Verdict(Outcome.RELEASE, "never-forwarded")
        return self._settle_alone(Release(self._claim))

    def drop_unseen_claim(self, _event: ClaimFailed) -> Effects:
        """The claim may have been taken though its answer was lost: nothing was forwarded."""
        self.state = State.CLOSED
        return (Release(self._claim),)

    def release_unsent(self, _event: StreamEnded) -> Effects:
        """The stream ended before the whole request was forwarded."""
        self._verdict = Verdict(Outcome.RELEASE, "request-incomplete")
        return self._settle_alone(Release(self._claim))

    def lose_response(self, _event: StreamEnded) -> Effects:
        """The stream ended after the request was forwarded and before an answer came."""
        self._verdict = Verdict(Outcome.UNKNOWN, UnknownReason.LOST_BEFORE_RESPONSE)
        return self._settle_alone(self._mark_unknown(UnknownReason.LOST_BEFORE_RESPONSE, early=False))

    def lose_rest(self, _event: StreamEnded) -> Effects:
        """The stream ended within the response: unknown, unless every announced byte had come."""
        early = self.state is State.CAPTURING_EARLY
        if self._capture.has_whole_body:
            return self._settle_alone(self._complete(early))
        self._verdict = Verdict(Outcome.UNKNOWN, UnknownReason.LOST_MID_RESPONSE)
        return self._settle_alone(self._mark_unknown(UnknownReason.LOST_MID_RESPONSE, early=early))

    def settle_alone(self, _event: StreamEnded) -> Effects:
        """The stream ended while the store was asked: its answer still counts."""
        self.state = State.SETTLING_ALONE
        return ()

    def close(self, event: Event) -> Effects:
        """Over."""
        settled = self.state is State.SETTLING_ALONE and isinstance(event, Settled)
        self.state = State.CLOSED
        return (self._outcome(event.held),) if settled and isinstance(event, Settled) else ()

    def close_unsettled(self, _event: Event) -> Effects:
        """Over, and the outcome could not be kept."""
        self.state = State.CLOSED
        return (self._outcome(held=False),)

    def _settle_alone(self, effect: Complete | Release | MarkUnknown) -> Effects:
        self.state = State.SETTLING_ALONE
        return (effect,)

    # --- The lease

    def renew(self, _event: Event) -> Effects:
        """Extend the lease while the exchange lives."""
        return (Renew(self._claim),)

    def keep_renewing(self, event: Renewed | RenewalFailed) -> Effects:
        """Again in a third of the lease; not where the claim is no longer ours."""
        if isinstance(event, Renewed) and not event.held:
            return ()
        return (RenewLater(self._claim.lease_ms // 3),)

    # --- What needs no decision

    def pass_on(self, event: EnvoyEvent) -> Effects:
        """Let it pass."""
        if self.state is State.AWAITING_REQUEST:
            self.state = State.PASSING
        return (_passing(event),)

    def ignore(self, _event: Event) -> Effects:
        """Nothing to do."""
        return ()

    # --- Shared by the above

    def _refuse(self, problem: Problem) -> Effects:
        self.state = State.ANSWERED
        reply = Reply(
            problem.status,
            problem.headers(self._policy.docs_url),
            problem.document(self._request.id),
            f"idempotency_{problem.result}",
        )
        return (reply, self._count(problem.result))

    def _mark_unknown(self, reason: UnknownReason, early: bool) -> MarkUnknown:
        return MarkUnknown(self._claim, reason, None if early else self._fingerprint.digest())

    def _count(self, result: str) -> Count:
        claim: Claim | None = getattr(self, "_claim", None)
        return Count(self._policy.name, result, claim.id if claim else "", self._request.id)

    def _outcome(self, held: bool) -> CountOutcome:
        """How it ended; an outcome that the store did not keep is unknown, whatever it was."""
        verdict = self._verdict if held else Verdict(Outcome.UNKNOWN, "not-kept")
        return CountOutcome(
            self._policy.name, verdict.outcome, verdict.reason, self._claim.id, self._request.id
        )


def _check_protectable(request: Request) -> None:
    """Refuse a key on what cannot be recorded: passing it on unclaimed would break the promise (G5)."""
    if request.is_upgrade:
        raise KeyInvalid(
            "A request that upgrades its connection cannot have an idempotency key; leave one of them out."
        )
    if request.is_grpc:
        raise KeyInvalid("gRPC calls cannot have an idempotency key in this version; leave it out.")


def _present(headers: Fields, name: str) -> tuple[str, ...]:
    return (name,) if first(headers, name) is not None else ()


_PASSING: dict[type[EnvoyEvent], Answer] = {
    RequestBody: PassRequestBody(),
    RequestTrailers: PassRequestTrailers(),
    ResponseHeaders: PassResponseHeaders(more=False),
    ResponseBody: PassResponseBody(),
    ResponseTrailers: PassResponseTrailers(),
}


def _passing(event: EnvoyEvent) -> Answer:
    return _PASSING[type(event)]
