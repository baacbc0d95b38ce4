"""A detached execution: the sidecar makes the call itself, and the client may go away (CONTRACT §6)."""

from sidecar.exchange import states
from sidecar.exchange.capture import Capture
from sidecar.exchange.core import Effects
from sidecar.exchange.effects import LargeReply, Reply, SettleEffect
from sidecar.exchange.events import Executed, ExecutionFailed, Failure, ResponseHeaders, StreamEnded
from sidecar.exchange.replying import Replying
from sidecar.idempotency.advertising import with_advertised
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Outcome, Verdict, judge
from sidecar.idempotency.problem import (
    OriginUnavailable,
    OutcomeUnknown,
    Problem,
    ResponseNotRepeatable,
    ResponseNotStored,
)
from sidecar.idempotency.replay import first_headers

FIRST_DETAILS = "idempotency_executed"
"""What Envoy's access log shows of the answer to a detached execution."""


class Detached(Replying):
    """Actions of EXECUTING and EXECUTING_ALONE."""

    def go_on_alone(self, _event: StreamEnded) -> Effects:
        """The client went away: the call goes on."""
        self.state = states.EXECUTING_ALONE
        return ()

    def keep_answer(self, event: Executed) -> Effects:
        """The origin answered: keep what becomes of the key, then answer the client, if there is one."""
        self._verdict = judge(event.status, event.origin, self._policy.outcomes)
        return self._end(self._first_reply(event), self._settlement(event))

    def _first_reply(self, event: Executed) -> Reply | LargeReply:
        body = event.body
        if body is not None:
            headers = self._with_advertised(first_headers(event.headers, body))
            if not self._can_give(headers, body, event.trailers):
                return self._problem_reply(ResponseNotRepeatable(event.status))
            if isinstance(body, bytes):
                return Reply(event.status, headers, body, FIRST_DETAILS, event.trailers)
            return LargeReply(event.status, headers, body, FIRST_DETAILS, event.trailers)
        match self._verdict.outcome:
            case Outcome.RECORD:
                return self._problem_reply(ResponseNotStored(event.status))
            case Outcome.RELEASE:
                return self._problem_reply(OriginUnavailable())
            case Outcome.UNKNOWN:
                return self._problem_reply(
                    OutcomeUnknown(self._claim.attempt, UnknownReason.UPSTREAM_STATUS, status=502)
                )

    def _with_advertised(self, headers: Fields) -> Fields:
        recording = self._verdict.outcome is Outcome.RECORD
        return with_advertised(headers, self._advertised() if recording else ())

    def _settlement(self, event: Executed) -> SettleEffect:
        if self._verdict.outcome is Outcome.RECORD:
            head = ResponseHeaders(event.status, event.headers, event.origin, end_of_stream=False)
            self._capture = Capture(head, self._policy)
            if event.body is None:
                self._capture.let_go()
            else:
                self._capture.take(event.body)
            return self._complete(trailers=event.trailers)
        return self._give_up_record(whole=True)

    def lose_answer(self, event: ExecutionFailed) -> Effects:
        """There is no answer: nothing was sent, or nobody can say what became of it."""
        problem: Problem
        if event.failure is Failure.NEVER_SENT:
            problem, effect = OriginUnavailable(), self._drop(Verdict(Outcome.RELEASE, "never-sent"))
        else:
            late = event.failure is Failure.DEADLINE
            reason = UnknownReason.DEADLINE if late else UnknownReason.LOST_BEFORE_RESPONSE
            problem = OutcomeUnknown(self._claim.attempt, reason, status=504 if late else 502)
            effect = self._lose(reason)
        return self._end(self._problem_reply(problem), effect)

    def _end(self, reply: Reply | LargeReply, effect: SettleEffect) -> Effects:
        if self.state is states.EXECUTING_ALONE:
            return self._settle_alone(effect)
        if isinstance(reply, Reply):
            return self._settle(reply, effect)
        self._large = reply  # begun once the outcome is kept; until then there is nothing to hold
        self.state = states.SETTLING
        return (effect,)
