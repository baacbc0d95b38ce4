"""An exchange that is only watched (`mode: shadow`): nothing of it is changed, held or waited for.

What enforcing would have decided is counted as `shadow_…`. For that the exchange takes part in everything
that the store does, under ids that no enforced exchange has: it claims, renews and settles. But it answers
Envoy before it asks, and what it keeps of a response is that there was one.
"""

from msgspec.structs import replace

from sidecar.exchange import states
from sidecar.exchange.capture import Capture
from sidecar.exchange.core import INCOMPLETE, NEVER_FORWARDED, Effects
from sidecar.exchange.effects import Count, PassResponseHeaders, SettleEffect, TakeClaim, WatchRequest
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    Expired,
    InFlight,
    Recorded,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Settled,
    SettlingFailed,
    StreamEnded,
    Unknown,
)
from sidecar.exchange.protecting import Protecting
from sidecar.exchange.responding import Responding
from sidecar.idempotency.claim import ClaimResult, UnknownReason
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.key_places import is_in_body, key_in_body, key_in_head
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.policy import PLACES_IN_BODY, BodyMode
from sidecar.idempotency.problem import (
    BodyTooLarge,
    InProgress,
    KeyExpired,
    KeyReused,
    OutcomeUnknown,
    Problem,
    ResponseNotStored,
    StoreUnavailable,
)
from sidecar.idempotency.record import Record


