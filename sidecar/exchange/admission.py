"""The request's head and the store's answer to its claim: what is to be done with this request."""

from sidecar.exchange.call import Call
from sidecar.exchange.core import ATTEMPT, SLACK_MS, Core, Effects, present
from sidecar.exchange.effects import (
    Answer,
    AwaitOwner,
    BreakOff,
    ExtendTimeout,
    PassRequest,
    Release,
    TakeClaim,
    WaitAtMost,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Expired,
    InFlight,
    OwnerGone,
    RequestHeaders,
    ResponseHeaders,
    StreamEnded,
    Unknown,
    WaitFailed,
    WaitOver,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import Claim
from sidecar.idempotency.fields import content_length
from sidecar.idempotency.fingerprint import Fingerprinter
from sidecar.idempotency.key import find_key
from sidecar.idempotency.policy import Execution, Policy
from sidecar.idempotency.problem import (
    CallNotDetachable,
    InProgress,
    KeyExpired,
    KeyInvalid,
    OutcomeUnknown,
    Problem,
    StoreUnavailable,
)
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import record_id


class Admission(Core):
    """Actions of AWAITING_REQUEST, CLAIMING and WAITING, save for a claim that was granted."""

    def admit(self, event: RequestHeaders) -> Effects:
        """Find the policy and the key; claim it, or let the request pass, or refuse it."""
        request = event.request
        self._request, self._request_has_body = request, not event.end_of_stream
        self._unsent = content_length(request.headers)
        self._note_modes(event)
        policy = self._policies.select(request.method, request.authority, request.path)
        if policy is None:
            return self._pass_untouched()
        self._policy = policy
        try:
            key = find_key(request.headers, policy.key)
            if key is None:
                return self._pass_untouched()
            _check_protectable(request)
            if request.may_be_grpc:
                _check_call_protectable(request, policy)
                self._grpc_call = Call(is_open=self._request_has_body)
        except Problem as problem:
            return self._refuse(problem)
        self._claim = Claim(
            id=record_id(policy.scope, request, key),
            owner=self._owner,
            attempt=0,
            lease_ms=policy.lease_ms,
            ttl_ms=policy.ttl_ms,
            tombstone_ms=policy.tombstone_ms,
        )
        self._fingerprint = Fingerprinter(policy.fingerprint, request)
        return self.claim_again(None)

    def claim_again(self, _event: OwnerGone | WaitFailed | None) -> Effects:
        """Ask the store for the claim: at first, and after each wait for its owner."""
        self.state = State.CLAIMING
        return (TakeClaim(self._claim, self._policy.unknown),)

    def _pass_untouched(self) -> Effects:
        self.state = State.PASSING
        return (PassRequest(present(self._request.headers, ATTEMPT)),)

    # --- Somebody else has it

    def meet_owner(self, _event: InFlight) -> Effects:
        """Somebody else is executing it: wait for them where the policy says so, else refuse."""
        wait_ms = self._policy.in_progress.wait_ms
        if not wait_ms or not self._patient:
            return self._refuse_in_progress()
        self.state = State.WAITING
        wait = AwaitOwner(self._claim.id, wait_ms)
        if self._waited:
            return (wait,)
        self._waited = True
        return (*self._be_patient(wait_ms), WaitAtMost(wait_ms), wait)

    def _be_patient(self, wait_ms: int) -> tuple[Answer, ...]:
        """Envoy grants this once for a head: with what may follow the wait, a detached call of no body."""
        may_follow = self._policy.execution is Execution.DETACHED and not self._request_has_body
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
            self.state = State.PASSING
            return (PassRequest(present(self._request.headers, ATTEMPT)), self._count("bypassed"))
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
        self.state = State.ABANDONED
        return ()

    def drop_unseen_claim(self, event: ClaimFailed) -> Effects:
        """The store did not answer, and nobody is there to be told."""
        self.state = State.CLOSED
        return self._drop_unseen(event)

    def _drop_unseen(self, event: ClaimFailed) -> tuple[Release, ...]:
        """The claim may have been taken though its answer was lost; nothing was forwarded: it can go."""
        return (Release(self._claim),) if event.asked else ()


def _check_protectable(request: Request) -> None:
    """Refuse a key on what cannot be recorded: passing it on unclaimed would break the promise (G5)."""
    if request.is_upgrade:
        raise KeyInvalid(
            "A request that upgrades its connection cannot have an idempotency key; leave one of them out."
        )


def _check_call_protectable(request: Request, policy: Policy) -> None:
    """The same for what an upstream may take for a gRPC call."""
    if not request.is_grpc:
        raise KeyInvalid(
            "A request of this content-type, gRPC-Web for one, cannot have an idempotency key; "
            "allowed for gRPC: application/grpc, or application/grpc+ and a format."
        )
    if policy.execution is Execution.DETACHED:
        raise CallNotDetachable
