"""A claim that was granted: the request goes upstream, as it streams by or after it was held.

It is held where all of it must be known before any may be sent: to see that it is the payload of the attempt
it takes over, or to execute it detached. And where the policy allows takeovers its fingerprint is noted
before its last byte goes, so that whoever takes over from this attempt knows what to compare with: an attempt
without a noted fingerprint was never forwarded whole.
"""

from msgspec.structs import replace

from sidecar.exchange import states
from sidecar.exchange.core import AFTER_THE_END, ATTEMPT, INCOMPLETE, NEVER_FORWARDED, SLACK_MS, Effects
from sidecar.exchange.effects import (
    Answer,
    BreakOff,
    Execute,
    ExtendTimeout,
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    NoteFingerprint,
    ReadRequestBody,
)
from sidecar.exchange.events import (
    Claimed,
    Noted,
    NotingFailed,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    StreamEnded,
)
from sidecar.exchange.responding import Responding
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fields import end_to_end
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.problem import (
    BodyInvalid,
    BodyTooLarge,
    InProgress,
    KeyReused,
    OutcomeUnknown,
    Problem,
    StoreUnavailable,
)

_NOT_SENT = frozenset({ATTEMPT, "expect"})
"""Header fields that a call has of its own, or whose purpose was served when its body was read."""


