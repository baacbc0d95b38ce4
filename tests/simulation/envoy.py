"""The scripted Envoy: one exchange of it, with its client in front and the upstream behind.

It keeps Envoy's rules: the head is held until it is answered, each piece waits for its own answer, trailers
wait for the body, and a client that leaves takes the upstream call with it.
"""

from collections import deque
from typing import Protocol, TypeAlias

from sidecar.exchange.effects import (
    Answer,
    BeginReply,
    EchoRequestBody,
    EchoResponseBody,
    ExtendTimeout,
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    PassHeld,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
    Reply,
    ReplyAtOnce,
    ReplyPiece,
    ReplyTrailers,
    WatchRequest,
)
from sidecar.exchange.events import (
    EnvoyEvent,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.request import Request
from tests.simulation.conversation import Conversation
from tests.simulation.delivery import Delivery
from tests.simulation.guarantees import Execution, Guarantees, Received
from tests.simulation.hosted import EXECUTED, Hosted
from tests.simulation.plan import CallScript
from tests.simulation.processes import Process
from tests.simulation.timeline import Timeline
from tests.simulation.upstream import NOT_AWAITED, UpstreamCall, reply_locally
from tests.simulation.violation import Violation

Decision: TypeAlias = (
    PassRequest | PassHeld | WatchRequest | ForwardRequest | ReadRequestBody | HoldRequest | ForwardHeld
)
"""What the sidecar may say of a request whose head waits."""


class Neighbours(Protocol):
    """What an exchange finds around it."""

    timeline: Timeline
    guarantees: Guarantees

    def process_for(self, call: CallScript) -> Process | None:
        """A worker that is alive, where there is one."""
        ...

    def host(self, process: Process, envoy: "Envoy") -> Hosted:
        """An exchange opened on this process."""
        ...


class Envoy:
    """One request through Envoy, from the client's first byte to the last it is given."""

    def __init__(self, world: Neighbours, call: CallScript) -> None:
        self.call = call
        self.owner = f"owner-{call.number}"
        self.execution: Execution | None = None
        self.done = False
        self.hosted: Hosted | None = None
        self._world = world
        self._timeline = world.timeline
        self._talk = Conversation(world.timeline, call.luck, self._break_off)
        self._upstream: UpstreamCall | None = None
        self._delivery = Delivery(self._tell, self._complete)
        self._duplex = self._watched = False
        self._outgoing: deque[RequestBody] = deque()
        self._request_sent = False

    # --- The client

    def begin(self) -> None:
        """The client's request arrives."""
        process = self._world.process_for(self.call)
        if process is None:
            self._break_off()
            return
        self.hosted = self._world.host(process, self)
        if self.call.leaves_after_ms is not None:
            self._timeline.after(self.call.leaves_after_ms, self._break_off)
        self._tell(self._head())

    def _head(self) -> RequestHeaders:
        return RequestHeaders(_request(self.call), end_of_stream=not self.call.pieces)

    def _send_piece(self, index: int) -> None:
        """The client has got this far with its body."""
        if self.done or (self._duplex and self._delivery.begun):
            return
        last = index == len(self.call.pieces) - 1
        piece = RequestBody(self.call.pieces[index], end_of_stream=last and not self.call.trailers)
        self._request_sent = last
        if self._watched:
            self._outgoing.append(piece)
        if self._watched or self._duplex:
            self._tell(piece)
        else:
            self._forward(piece)
        if last:
            self._send_trailers()
        elif not self.call.waits:
            self._timeline.after(self.call.pace_ms, self._send_piece, index + 1)

    def _send_trailers(self) -> None:
        """They follow once the whole body has been let through."""
        if not self.call.trailers or self._outgoing:
            return
        if self._watched or self._duplex:
            self._tell(RequestTrailers())
        else:
            self._end_request()

    def _tell(self, event: EnvoyEvent, completes: bool = False) -> None:
        assert self.hosted is not None
        self._talk.tell(self.hosted, event, completes, silent=self._duplex)

    # --- What the sidecar answers

    def hear(self, answer: Answer) -> None:
        """The sidecar sends an answer; it arrives a little later."""
        self._talk.hear(self._on_answer, answer)

    def lose_sidecar(self) -> None:
        """The process at the other end is gone: fail closed."""
        self._talk.hear(self._break_off)

    def _on_answer(self, answer: Answer) -> None:
        if self.done:
            return
        self._talk.answered(answer)
        match answer:
            case ExtendTimeout():
                pass
            case Reply():
                self._give_reply(answer)
            case PassRequestBody() | EchoRequestBody() | PassRequestTrailers():
                self._let_request(answer)
            case PassResponseHeaders() | PassResponseBody() | EchoResponseBody() | PassResponseTrailers():
                self._delivery.let(answer)
            case BeginReply() | ReplyPiece() | ReplyTrailers() | ReplyAtOnce():
                raise AssertionError("no body here is large")
            case _:
                self._decide(answer)

    def _decide(self, answer: Decision) -> None:
        """What becomes of the request that is held."""
        match answer:
            case PassRequest():
                self._call_upstream(None)
            case PassHeld() | WatchRequest():
                raise AssertionError("no key here is in a body, and nothing is only watched")
            case ForwardRequest(attempt=attempt):
                self._watched = True
                self._call_upstream(attempt)
            case ForwardHeld():
                if not self._delivery.begun:
                    self._forward_held(answer)
            case _:
                self._duplex = True
                if self.call.held_at_most_ms is not None and isinstance(answer, HoldRequest):
                    self._timeline.after(self.call.held_at_most_ms, self._lose_patience)
                self._send_piece(0)

    def _let_request(self, answer: PassRequestBody | EchoRequestBody | PassRequestTrailers) -> None:
        if isinstance(answer, PassRequestTrailers):
            self._end_request()
            return
        self._forward(self._outgoing.popleft())
        if self._request_sent:
            self._send_trailers()

    def _lose_patience(self) -> None:
        """Envoy will not hold the request any longer: it answers itself."""
        if self.done or self._upstream is not None:
            return
        self._watched = True
        reply_locally(self, 408, NOT_AWAITED)

    # --- To the upstream

    def _call_upstream(self, attempt: int | None) -> None:
        self._upstream = UpstreamCall(self._timeline, self._world.guarantees, self, attempt)
        self._upstream.begin()
        if self._duplex:
            return
        if self.call.pieces:
            self._send_piece(0)
        else:
            self._end_request()

    def _forward(self, piece: RequestBody) -> None:
        assert self._upstream is not None
        self._upstream.take(piece.data)
        if piece.end_of_stream:
            self._end_request()

    def _end_request(self) -> None:
        assert self._upstream is not None
        self._upstream.end()

    def _forward_held(self, held: ForwardHeld) -> None:
        self._watched = True
        self._call_upstream(held.attempt)
        if held.has_trailers != self.call.trailers:
            raise Violation("G5", "a held request lost its trailers, or got some")
        self._forward(RequestBody(held.body, end_of_stream=True))

    # --- The response

    def on_head(self, head: ResponseHeaders, execution: Execution | None) -> None:
        """See `Receiver.on_head`."""
        if not self.done:
            self.execution = execution
            self._delivery.begin(head, watched=self._watched)

    def on_piece(self, piece: ResponseBody) -> None:
        """See `Receiver.on_piece`."""
        if not self.done:
            self._delivery.take(piece)

    def on_trailers(self, trailers: ResponseTrailers) -> None:
        """See `Receiver.on_trailers`."""
        if not self.done:
            self._delivery.take(trailers)

    def on_broken(self) -> None:
        """See `Receiver.on_broken`: the client's response breaks off as well."""
        self._break_off()

    def _complete(self, received: Received) -> None:
        """The client has the whole response."""
        if self.execution is not None:
            self._world.guarantees.saw(self.execution, received)
        self._finish()

    def _give_reply(self, reply: Reply) -> None:
        if reply.details == EXECUTED:
            self._complete(Received(reply.status, reply.headers, reply.body, reply.trailers))
        else:
            self._finish()

    # --- The end

    def _break_off(self) -> None:
        """The client leaves, or is given an error of Envoy's own, or the response breaks off."""
        if not self.done:
            self._finish()

    def _finish(self) -> None:
        self.done = True
        if self._upstream is not None:
            self._upstream.cancel()
        if self.hosted is not None:
            self._talk.end(self.hosted)


def _request(call: CallScript) -> Request:
    fields: Fields = (
        ("authorization", call.caller.encode()),
        ("content-type", b"application/grpc" if call.grpc else b"application/x-www-form-urlencoded"),
        ("idempotency-key", call.key.encode()),
        ("idempotency-attempt", b"77"),
    )
    if call.announces:
        fields = (*fields, ("content-length", b"%d" % len(call.body)))
    query = None if call.pieces else call.payload
    return Request("POST", "api.example", "/pay", query, fields, "")
