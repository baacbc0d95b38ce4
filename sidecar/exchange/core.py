"""What every part of an exchange shares: its data, and the few steps that more than one phase takes."""

from typing import TypeAlias

from sidecar.exchange import states
from sidecar.exchange.call import Call
from sidecar.exchange.capture import Capture
from sidecar.exchange.duplex import FullDuplex
from sidecar.exchange.effects import (
    Answer,
    BreakOff,
    Complete,
    Count,
    CountOutcome,
    Effect,
    MarkUnknown,
    PassHeld,
    PassRequest,
    Release,
    RenewLater,
    Reply,
    SettleEffect,
)
from sidecar.exchange.events import ResponseHeaders
from sidecar.idempotency import json_text
from sidecar.idempotency.advertising import advertised
from sidecar.idempotency.body import Body, size_of
from sidecar.idempotency.claim import Claim, UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.fingerprint import UNCOMPARABLE, Fingerprinter
from sidecar.idempotency.outcome import Outcome, Verdict
from sidecar.idempotency.policy import Execution, KeyPlace, Policies, Policy
from sidecar.idempotency.problem import Problem
from sidecar.idempotency.record import Record
from sidecar.idempotency.replay import needs_stream
from sidecar.idempotency.request import Request

ATTEMPT = "idempotency-attempt"
"""Tells the upstream which attempt it sees; a client cannot set it (CONTRACT §4)."""

NEVER_FORWARDED = Verdict(Outcome.RELEASE, "never-forwarded")
INCOMPLETE = Verdict(Outcome.RELEASE, "request-incomplete")

SLACK_MS = 25_000
"""How much longer than a wait or a detached call Envoy is asked to be patient, in milliseconds.

Enough for two store operations that take as long as `store.timeout` may allow (10 s).
"""

_RETRY, _DETACHED = UnknownPolicy.RETRY, Execution.DETACHED

LARGE_BODY_MS = 60_000
"""How long Envoy is asked to wait while all pieces of a large body are written, or gathered, in milliseconds.

Some are a hundred round trips to the store. It is what Envoy always grants (`envoyconf.timing`).
"""

Effects: TypeAlias = tuple[Effect, ...]


