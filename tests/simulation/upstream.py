"""The scripted upstream: enters in the ledger what it executes of a call, and answers as its script says."""

from typing import Protocol

from sidecar.exchange.events import ResponseBody, ResponseHeaders, ResponseTrailers
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Origin
from tests.simulation.guarantees import Execution, Guarantees
from tests.simulation.plan import Behaviour, CallScript, Form, framed, messages_in
from tests.simulation.policies import LARGEST_RECORD
from tests.simulation.timeline import Timeline
from tests.simulation.violation import Violation

UPSTREAM = Origin("via_upstream", 0, "10.0.0.1:80", 1)
REFUSED = Origin("upstream_reset_before_response_started{remote_connection_failure}", 32, "10.0.0.1:80", 1)
RESET = Origin("upstream_reset_before_response_started{connection_termination}", 64, "10.0.0.1:80", 1)
NOT_AWAITED = Origin("request_overall_timeout", 0, None, 0)
TIMEOUT = Origin("response_timeout", 4, "10.0.0.1:80", 1)


class Receiver(Protocol):
    """Who made the call: Envoy for a client, or a sidecar for itself."""

    call: CallScript
    owner: str

    def on_head(self, head: ResponseHeaders, execution: Execution | None) -> None:
        """The head of the response; `execution` is None where it is Envoy's own reply."""
        ...

    def on_piece(self, piece: ResponseBody) -> None:
        """A piece of its body."""
        ...

    def on_trailers(self, trailers: ResponseTrailers) -> None:
        """Its end."""
        ...

    def on_broken(self) -> None:
        """The rest of it will not come."""
        ...


class UpstreamCall:
    """One call as the upstream sees it. `attempt` is None where it came without one, unprotected."""

    def __init__(
        self, timeline: Timeline, guarantees: Guarantees, receiver: Receiver, attempt: int | None
    ) -> None:
        self._timeline = timeline
        self._guarantees = guarantees
        self._receiver = receiver
        self._attempt = attempt
        self._call = receiver.call
        self._script = receiver.call.upstream
        self._body = b""
        self._whole = self._cancelled = self._started = False
        self._execution: Execution | None = None

    # --- What it is sent

    def begin(self) -> None:
        """The head of the request."""
        if self._script.behaviour is Behaviour.REFUSES:
            self._timeline.after(1, self._reply_locally, 503, REFUSED)
        elif self._script.behaviour is Behaviour.ANSWERS_EARLY:
            self._start()

    def take(self, data: bytes) -> None:
        """A piece of the request body; who knows its length knows which piece is the last.

        Of a gRPC call, a message is enough to begin with.
        """
        self._body += data
        all_here = len(self._body) >= len(self._call.body)
        if all_here and (self._call.announces or self._call.grpc):
            self._have_whole()
        elif self._has_message:
            self._start()

    @property
    def _has_message(self) -> bool:
        return self._call.grpc and bool(messages_in(self._body))

    def end(self) -> None:
        """The request has ended."""
        self._have_whole()

    def _have_whole(self) -> None:
        if self._whole:
            return
        self._whole = True
        if self._body != self._call.body:
            raise Violation("G5", "the upstream was sent another body than the client had")
        if self._execution is not None:
            self._guarantees.became_whole(self._execution)
        self._start()

    def _start(self) -> None:
        if not self._started and self._script.behaviour is not Behaviour.REFUSES:
            self._started = True
            self._timeline.after(self._script.takes_ms, self._work)

    def cancel(self) -> None:
        """Whoever made the call has gone; what has begun may be executed nevertheless."""
        self._cancelled = True

    # --- What it does

    def _work(self) -> None:
        execution = self._execute()
        if self._script.behaviour is Behaviour.RESETS:
            self._reply_locally(503, RESET)
        elif self._script.behaviour is Behaviour.TIMES_OUT:
            self._timeline.after(self._script.takes_ms, self._reply_locally, 504, TIMEOUT)
        elif execution is not None:
            self._timeline.after(self._script.takes_ms, self._answer, execution)

    def _execute(self) -> Execution | None:
        """What is reset or cancelled may be executed all the same; half a request is nothing to execute."""
        unlucky = self._cancelled or self._script.behaviour is Behaviour.RESETS
        enough = self._whole or self._has_message
        partial = self._cancelled and not enough
        if partial or (unlucky and not self._script.executes):
            return None
        self._execution = self._guarantees.execute(
            self._call, self._receiver.owner, self._attempt, whole=self._whole, enough=enough
        )
        return self._execution

    def _reply_locally(self, status: int, origin: Origin) -> None:
        """Envoy answers in the upstream's place."""
        if not self._cancelled:
            reply_locally(self._receiver, status, origin)

    def _answer(self, execution: Execution) -> None:
        form = Form.BARE if self._script.status == 204 else self._script.form
        body = b"" if form is Form.BARE else b"execution %d" % execution.number
        if self._script.large and body:
            body = body.ljust(LARGEST_RECORD * 4, b".")
        execution.status, execution.body = self._script.status, body
        execution.headers = _headers(execution.number, form, len(body), forged=self._script.forges)
        execution.trailers = (("sum", b"%d" % len(body)),) if form is Form.TRAILERS else ()
        if self._call.grpc:
            self._answer_call(execution, bare=form is Form.BARE)
        if self._cancelled:
            return
        bare = form is Form.BARE
        head = ResponseHeaders(execution.status, execution.headers, UPSTREAM, end_of_stream=bare)
        self._receiver.on_head(head, execution)
        if not bare:
            self._send(_pieces(execution.body, self._script.pieces, form), 0, execution)

    def _answer_call(self, execution: Execution, *, bare: bool) -> None:
        """The same answer as gRPC gives it: a status of its own, and messages instead of a body."""
        ended = self._script.call_status
        status: Fields = () if ended is None else (("grpc-status", b"%d" % ended),)
        execution.status = 200
        fields = tuple(pair for pair in execution.headers if pair[0] != "content-type")
        execution.headers = (("content-type", b"application/grpc"), *fields, *(status if bare else ()))
        execution.trailers = () if bare else (*status, *execution.trailers)
        if not bare:
            execution.body = framed(execution.body) + framed(b"2") * self._script.answers_twice

    def _send(self, pieces: tuple[ResponseBody, ...], index: int, execution: Execution) -> None:
        if self._cancelled:
            return
        if index == len(pieces):
            self._receiver.on_trailers(ResponseTrailers(execution.trailers))
        elif self._script.behaviour is Behaviour.BREAKS_OFF and index == len(pieces) - 1:
            self._receiver.on_broken()
        else:
            self._receiver.on_piece(pieces[index])
            if not pieces[index].end_of_stream:
                self._timeline.after(self._script.pace_ms, self._send, pieces, index + 1, execution)


