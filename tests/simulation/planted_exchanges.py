"""Exchanges with one promise dropped each."""

from dataclasses import replace

from msgspec import structs

from sidecar.exchange.call import Call
from sidecar.exchange.core import ATTEMPT, Effects
from sidecar.exchange.duplex import Early
from sidecar.exchange.effects import (
    Answer,
    MarkUnknown,
    PassRequest,
    PassRequestBody,
    PassResponseHeaders,
    Release,
    Reply,
    SettleEffect,
)
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    Executed,
    RenewalDue,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    StreamEnded,
)
from sidecar.exchange.machine import Exchange
from sidecar.exchange.states import State
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.outcome import Outcome, Verdict, judge
from sidecar.idempotency.policy import Policies
from sidecar.idempotency.problem import Problem
from sidecar.idempotency.scope import ScopePart


class RecordsAfterTheEnd(Exchange):
    """The last piece goes first, and then the record is kept."""

    def _settle(self, answer: Answer, effect: SettleEffect) -> Effects:
        self.state = State.SETTLING
        return (answer, effect)


class ReleasesWhatWasForwarded(Exchange):
    """A stream that ends before the answer releases the claim, though the request was forwarded."""

    def lose_response(self, event: StreamEnded) -> Effects:
        return self.release_unsent(event)


class ForgetsDetachedAnswers(Exchange):
    """What was executed for a client that has gone is released, not kept."""

    def keep_answer(self, event: Executed) -> Effects:
        effects = super().keep_answer(event)
        if self.state is not State.SETTLING_ALONE:
            return effects
        self._verdict = Verdict(Outcome.RELEASE, "client-gone")
        return (Release(self._claim),)


class ReleasesWhenTheClientLeaves(Exchange):
    """A stream that ends within the answer releases the claim."""

    def lose_rest(self, event: StreamEnded) -> Effects:
        return self.release_unsent(event)


class SettlesNothingWhenTheClientLeaves(Exchange):
    """A stream that ends before the answer settles nothing, and the exchange waits for ever."""

    def lose_response(self, event: StreamEnded) -> Effects:
        super().lose_response(event)
        return ()


class NeverCompares(Exchange):
    """A duplicate is answered from the record, whatever its payload."""

    def _answer_from_record(self) -> Effects:
        self._fingerprint = _Agreeable()  # type: ignore[assignment] # a fingerprint that equals every other
        return super()._answer_from_record()


class NeverComparesTakeovers(Exchange):
    """An attempt is taken over whatever the payload."""

    def begin(self, event: Claimed) -> Effects:
        return super().begin(structs.replace(event, fingerprint=None))


class ReleasesTakeovers(Exchange):
    """An attempt that took over is released, as if none before it could have executed."""

    def _drop(self, verdict: Verdict) -> Release | MarkUnknown:
        self._verdict = verdict
        return Release(self._claim)


class NotesTooLate(Exchange):
    """The last piece is forwarded without the fingerprint having been noted."""

    @property
    def _must_note(self) -> bool:
        return False


class ForgetsThatNobodyCanCompare(Exchange):
    """That nobody can compare is said once, in the note, whether or not the store has kept that."""

    def _unseen(self) -> None:
        return None


class ReleasesWhatIsBeingNoted(Exchange):
    """A stream that ends while the note is made releases the claim, though the upstream has answered."""

    def lose_unnoted(self, event: StreamEnded) -> Effects:
        return self.release_unsent(event)


class BypassesOwners(Exchange):
    """A store that is lost after a wait lets the request through, though its owner was seen."""

    def cope_without_claim(self, event: ClaimFailed) -> Effects:
        self._waited = False
        return super().cope_without_claim(event)


class PassesTheRestUnnoted(Exchange):
    """A response that comes before the request has ended passes at once, and so does the rest of that."""

    def answer_early(self, event: ResponseHeaders) -> Effects:
        return self._judge(event, early=True)


class TakesOverBlindly(Exchange):
    """An attempt that nobody can compare with is taken over as if it had never been sent whole."""

    def begin(self, event: Claimed) -> Effects:
        blind = event.fingerprint == UNCOMPARABLE
        return super().begin(structs.replace(event, fingerprint=None) if blind else event)


class WaitsForTheEnd(Exchange):
    """A request is taken to be whole only at its end, though its announced length has gone before."""

    def admit(self, event: RequestHeaders) -> Effects:
        effects = super().admit(event)
        self._unsent = None
        return effects


class FailsOpen(Exchange):
    """A store that gives no answer lets the request through, whatever the policy."""

    def cope_without_claim(self, _event: ClaimFailed) -> Effects:
        self.state = State.PASSING
        return (PassRequest((ATTEMPT,)),)


