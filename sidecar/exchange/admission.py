"""The request's head and the store's answer to its claim: what is to be done with this request."""

from sidecar.exchange import states
from sidecar.exchange.core import ATTEMPT, SLACK_MS, Effects, present
from sidecar.exchange.effects import (
    Answer,
    AwaitOwner,
    BreakOff,
    ExtendTimeout,
    HoldRequest,
    TakeClaim,
    WaitAtMost,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Expired,
    InFlight,
    OwnerGone,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders,
    StreamEnded,
    Unknown,
    WaitFailed,
    WaitOver,
)
from sidecar.exchange.shadowing import Shadowing
from sidecar.idempotency.fields import content_length
from sidecar.idempotency.key_places import is_in_body, key_in_body, key_in_head
from sidecar.idempotency.policy import PLACES_IN_BODY, Mode
from sidecar.idempotency.problem import (
    BodyTooLarge,
    InProgress,
    KeyExpired,
    OutcomeUnknown,
    Problem,
    StoreUnavailable,
)

_SHADOW = Mode.SHADOW


class Admission(Shadowing):
    """Actions of AWAITING_REQUEST, CLAIMING and WAITING, save for a claim that was granted."""

    def admit(self, event: RequestHeaders) -> Effects:
        """Find the policy and the key; claim it, or let the request pass, or refuse it."""
        request = event.request
        self._request, self._request_has_body = request, not event.end_of_stream
        self._unsent = content_length(request.headers)
        self._note_modes(event)
        policy = self._policies.select(request.method, request.authority, request.path, request.context.route)
        if policy is None:
            return self._pass_untouched()
        self._policy = policy
        if policy.mode is _SHADOW:
            return self._shadow()
        if policy.needs and self._sources is not None and not policy.needs <= self._sources:
            return (self._untold(),)
        if policy.key.place in PLACES_IN_BODY:
            return self._read_for_key()
        try:
            key = key_in_head(request, policy.key)
            if key is not None:
                self._begin_fingerprint()
            return self._admit_with(key)
        except Problem as problem:
            return self._refuse(problem)

    def _untold(self) -> BreakOff:
        """What tells callers apart does not come: as if it were absent, all of them would share one scope."""
        policy, told = self._policy, self._sources or frozenset[str]()
        missing = ", ".join(sorted(policy.needs - told))
        return BreakOff(
            f"Envoy does not tell {missing}, which the policy {policy.name} tells callers apart by; "
            "its configuration has to be rendered again (envoy-config)"
        )

    def _admit_with(self, key: str | None) -> Effects:
        if key is None:
            return self._pass_untouched()
        self._protect(key)
        return self.claim_again(None)

    # --- The key is in the body, or made of it

    def _read_for_key(self) -> Effects:
        """Have the body read before anything is decided; there may be none, or none that can be read."""
        self._begin_fingerprint()
        if not self._request_has_body or not is_in_body(self._request, self._policy.key):
            return self._admit_whole()
        self.state = states.READING
        return self._asking(HoldRequest())

    def read_for_key(self, event: RequestBody) -> Effects:
        """Keep a piece of the body, within the limit; at its end, the key is known."""
        self._take_in(event.data, ends=event.end_of_stream)
        self._body += event.data
        if len(self._body) > self._most_held:
            return self._refuse(BodyTooLarge(self._most_held))
        if not event.end_of_stream:
            return ()
        self._is_whole = True
        return self._admit_whole()

    def read_for_key_to_trailers(self, _event: RequestTrailers) -> Effects:
        """The body ended with trailers."""
        self._take_in(b"", ends=True)
        self._is_whole = self._ended_with_trailers = True
        return self._admit_whole()

    def _admit_whole(self) -> Effects:
        try:
            return self._admit_with(key_in_body(self._body, self._policy.key, self._fingerprint))
        except Problem as problem:
            return self._refuse(problem)

    def claim_again(self, _event: OwnerGone | WaitFailed | None) -> Effects:
        """Ask the store for the claim: at first, and after each wait for its owner."""
        self.state = states.CLAIMING
        return (TakeClaim(self._claim, self._policy.unknown),)

    # --- Somebody else has it

    def meet_owner(self, _event: InFlight) -> Effects:
        """Somebody else is executing it: wait for them where the policy says so, else refuse."""
        wait_ms = self._policy.in_progress.wait_ms
        if not wait_ms or not self._patient:
            return self._refuse_in_progress()
        self.state = states.WAITING
        wait = AwaitOwner(self._claim.id, wait_ms)
        if self._waited:
            return (wait,)
        self._waited = True
        return (*self._be_patient(wait_ms), WaitAtMost(wait_ms), wait)

    def _be_patient(self, wait_ms: int) -> tuple[Answer, ...]:
        """Envoy grants this once for a head: with what may follow the wait, a detached call of no body.

        Where the body was read, it waits without a limit.
        """
        if self._is_whole and self._request_has_body:
            return ()
        may_follow = self._is_detached and not self._request_has_body
        return self._asking(ExtendTimeout(wait_ms + may_follow * self._policy.deadline_ms + SLACK_MS))

    def lose_patience(self, _event: WaitOver) -> Effects:
        """The wait has lasted as long as the policy allows."""
        return self._refuse_in_progress()

    def lose_patience_soon(self, _event: WaitOver) -> Effects:
        """The wait is over while the store is asked once more: its answer counts, but no further wait."""
        self._patient = False
        return ()

    def give_up_waiting(self, _event: WaitFailed) -> Effects:
        """The store cannot say when the owner is done: what it would say at the end of the wait, now."""
        self._patient = False
        return self.claim_again(None)

    def _refuse_in_progress(self) -> Effects:
        answer = self._policy.in_progress
        return self._refuse(InProgress(status=answer.status, retry_after_s=answer.retry_after_s))

    # --- It was used before

    def refuse_unknown(self, event: Unknown) -> Effects:
        """An earlier attempt may have executed; the policy holds the key."""
        return self._refuse(OutcomeUnknown(event.attempt, event.reason))

    def refuse_expired(self, _event: Expired) -> Effects:
        """It was used so long ago that its answer is gone, and the policy still refuses it."""
        return self._refuse(KeyExpired())

    # --- The store gave no answer

    def cope_without_claim(self, event: ClaimFailed) -> Effects:
        """The store did not answer: refuse, or bypass where the configuration says so."""
        # Not after a wait: then somebody else was seen executing it a moment ago.
        if event.unavailable and self._policy.bypass_when_unavailable and not self._waited:
            self.state = states.PASSING
            return (self._unclaimed(present(self._request.headers, ATTEMPT)), self._count("bypassed"))
        return (*self._refuse(StoreUnavailable()), *self._drop_unseen(event))

    # --- Envoy answers, or the client leaves, meanwhile

    def break_off_answered(self, _event: ResponseHeaders) -> Effects:
        """Envoy itself has answered what is held here, for the client took too long: fail the stream.

        What follows is what follows whenever a stream ends here. Only where the filter is configured to show
        every response does Envoy say so before a request was forwarded.
        """
        return (BreakOff("Envoy has answered the request itself"),)

    def abandon(self, _event: StreamEnded) -> Effects:
        """The client left while the store was asked."""
        self.state = states.ABANDONED
        return ()

    def drop_unseen_claim(self, event: ClaimFailed) -> Effects:
        """The store did not answer, and nobody is there to be told."""
        self.state = states.CLOSED
        return self._drop_unseen(event)