class Shadowing(Protecting, Responding):
    """Actions of SHADOWING and SHADOWING_ALONE, and the way there."""

    _seeks_key = False
    """The key is in the body, or made of it, and not all of that has come."""
    _asked = False
    """The store was asked for the claim, and has not answered."""
    _found: ClaimResult | None = None
    """Its answer, until it is decided what enforcing would have made of it."""
    _owns = False
    """The claim is held, and its outcome has not been told."""
    _settling = False
    """The outcome was told, and the store has not answered."""
    _passed = 0
    """How many bytes of the request's body have passed."""
    _seen_whole = False
    """The request has passed to its end, or to the end of its announced length."""
    _too_much = False
    """The request was larger than enforcing would have held."""
    _heard = False
    """The head of the response has passed."""
    _heard_all = False
    """The response has passed as far as it counts."""
    _trailers: Fields = ()

    def _shadow(self) -> Effects:
        """Let the request go as it is; watch it where it has a key, or may yet show one."""
        self._begin_fingerprint()
        self._seen_whole = not self._request_has_body
        source = self._policy.key
        if self._request_has_body and is_in_body(self._request, source):
            self._seeks_key = True
            return self._watch()
        try:
            if source.place in PLACES_IN_BODY:
                key = key_in_body(b"", source, self._fingerprint)
            else:
                key = key_in_head(self._request, source)
            if key is None:
                return self._pass_in_shadow()
            self._protect(key)
        except Problem as problem:
            return (*self._pass_in_shadow(), self._would_be(problem.result))
        return (*self._watch(), self._ask())

    def _watch(self) -> Effects:
        self.state = states.SHADOWING
        return (WatchRequest(self._request_has_body),)

    def _pass_in_shadow(self) -> Effects:
        self.state = states.PASSING
        return (self._unclaimed(()),)

    def _ask(self) -> TakeClaim:
        self._asked = True
        return TakeClaim(self._claim, self._policy.unknown)

    def _would_be(self, result: str) -> Count:
        """Count what enforcing would have decided."""
        return self._count(f"shadow_{result}")

    # --- The request, as it passes

    def watch_request(self, event: RequestBody | RequestTrailers) -> Effects:
        """Take in what passes of the request; at its end it can be compared, or its key is known."""
        answer = self._passing(event)
        data = event.data if isinstance(event, RequestBody) else b""
        ends = isinstance(event, RequestTrailers) or event.end_of_stream
        if self._unsent is not None:
            self._unsent -= len(data)
            ends = ends or self._unsent <= 0
        if not self._seen_whole and not self._too_much:
            self._keep(data, ends=ends)
        self._seen_whole = self._seen_whole or ends
        return (answer, *(self._seek_key() if self._seeks_key else self._decide()))

    def _keep(self, data: bytes, *, ends: bool) -> None:
        self._take_in(data, ends=ends)
        if self._seeks_key:
            self._body += data
        self._passed += len(data)
        held = self._seeks_key or self._fingerprint.needs_whole_body or self._is_detached
        self._too_much = held and self._passed > self._most_held

    def _seek_key(self) -> Effects:
        if not self._seen_whole and not self._too_much:
            return ()
        body, self._body, self._seeks_key = self._body, bytearray(), False
        try:
            if self._too_much:
                raise BodyTooLarge(self._most_held)
            key = key_in_body(body, self._policy.key, self._fingerprint)
            if key is None:
                return self._look_away()
            self._protect(key)
        except Problem as problem:
            return (*self._look_away(), self._would_be(problem.result))
        return (self._ask(),)

    def _look_away(self) -> Effects:
        """There is nothing more to find out: the rest passes."""
        self.state = states.PASSING if self.state is states.SHADOWING else states.CLOSED
        return ()

    # --- The store's answer

    def take_answer_in_shadow(self, event: ClaimResult) -> Effects:
        """Decide by it, now or when the request has passed."""
        self._take(event)
        decided = self._decide()
        later = (self._renew_later(),) if self._owns else ()
        return (*later, *decided, *self._settle_if_over())

    def _take(self, answer: ClaimResult) -> None:
        self._asked, self._found = False, answer
        if isinstance(answer, Claimed):
            self._claim, self._taken_over = self._claim.granted(answer.attempt), answer.taken_over
            self._owns = True

    def take_late_answer_in_shadow(self, event: ClaimResult) -> Effects:
        """The stream is gone: decide by what has passed, and tell the store how it ended."""
        self._take(event)
        decided = self._decide()
        return decided if self.state is states.CLOSED else (*decided, *self._leave())

    def fail_in_shadow(self, event: ClaimFailed) -> Effects:
        """The store did not answer: nothing can be found out."""
        bypassed = event.unavailable and self._policy.bypass_when_unavailable
        counted = self._would_be("bypassed" if bypassed else StoreUnavailable().result)
        return (*self._look_away(), counted, *self._drop_unseen(event))

    def _decide(self) -> Effects:
        """Count what enforcing would have decided, once store and request have told enough."""
        found = self._found
        if found is None or not (self._seen_whole or self._too_much or self._is_plain(found)):
            return ()
        self._found = None
        result = self._result_of(found)
        if result == "executed":
            return (self._would_be(result),)
        counted, owned, self._owns = self._would_be(result), self._owns, False
        dropped = (self._drop(NEVER_FORWARDED),) if owned else ()
        return (*self._look_away(), counted, *dropped)

    def _is_plain(self, found: ClaimResult) -> bool:
        """Whether the request's payload makes no difference to what the store's answer means."""
        match found:
            case Recorded(record=record):
                return record.fingerprint is None or self._policy.fingerprint.body is BodyMode.NONE
            case Claimed(fingerprint=expected):
                return expected in (None, UNCOMPARABLE) and not self._fingerprint.needs_whole_body
            case InFlight() | Unknown() | Expired():
                return True

    def _result_of(self, found: ClaimResult) -> str:
        try:
            if self._too_much:
                raise BodyTooLarge(self._most_held)
            return self._compared(found)
        except Problem as problem:
            return problem.result

    def _compared(self, found: ClaimResult) -> str:
        """What would have become of the request.

        Raises:
            Problem: It would have been refused.
        """
        match found:
            case Claimed(fingerprint=None):
                self._fingerprint.digest()
            case Claimed(attempt=attempt, fingerprint=expected) if expected == UNCOMPARABLE:
                raise OutcomeUnknown(attempt - 1, "answered before its request had ended")
            case Claimed(fingerprint=bytes(expected)) | Recorded(record=Record(fingerprint=bytes(expected))):
                if not self._fingerprint.equals(expected):
                    raise KeyReused
            case InFlight():
                raise InProgress(status=self._policy.in_progress.status, retry_after_s=1)
            case Unknown(attempt=attempt, reason=reason):
                raise OutcomeUnknown(attempt, reason)
            case Expired():
                raise KeyExpired
        if not isinstance(found, Recorded):
            return "executed"
        if not found.record.replayable:
            raise ResponseNotStored(found.record.status)
        return "replayed"

    # --- The response, as it passes

    def watch_response_head(self, event: ResponseHeaders) -> Effects:
        """Judge the head as it passes; the rest is looked at where it counts."""
        self._judge_head(event)
        more = self._verdict.outcome is Outcome.RECORD and not event.end_of_stream
        of_call = self._grpc_call is not None
        self._capture = Capture(event, self._policy, self._request.method, of_call=of_call)
        self._heard, self._heard_all = True, not more
        return (PassResponseHeaders(more), *self._settle_if_over())

    def watch_response(self, event: ResponseBody | ResponseTrailers) -> Effects:
        """See whether it ends, and whether it could have been kept."""
        answer = self._passing(event)
        if not self._heard or self._heard_all:
            return (answer,)
        if isinstance(event, ResponseBody):
            self._hear(event.data)
            self._heard_all = event.end_of_stream or self._capture.has_whole_body
        else:
            self._heard_all = True
            self._trailers = event.fields
        if self._heard_all and self._grpc_call is not None:
            self._verdict = self._judge_call(self._capture.head, self._trailers)
        return (answer, *self._settle_if_over())

    # --- The end

    def _settle_if_over(self) -> Effects:
        return self._settle_in_shadow() if self._owns and self._heard_all else ()

    def _settle_in_shadow(self) -> Effects:
        self._owns, self._settling = False, True
        return (self._ending(),)

    def _ending(self) -> SettleEffect:
        """What enforcing would have told the store; of a response, it keeps that there was one."""
        whole = self._seen_whole and not self._too_much
        if self._heard_all or (self._heard and self._capture.has_whole_body):
            if self._verdict.outcome is not Outcome.RECORD:
                return self._give_up_record(whole=whole)
            complete = self._complete(early=not whole, trailers=self._trailers)
            return replace(complete, record=replace(complete.record, headers=(), body=b"", trailers=()))
        if self._heard:
            return self._lose(UnknownReason.LOST_MID_RESPONSE, whole=whole)
        if not self._seen_whole:
            return self._drop(INCOMPLETE)
        return self._lose(UnknownReason.LOST_BEFORE_RESPONSE, whole=whole)

    def count_in_shadow(self, event: Settled | SettlingFailed) -> Effects:
        """The store has kept how it ended, or not."""
        self._settling = False
        return (self._outcome(held=isinstance(event, Settled) and event.held),)

    def leave_shadow(self, _event: StreamEnded) -> Effects:
        """The stream is over, in time or not."""
        if self._asked:
            self.state = states.SHADOWING_ALONE
            return ()
        return self._leave()

    def _leave(self) -> Effects:
        if self._owns:
            return self._settle_alone(self._ending())
        self.state = states.SETTLING_ALONE if self._settling else states.CLOSED
        return ()