class ForgetsClaimsItNeverHeardOf(Exchange):
    """A claim whose answer was lost is not dropped."""

    def cope_without_claim(self, event: ClaimFailed) -> Effects:
        effects = super().cope_without_claim(event)
        return tuple(effect for effect in effects if not isinstance(effect, Release))


class ForgetsTheCaller(Exchange):
    """The caller's credentials are no part of the scope."""

    def __init__(self, policies: Policies, owner: str) -> None:
        scope = (ScopePart.HOST, ScopePart.METHOD, ScopePart.PATH)
        super().__init__(Policies(tuple(replace(policy, scope=scope) for policy in policies.policies)), owner)


class KeepsEveryByte(Exchange):
    """What is captured of a response is bounded by nothing."""

    def capture(self, event: ResponseBody) -> Effects:
        self._everything = getattr(self, "_everything", b"") + event.data
        return super().capture(event)


class LosesTrailers(Exchange):
    """The trailers of a response are not kept."""

    def capture_trailers(self, event: ResponseTrailers) -> Effects:
        return super().capture_trailers(structs.replace(event, fields=()))


class BelievesTheHead(Exchange):
    """A gRPC call is judged as HTTP is, by a status that is 200 whatever it ends with."""

    def _judge_call(self, head: ResponseHeaders, _trailers: Fields) -> Verdict:
        return judge(head.status, head.origin, self._policy.outcomes)


class RecordsCallsAtTheirHead(Exchange):
    """What a gRPC call ends with is read, but no outcome follows from it: its record is kept."""

    def _conclude(self, answer: Answer, trailers: Fields = ()) -> Effects:
        early = self.state is State.CAPTURING_EARLY
        return self._settle(answer, self._complete(early=early, trailers=trailers))


class WaitsForTheEndOfCalls(Exchange):
    """A gRPC call counts as sent only when its request has ended, though its message has gone before."""

    def admit(self, event: RequestHeaders) -> Effects:
        effects = super().admit(event)
        if self._grpc_call is not None:
            self._grpc_call = _Unhurried(is_open=self._grpc_call.is_open)
        return effects


class CountsNoMessages(Exchange):
    """A gRPC call is a stream only where it is answered before its request has ended."""

    def admit(self, event: RequestHeaders) -> Effects:
        effects = super().admit(event)
        if self._grpc_call is not None:
            self._grpc_call = _Uncounted(is_open=self._grpc_call.is_open)
        return effects


class ComparesStreams(Exchange):
    """What was answered before its request had ended is compared with, once it has been seen to its end."""

    @property
    def _is_stream(self) -> bool:
        return False


class RefusesCallsOverHttp(Exchange):
    """A gRPC call is refused with a problem document, which its client cannot read."""

    def _problem_reply(self, problem: Problem) -> Reply:
        headers, document = problem.headers(None), problem.document(self._request.id)
        return Reply(problem.status, headers, document, f"idempotency_{problem.result}")


class NeverRenews(Exchange):
    """The lease is never renewed."""

    def renew(self, _event: RenewalDue) -> Effects:
        return (self._renew_later(),)


class ShowsForgeries(Exchange):
    """What the upstream says of itself reaches the client: that it is a replay."""

    def judge_response(self, event: ResponseHeaders) -> Effects:
        effects = super().judge_response(event)
        self._held = [
            structs.replace(held, remove=()) if isinstance(held, PassResponseHeaders) else held
            for held in self._held
        ]
        return tuple(
            structs.replace(effect, remove=()) if isinstance(effect, PassResponseHeaders) else effect
            for effect in effects
        )


class ForgetsWhatCameEarly(Exchange):
    """A piece of a body that is handed over before the claim is answered is lost."""

    def put_off(self, _event: Early) -> Effects:
        return ()


class ShowsWhatWasHandedOver(Exchange):
    """A piece of a body that was handed over is let pass, as if Envoy still had it."""

    def _note_modes(self, event: RequestHeaders) -> None:
        self._request_duplex = event.request_duplex


class GivesTheEndBackAtOnce(Exchange):
    """The end of a response that was handed over goes before its record is kept."""

    def _conclude(self, answer: Answer, trailers: Fields = ()) -> Effects:
        effects = super()._conclude(answer, trailers)
        return (*self._let_go_held(), *effects) if self._response_duplex else effects


class AnswersTwice(Exchange):
    """A piece of the body that ends the request is answered once more when the response comes."""

    def judge_response(self, event: ResponseHeaders) -> Effects:
        return (PassRequestBody(), *super().judge_response(event))


class _Unhurried(Call):
    @property
    def may_execute(self) -> bool:
        return False


class _Uncounted(Call):
    @property
    def is_stream(self) -> bool:
        self.request.has_several = self.response.has_several = False
        return super().is_stream


class _Agreeable:
    def equals(self, fingerprint: bytes) -> bool:
        return bool(fingerprint)

    def feed(self, data: bytes) -> None:
        """Nothing counts."""