class Core(FullDuplex):
    """The data of one exchange.

    Args:
        policies: The snapshot of the configuration this exchange is decided by.
        owner: A token unique to this exchange; guards its claim.
        sources: What Envoy tells of callers beside the heads of requests (`Policy.needs`); None: everything.
    """

    # What only some exchanges have is declared by its phase, and takes a dictionary.
    __slots__ = (
        "_body", "_capture", "_claim", "_early_head", "_ended_with_trailers", "_expected",
        "_expires_ms", "_fingerprint", "_grpc_call", "_held", "_is_whole", "_owner", "_patient",
        "_policies", "_policy", "_record", "_request", "_request_has_body", "_sources",
        "_taken_over", "_uncomparable", "_unsent", "_verdict", "_waited", "reads", "state",
    )  # fmt: skip

    # Each is set by the phase that first knows it, and never before a state that may read it.
    _policy: Policy
    _request: Request
    _claim: Claim
    _fingerprint: Fingerprinter
    _record: Record
    _capture: Capture
    _verdict: Verdict

    def __init__(self, policies: Policies, owner: str, sources: frozenset[str] | None = None) -> None:
        super().__init__()
        self.state = states.AWAITING_REQUEST
        self.reads = policies.reads
        """The header fields that it needs of the request; None: all."""
        self._policies = policies
        self._owner = owner
        self._sources = sources
        self._request_has_body = False
        self._unsent: int | None = None
        """What is still to come of the request's announced length; None where only its end can tell."""
        self._taken_over = False
        """The claim was taken over from an attempt that may have executed: it can never be released."""
        self._expected: bytes | None = None
        """The fingerprint of the attempt taken over."""
        self._is_whole = False
        """All of the request was read before it was sent: nothing of it can follow."""
        self._body = bytearray()
        """The request body, where it has to be held."""
        self._expires_ms = 0
        """Until when at least the outcome is kept, as the store said."""
        self._grpc_call: Call | None = None
        """What is known of a gRPC call beyond what HTTP tells; None where it is none."""
        self._ended_with_trailers = False
        self._early_head: ResponseHeaders | None = None
        """The head of a response that came while the fingerprint was being noted; it is held."""
        self._uncomparable = False
        """It came, or a gRPC call's message went, before the request's end: the note says so to takeovers."""
        self._waited = False
        """The wait for the owner of the claim has begun."""
        self._patient = True
        """That wait may go on."""
        self._held: list[Answer] = []
        """Answers that wait for the store, in the order they are to be given."""

    @property
    def _must_note(self) -> bool:
        """Whether a later takeover would need the fingerprint and the store does not have it yet."""
        return self._policy.unknown is _RETRY and self._expected is None

    @property
    def _is_detached(self) -> bool:
        return self._policy.execution is _DETACHED

    @property
    def _most_held(self) -> int:
        """How many bytes of the request's body may be held; what has to be parsed costs more than memory."""
        parsed = self._fingerprint.needs_whole_body or self._policy.key.place is KeyPlace.JSON
        limit = self._policy.max_request_body
        return min(limit, json_text.MAX_BYTES) if parsed else limit

    # --- Answering here and now

    def _pass_untouched(self) -> Effects:
        self.state = states.PASSING
        return (self._unclaimed(present(self._request.headers, ATTEMPT)),)

    def _unclaimed(self, remove: tuple[str, ...]) -> PassRequest | PassHeld:
        """What lets the request go, whether it was held or not."""
        if not (self._is_whole and self._request_has_body):
            return PassRequest(remove)
        body, self._body = bytes(self._body), bytearray()
        return PassHeld(body, self._ended_with_trailers, remove)

    def _refuse(self, problem: Problem) -> Effects:
        self.state = states.ANSWERED
        return (self._problem_reply(problem), self._count(problem.result))

    def _can_give(self, headers: Fields, body: Body, trailers: Fields) -> bool:
        """Whether this Envoy has a form of reply that gives the client this response as it was."""
        to_call = self._grpc_call is not None
        return self._may_stream_reply or not needs_stream(headers, size_of(body), trailers, to_call=to_call)

    def _advertised(self) -> Fields:
        """What the policy tells clients of itself, beside a response that they may get again."""
        if not self._policy.advertise:
            return ()
        return advertised(self._expires_ms, self._policy.docs_url)

    def _problem_reply(self, problem: Problem) -> Reply:
        details, docs_url = f"idempotency_{problem.result}", self._policy.docs_url
        if self._request.is_grpc:
            metadata, text = problem.metadata(docs_url), problem.message().encode()
            return Reply(200, metadata, text, details, to_call=True, grpc_status=problem.grpc_status)
        return Reply(problem.status, problem.headers(docs_url), problem.document(self._request.id), details)

    # --- What has come of the request

    def _begin_fingerprint(self) -> None:
        self._fingerprint = Fingerprinter(self._policy.fingerprint, self._request)

    def _take_in(self, data: bytes, *, ends: bool) -> None:
        self._fingerprint.feed(data)
        if self._grpc_call is not None:
            self._grpc_call.take_request(data, ends=ends)

    def _differs_already(self, other: bytes | None) -> bool:
        """Whether a request that has not ended cannot become the one with this fingerprint any more.

        That shows in a gRPC call once it has a message: a call that can be compared has no second one. Its
        client may wait for an answer before it ends the request, so it is not to be waited for.
        """
        begun = self._grpc_call is not None and self._grpc_call.may_execute
        return begun and other is not None and not self._fingerprint.equals(other)

    @property
    def _is_stream(self) -> bool:
        """Whether nothing may ever be compared with it, since that could wait for ever."""
        return self._grpc_call is not None and self._grpc_call.is_stream

    # --- What becomes of the claim

    def _drop(self, verdict: Verdict) -> Release | MarkUnknown:
        """Let the id go; where an earlier attempt may have executed, that is still all that is known."""
        if self._taken_over:
            self._verdict = Verdict(Outcome.UNKNOWN, UnknownReason.EARLIER_ATTEMPT)
            return MarkUnknown(self._claim, UnknownReason.EARLIER_ATTEMPT, self._unseen())
        self._verdict = verdict
        return Release(self._claim)

    def _give_up_record(self, *, whole: bool) -> Release | MarkUnknown:
        """What a verdict other than `record` does to the claim."""
        verdict = self._verdict
        if verdict.outcome is Outcome.RELEASE:
            return self._drop(verdict)
        by_envoy = verdict.reason == "envoy-may-have-sent"
        lost = self._lose(
            UnknownReason.ENVOY_REPLY if by_envoy else UnknownReason.UPSTREAM_STATUS, whole=whole
        )
        self._verdict = verdict
        return lost

    def _lose(self, reason: UnknownReason, *, whole: bool = True) -> MarkUnknown:
        """Nobody can say whether it executed; `whole`: the request was seen to its end."""
        self._verdict = Verdict(Outcome.UNKNOWN, reason)
        if self._is_stream:
            return MarkUnknown(self._claim, reason, UNCOMPARABLE)
        return MarkUnknown(self._claim, reason, self._fingerprint.digest() if whole else self._unseen())

    def _unseen(self) -> bytes | None:
        """What is kept of a request not seen to its end: said again, for the note may not have been kept."""
        return UNCOMPARABLE if self._uncomparable else None

    def _settle(self, answer: Answer, effect: SettleEffect) -> Effects:
        """Keep the outcome; the answer waits until it is kept."""
        self._held.append(answer)
        self.state = states.SETTLING
        return (effect,)

    def _settle_alone(self, effect: SettleEffect) -> Effects:
        """Keep the outcome of an exchange whose stream is gone."""
        self.state = states.SETTLING_ALONE
        return (effect,)

    def _complete(self, *, early: bool = False, trailers: Fields = ()) -> Complete:
        """The record; a request never seen whole, and a stream, are not compared with, so not replayed."""
        fingerprint = None if early or self._is_stream else self._fingerprint.digest()
        return Complete(self._claim, self._capture.record(fingerprint, trailers))

    def _let_go_held(self) -> tuple[Answer, ...]:
        held, self._held = self._held, []
        self._unburden()
        return tuple(held)

    # --- What operators see

    def _count(self, result: str) -> Count:
        claim: Claim | None = getattr(self, "_claim", None)
        return Count(self._policy.name, result, claim.id if claim else "", self._request.id)

    def _outcome(self, *, held: bool) -> CountOutcome:
        """How it ended; an outcome that the store did not keep is unknown, whatever it was."""
        verdict = self._verdict if held else Verdict(Outcome.UNKNOWN, "not-kept")
        return CountOutcome(
            self._policy.name, verdict.outcome, verdict.reason, self._claim.id, self._request.id
        )

    def _renew_later(self) -> RenewLater:
        return RenewLater(self._claim.lease_ms // 3)


AFTER_THE_END = BreakOff("a message behind the end of the request")


def present(headers: Fields, name: str) -> tuple[str, ...]:
    """The name, if the field is there: what is to be removed."""
    return (name,) if first(headers, name) is not None else ()