class Forwarding(Responding):
    """Actions of HOLDING, FORWARDING and NOTING, and the way there from CLAIMING."""

    def begin(self, event: Claimed) -> Effects:
        """The id is ours: forward the request, or hold it where all of it must be known first."""
        self._claim = self._claim.granted(event.attempt)
        self._taken_over, self._expected = event.taken_over, event.fingerprint
        self._expires_ms = event.expires_ms
        if self._expected == UNCOMPARABLE:
            return self._turn_away(OutcomeUnknown(event.attempt - 1, "answered before its request had ended"))
        if self._is_whole or not self._request_has_body:
            return self._decide_on_whole()
        # A body that is announced as empty: its head would be all of it.
        unsure = self._fingerprint.needs_whole_body or self._unsent == 0
        if self._is_detached or self._expected is not None or unsure:
            self.state = states.HOLDING
            body = ReadRequestBody() if self._is_detached else HoldRequest()
            return (*self._asking(body), self._renew_later())
        self.state = states.FORWARDING
        return self._executing(ForwardRequest(event.attempt, has_body=True))

    def _executing(self, *effects: Answer | Execute) -> Effects:
        return (*effects, self._count("executed"), self._renew_later())

    # --- Held until all of it is known

    def hold_body(self, event: RequestBody) -> Effects:
        """Keep a piece of the request, within the policy's limit; at its end go on."""
        self._take_in(event.data, ends=event.end_of_stream)
        self._body += event.data
        if len(self._body) > self._most_held:
            return self._turn_away(BodyTooLarge(self._most_held))
        if event.end_of_stream or self._differs_already(self._expected):
            return self._decide_on_whole()
        return ()

    def hold_trailers(self, _event: RequestTrailers) -> Effects:
        """The held request ends with trailers."""
        self._take_in(b"", ends=True)
        self._ended_with_trailers = True
        return self._decide_on_whole()

    def _decide_on_whole(self) -> Effects:
        """All of the request is known and none of it has been sent."""
        try:
            self._fingerprint.digest()
        except BodyInvalid as problem:
            return self._turn_away(problem)
        if self._expected is not None and not self._fingerprint.equals(self._expected):
            return self._turn_away(KeyReused())
        if self._must_note:
            return self._note()
        return self._send_whole()

    def _send_whole(self) -> Effects:
        if self._is_detached:
            self.state = states.EXECUTING
            return self._executing(*self._patience(), self._call())
        self.state = states.AWAITING_RESPONSE
        if not self._request_has_body:
            return self._executing(ForwardRequest(self._claim.attempt, has_body=False))
        self._is_whole = True
        body, self._body = bytes(self._body), bytearray()
        return self._executing(ForwardHeld(self._claim.attempt, body, self._ended_with_trailers))

    def _patience(self) -> tuple[Answer, ...]:
        """Envoy waits without a limit after a body that was read, but not after a head alone.

        After a wait the patience for the call was asked for with that of the wait.
        """
        if self._request_has_body or self._waited:
            return ()
        return self._asking(ExtendTimeout(self._policy.deadline_ms + SLACK_MS))

    def _call(self) -> Execute:
        own = (ATTEMPT, str(self._claim.attempt).encode())
        headers = tuple(field for field in end_to_end(self._request.headers) if field[0] not in _NOT_SENT)
        body, self._body = bytes(self._body), bytearray()
        return Execute(
            request=replace(self._request, headers=(*headers, own)),
            body=body,
            deadline_ms=self._policy.deadline_ms,
            max_response_body=self._policy.max_response_body,
        )

    def _turn_away(self, problem: Problem) -> Effects:
        """Nothing was sent whole, and nothing will be: refuse, and let the id go behind the client's back."""
        reply, counted = self._refuse(problem)
        drop = self._drop(NEVER_FORWARDED)
        has_begun = self._let_go_held()  # none of which goes
        # One that began to stream by was counted when it began.
        return (reply, drop) if has_begun else (reply, counted, drop)

    # --- As it streams by

    def forward_body(self, event: RequestBody) -> Effects:
        """Hash and forward a piece of the body, the last one as such.

        An upstream knows the length that was announced and executes when the last byte of it has come; the
        end of the stream may follow as an empty piece, or not at all. Of a gRPC call, a message is enough.
        """
        if self._unsent is not None:
            self._unsent -= len(event.data)
        ends = event.end_of_stream or (self._unsent is not None and self._unsent <= 0)
        self._take_in(event.data, ends=ends)
        whole = ends or (self._grpc_call is not None and self._grpc_call.may_execute)
        answer = self._passing(event)
        return self._forward_last(answer) if whole else (answer,)

    def forward_trailers(self, event: RequestTrailers) -> Effects:
        """The request ends with trailers."""
        self._take_in(b"", ends=True)
        return self._forward_last(self._passing(event))

    def forward_rest(self, event: RequestBody | RequestTrailers) -> Effects:
        """What follows the announced length, or a gRPC call's message, which went before, or is held.

        Behind a request that was held to its end, and is noted with its head still held, nothing can follow;
        nor behind one that was sent so.
        """
        noted_whole = self.state is states.NOTING and not self._held and self._early_head is None
        if noted_whole or self._is_whole:
            return (AFTER_THE_END,)
        if isinstance(event, RequestTrailers):
            self._take_in(b"", ends=True)
        else:
            self._take_in(event.data, ends=event.end_of_stream)
        if self.state is states.NOTING:
            self._held.append(self._passing(event))
            self._weigh(event)
            return ()
        return (self._passing(event),)

    def _forward_last(self, answer: Answer) -> Effects:
        if self.state is states.CAPTURING_EARLY:
            self.state = states.CAPTURING
            return (answer,)
        if self._must_note:
            self._held.append(answer)
            return self._note()
        self.state = states.AWAITING_RESPONSE
        return (answer,)

    # --- Its fingerprint is noted

    def _note(self) -> Effects:
        """What a takeover is to be compared with.

        That is nothing while a gRPC call's request goes on: its client may be waiting for an answer, so its
        message has to go, and then no takeover may wait for the end of its own request to compare it.
        """
        self.state = states.NOTING
        self._uncomparable = self._uncomparable or self._is_stream
        fingerprint = UNCOMPARABLE if self._uncomparable else self._fingerprint.digest()
        # The timer may still be that of a wait, which is over.
        return (NoteFingerprint(self._claim, fingerprint), self._renew_later())

    @property
    def _has_ended_meanwhile(self) -> bool:
        """Whether a gRPC call that was noted while its request went on turned out to be unary.

        Its end came apart from its message, as an empty piece, while the store was asked.
        """
        held_back = self._uncomparable and self._early_head is None
        return self._grpc_call is not None and held_back and not self._is_stream

    def answer_early(self, event: ResponseHeaders) -> Effects:
        """It answers before the request has ended. What follows of the request may still reach it whole.

        Where a takeover is possible, that nobody can compare with this attempt is noted first.
        """
        if not self._must_note:
            return self._judge(event, early=True)
        self._early_head, self._uncomparable = event, True
        return self._note()

    def answer_unnoted(self, event: ResponseHeaders) -> Effects:
        """A response while the note is made: it waits, or, with nothing sent, is Envoy's own.

        Never the second one: only one of two heads could be let go, and the other would wait for ever.
        """
        if self._early_head is not None:
            return (BreakOff("a second head of the response"),)
        if not self._held:
            return self.overtake(event)
        self._early_head = event
        return ()

    def go_on_noted(self, event: Noted) -> Effects:
        """The fingerprint is kept: what is held may go, unless the claim is no longer ours."""
        if event.held and self._has_ended_meanwhile:
            self._uncomparable = False
            return self._note()
        if self._early_head is not None:
            return self._judge_held(self._early_head)
        if not event.held:
            answer = self._policy.in_progress
            return self._turn_away(InProgress(status=answer.status, retry_after_s=answer.retry_after_s))
        if self._held:
            self.state = states.AWAITING_RESPONSE
            return self._let_go_held()
        return self._send_whole()

    def cope_unnoted(self, _event: NotingFailed) -> Effects:
        """The fingerprint could not be kept: the request must not be executed, if it has not been."""
        if self._early_head is not None:
            return self._judge_held(self._early_head)
        return self._turn_away(StoreUnavailable())

    def _judge_held(self, head: ResponseHeaders) -> Effects:
        """The upstream has answered: let it have what is held, and judge its answer."""
        held = self._let_go_held()
        return (*held, *self._judge(head, early=self._uncomparable))

    def lose_unnoted(self, _event: StreamEnded) -> Effects:
        """The stream ended before all of the request was sent; if it was answered all the same, who knows."""
        if self._early_head is not None:
            whole = not self._uncomparable
            return self._settle_alone(self._lose(UnknownReason.LOST_MID_RESPONSE, whole=whole))
        return self._settle_alone(self._drop(INCOMPLETE))