def reply_locally(receiver: Receiver, status: int, origin: Origin) -> None:
    """Envoy answers: over HTTP with a text, to a gRPC call with a head that says it is unavailable."""
    if receiver.call.grpc:
        head: Fields = (("content-type", b"application/grpc"), ("grpc-status", b"14"))
        receiver.on_head(ResponseHeaders(200, head, origin, end_of_stream=True), None)
        return
    receiver.on_head(ResponseHeaders(status, (), origin, end_of_stream=False), None)
    receiver.on_piece(ResponseBody(b"upstream connect error", end_of_stream=True))


def _headers(number: int, form: Form, length: int, *, forged: bool) -> Fields:
    fields: Fields = (
        ("content-type", b"text/plain"),
        ("x-execution", b"%d" % number),
        ("set-cookie", b"visit=%d" % number),
        ("date", b"today"),
    )
    if forged:
        fields = (*fields, ("idempotent-replayed", b"true"))
    if form in (Form.SIZED, Form.SIZED_THEN_EMPTY):
        return (*fields, ("content-length", b"%d" % length))
    return (*fields, ("trailer", b"sum")) if form is Form.TRAILERS else fields


def _pieces(body: bytes, count: int, form: Form) -> tuple[ResponseBody, ...]:
    """The body in so many pieces; the last says so, save where trailers or an empty piece follow."""
    size = -(-len(body) // count)
    parts = [body[size * part : size * (part + 1)] for part in range(count)]
    if form in (Form.SIZED_THEN_EMPTY, Form.OPEN_THEN_EMPTY):
        parts.append(b"")
    last = len(parts) - 1 if form is not Form.TRAILERS else -1
    return tuple(ResponseBody(part, index == last) for index, part in enumerate(parts))
