"""Envoy's account of one ext_proc stream: what it has sent, what it is owed, what it may be told.

Kept from outside, by the rules of the protocol as Envoy has them (docs/envoy.md): it knows nothing of how the
sidecar comes to its answers. Bodies in full duplex are known where an override asks for them, not where the
filter is configured for them, for then nothing tells when an answer is owed.
"""

from collections import deque
from dataclasses import dataclass, field

from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.fields import Fields

_FULL_DUPLEX = pb.ProcessingMode.FULL_DUPLEX_STREAMED
MAX_STREAMED_BYTES = 64 * 1024 - 1
"""Envoy takes no larger pieces."""


class Breach(AssertionError):  # noqa: N818 - what happened, not what went wrong here
    """An answer that is empty, that nothing was sent for, or that does not fit its phase."""


@dataclass
class Given:
    """What a client was answered with by the sidecar itself."""

    status: int
    fields: Fields = ()
    body: bytes = b""
    trailers: Fields = ()
    whole: bool = False


@dataclass
class EnvoyAccount:
    """What Envoy knows of one stream; raises `Breach` at an answer that it would not take."""

    given: Given | None = None
    """The reply to the client, as far as it has come."""
    answers: list[pb.ProcessingResponse] = field(default_factory=list)
    echoed: bytearray = field(default_factory=bytearray)
    """What was given back of a body that had been handed over."""
    _opened_by_response: bool | None = None
    """Envoy's reply to a request that never reached the filter: what it shows of its body it hands over."""
    _owed: dict[str, deque[pb.ProcessingRequest]] = field(
        default_factory=lambda: {"request": deque(), "response": deque()}
    )
    _reading: bool = False
    """The request's head is held, its body handed over: no piece of that is answered by itself."""
    _overtaken: bool = False
    """Envoy has answered itself what it holds; it waits for no answer to that, but one may be on its way."""
    _handed: bytearray = field(default_factory=bytearray)
    _handed_whole: bool = False
    _echoing: bool = False

    # --- What Envoy sends

    def sent(self, message: bytes) -> None:
        """Note a message of one of the six phases."""
        request = pb.ProcessingRequest.FromString(message)
        if self._opened_by_response is None:
            self._opened_by_response = request.HasField("response_headers")
        if self.given is not None:
            return  # on its way when the reply came: nobody waits for an answer
        direction = _direction(request)
        if self._reading and direction == "request":
            self._hand(request)
            return
        if direction == "response" and self._holds_head:
            self._overtaken = True
        self._owed[direction].append(request)

    @property
    def _holds_head(self) -> bool:
        """Whether the request's head waits for its answer."""
        return any(request.HasField("request_headers") for request in self._owed["request"])

    def _hand(self, request: pb.ProcessingRequest) -> None:
        if self._handed_whole:
            return  # behind the end of the body: nothing of it, whatever becomes of the stream
        self._handed += request.request_body.body
        self._handed_whole |= request.request_body.end_of_stream or request.HasField("request_trailers")

    @property
    def owes_nothing(self) -> bool:
        """Whether every message has its answer, so far as it is to have one before the next is sent."""
        if self.given is not None:
            return self.given.whole
        if self._overtaken:
            return not self._owed["response"]
        if self._reading:
            return not self._handed_whole and not self._owed["response"]
        return not self._echoing and not any(self._owed.values())

    # --- What it is told

    def heard(self, message: bytes) -> None:
        """Note an answer.

        Raises:
            Breach: Envoy would not take it.
        """
        answer = pb.ProcessingResponse.FromString(message)
        self.answers.append(answer)
        if self.given is not None and self.given.whole:
            raise Breach(f"after the reply: {answer}")
        match answer.WhichOneof("response"):
            case None:
                self._put_off(answer)
            case "immediate_response":
                self._reply_at_once(answer.immediate_response)
            case "streamed_immediate_response":
                self._reply_in_pieces(answer)
            case phase:
                self._let_pass(phase, answer)

    def _put_off(self, answer: pb.ProcessingResponse) -> None:
        """Not an answer to the request's head, but what is to come before one."""
        head = self._next("request", "request_headers", answer)
        if answer.HasField("override_message_timeout"):
            return
        if answer.mode_override.request_body_mode != _FULL_DUPLEX:
            raise Breach(f"empty: {answer}")
        if head.request_headers.end_of_stream:
            raise Breach("asks for the body of a request that has none: Envoy would wait for ever")
        if self._reading:
            raise Breach("asks twice for the same body")
        self._reading = True
        _, *early = self._owed["request"]
        self._owed["request"] = deque([head])
        for request in early:
            self._hand(request)

    def _reply_at_once(self, reply: pb.ImmediateResponse) -> None:
        if not any(self._owed.values()):
            raise Breach("a reply to nothing")
        if self.given is not None:
            raise Breach("a reply within a reply")
        fields = tuple((each.header.key, each.header.raw_value) for each in reply.headers.set_headers)
        self.given = Given(reply.status.code, fields, reply.body, whole=True)

    def _reply_in_pieces(self, answer: pb.ProcessingResponse) -> None:
        reply = answer.streamed_immediate_response
        part = reply.WhichOneof("response")
        if part == "headers_response" and self.given is None:
            self._next("request", "request_headers", answer)
            fields = dict(_fields(reply.headers_response.headers))
            status = int(fields.pop(":status", b"0"))
            whole = reply.headers_response.end_of_stream
            self.given = Given(status, tuple(fields.items()), whole=whole)
        elif part == "body_response" and self.given is not None:
            self.given.body += _piece(reply.body_response)
            self.given.whole = reply.body_response.end_of_stream
        elif part == "trailers_response" and self.given is not None:
            self.given.trailers, self.given.whole = _fields(reply.trailers_response), True
        else:
            raise Breach(f"a part of a reply out of its order: {answer}")

    def _let_pass(self, phase: str, answer: pb.ProcessingResponse) -> None:
        if self.given is not None:
            raise Breach(f"within a reply: {answer}")
        if self._echoing and phase in {"request_body", "request_trailers"}:
            self._echo(answer)
            return
        direction = phase.partition("_")[0]
        if self._overtaken and direction == "request":
            return
        self._next(direction, phase, answer)
        message = self._owed[direction].popleft()
        if phase.endswith("_body"):
            self._check_mutation(phase, getattr(answer, phase).response, getattr(message, phase))
        if phase == "request_headers" and self._reading:
            self._reading, self._echoing = False, True

    def _check_mutation(self, phase: str, passed: pb.CommonResponse, body: pb.HttpBody) -> None:
        """What was shown is let pass; what was handed over is given back."""
        handed = bool(self._opened_by_response) and phase == "response_body"
        if passed.HasField("body_mutation") is not handed:
            raise Breach("gives back what was not handed over, or keeps what was")
        piece = passed.body_mutation.streamed_response
        if handed and (piece.body, piece.end_of_stream) != (body.body, body.end_of_stream):
            raise Breach("gives back something else than it was handed")

    def _echo(self, answer: pb.ProcessingResponse) -> None:
        """A piece, or the trailers, of a body that was handed over and now goes upstream."""
        if not self._handed_whole:
            raise Breach("forwards a body that has not come whole")
        if answer.HasField("request_body"):
            piece = answer.request_body.response.body_mutation.streamed_response
            self.echoed += _piece(piece)
            self._echoing = not piece.end_of_stream
        else:
            self._echoing = False
        if not self._echoing and self.echoed != self._handed:
            raise Breach("forwards another body than it was handed")

    def _next(self, direction: str, phase: str, answer: pb.ProcessingResponse) -> pb.ProcessingRequest:
        """The message that an answer is to: the oldest of its direction."""
        if not self._owed[direction] or self._owed[direction][0].WhichOneof("request") != phase:
            waiting = [request.WhichOneof("request") for request in self._owed[direction]]
            raise Breach(f"{phase} is not what is waited for, but {waiting}: {answer}")
        return self._owed[direction][0]


def _direction(request: pb.ProcessingRequest) -> str:
    return str(request.WhichOneof("request")).partition("_")[0]


def _piece(piece: pb.StreamedBodyResponse) -> bytes:
    if len(piece.body) > MAX_STREAMED_BYTES:
        raise Breach(f"a piece of {len(piece.body)} bytes")
    return piece.body


def _fields(headers: pb.HeaderMap) -> Fields:
    return tuple((header.key, header.raw_value) for header in headers.headers)
