"""What holds of everything that an exchange asks of the store, the origin and the clock."""

from sidecar.exchange.effects import (
    AwaitOwner,
    Complete,
    Execute,
    MarkUnknown,
    NoteFingerprint,
    Release,
    Renew,
    RenewLater,
    SettleEffect,
    TakeClaim,
    WaitAtMost,
)
from sidecar.exchange.events import (
    ResponseHeaders,
)
from sidecar.exchange.states import TIMED, State
from sidecar.idempotency.body import size_of
from sidecar.idempotency.claim import Claim, UnknownPolicy
from sidecar.idempotency.fields import first
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.outcome import Outcome, Verdict, judge
from sidecar.idempotency.record import Record
from tests.property.draws import LIMIT
from tests.property.exchange_account import ExchangeAccount
from tests.unit.exchange.scenes import OWNER


class QuestionPromises(ExchangeAccount):
    """Each is asked only where it may be, and says what is true."""

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
