"""What holds of everything that an exchange answers to Envoy, and so to the client."""

from sidecar.exchange.effects import (
    BeginReply,
    BreakOff,
    EchoRequestBody,
    EchoResponseBody,
    Effect,
    Execute,
    FetchPiece,
    ForwardHeld,
    ForwardRequest,
    LargeReply,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    Reply,
    ReplyAtOnce,
    ReplyPiece,
    ReplyTrailers,
)
from sidecar.exchange.events import (
    RequestBody,
)
from sidecar.idempotency.fields import first
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from tests.property.draws import FORGED
from tests.property.question_promises import QuestionPromises

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


class AnswerPromises(QuestionPromises):
    """Each is given once, where it belongs, and gives what is right."""

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
