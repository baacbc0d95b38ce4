"""What the stories of an exchange are told with: a policy, messages, and a teller that notes each step."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from msgspec import structs

from sidecar.exchange.effects import (
    Complete,
    Count,
    CountOutcome,
    Effect,
    PassResponseHeaders,
    Reply,
    TakeClaim,
)
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    Event,
    Executed,
    ExecutionFailed,
    Expired,
    Failure,
    InFlight,
    Noted,
    NotingFailed,
    OwnerGone,
    PieceFetched,
    PieceLost,
    Recorded,
    RenewalDue,
    RenewalFailed,
    Renewed,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Settled,
    SettlingFailed,
    StreamEnded,
    Unknown,
    WaitFailed,
    WaitOver,
)
from sidecar.exchange.machine import Exchange
from sidecar.exchange.states import State
from sidecar.idempotency.body import Body, KeptBody, ReceivedBody
from sidecar.idempotency.claim import Claim, UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.fingerprint import Fingerprinter
from sidecar.idempotency.outcome import Origin, Outcome
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.policy import (
    Execution,
    InProgress,
    KeyPlace,
    KeySource,
    Mode,
    Policies,
    Policy,
)
from sidecar.idempotency.record import Record
from sidecar.idempotency.request import Request

POLICY = Policy("payments", lease_ms=30_000, max_response_body=16)
WAITING = replace(POLICY, in_progress=InProgress(wait_ms=10_000))
RETRYING = replace(POLICY, unknown=UnknownPolicy.RETRY)
IN_BODY = replace(POLICY, key=KeySource("/key", KeyPlace.JSON, Pointer.parse("/key")))
SHADOW = replace(POLICY, mode=Mode.SHADOW)
DETACHED = replace(POLICY, execution=Execution.DETACHED, max_request_body=8, deadline_ms=60_000)
OWNER = "owner-1"
UPSTREAM = Origin("via_upstream", 0, "10.0.0.1:80", 1)
TIMEOUT = Origin("response_timeout", 4, "10.0.0.1:80", 1)
REFUSED = Origin("upstream_reset_before_response_started{remote_connection_failure}", 32, "10.0.0.1:80", 1)

WITHOUT_KEY: Fields = (("content-type", b"application/json"),)
WITH_KEY: Fields = (*WITHOUT_KEY, ("idempotency-key", b'"k1"'))
GRPC: Fields = (("content-type", b"application/grpc"),)
GRPC_WITH_KEY: Fields = (*GRPC, ("idempotency-key", b'"k1"'))

ENDED = StreamEnded()
PIECE = RequestBody(b"x", end_of_stream=False)
LAST_PIECE = RequestBody(b"yz", end_of_stream=True)
LAST_OF_RESPONSE = ResponseBody(b"", end_of_stream=True)
MORE_COMES = PassResponseHeaders(more=True)
NO_MORE = PassResponseHeaders(more=False)


def head(
    fields: Fields = WITH_KEY, *, body: bool = True, method: str = "POST", target: str = "/pay?a=1"
) -> RequestHeaders:
    """The head of a request."""
    request = Request.from_target(method, "api.example", target, fields, "req-1")
    return RequestHeaders(request, end_of_stream=not body)


def framed(*messages: bytes) -> bytes:
    """Messages as they stand in a gRPC body."""
    return b"".join(b"\x00" + len(message).to_bytes(4) + message for message in messages)


def answer(
    status: int = 201, fields: Fields = (), *, body: bool = True, origin: Origin = UPSTREAM
) -> ResponseHeaders:
    """The head of a response."""
    return ResponseHeaders(status, fields, origin, end_of_stream=not body)


def fingerprint(begun: RequestHeaders, *pieces: bytes, policy: Policy = POLICY) -> bytes:
    """The fingerprint of a request with this head and body."""
    fingerprinter = Fingerprinter(policy.fingerprint, begun.request)
    for piece in pieces:
        fingerprinter.feed(piece)
    return fingerprinter.digest()


def recorded(
    body: Body = b"done",
    *,
    of: bytes | None,
    headers: Fields = (("etag", b"x"),),
    trailers: Fields = (),
    replayable: bool = True,
) -> Recorded:
    """The store's answer that a request with the fingerprint `of` was answered 201."""
    return Recorded(Record(201, headers, body, trailers, of, replayable))


Step: TypeAlias = tuple[State, type[Event], State]


@dataclass
class Story:
    """One exchange, told event by event."""

    exchange: Exchange
    walked: set[Step]
    claim: Claim | None = None
    seen: list[Effect] = field(default_factory=list)

    def state(self) -> State:
        """Where the exchange stands."""
        return self.exchange.state

    def on(self, event: Event) -> tuple[Effect, ...]:
        """What the exchange wants done about this."""
        before = self.state()
        effects = self.exchange.handle(event)
        self.walked.add((before, type(event), self.state()))
        self.seen.extend(effects)
        for effect in effects:
            if isinstance(effect, TakeClaim):
                self.claim = effect.wanted
        return effects

    def after(self, *events: Event) -> "Story":
        """The same story, once all this has happened."""
        for event in events:
            self.on(event)
        return self

    def held(self, attempt: int = 1) -> Claim:
        """The claim as the store knows it once it is taken."""
        assert self.claim is not None
        return structs.replace(self.claim, attempt=attempt)

    def count(self, result: str) -> Count:
        """What is counted of this request when it is decided so."""
        return Count(POLICY.name, result, self.claim.id if self.claim else "", "req-1")

    def outcome(self, outcome: Outcome, reason: str) -> CountOutcome:
        """What is counted of this execution when it ends so."""
        return CountOutcome(POLICY.name, outcome, reason, self.held().id, "req-1")


@dataclass
class Teller:
    """Begins stories, and knows every step that any of them took."""

    walked: set[Step] = field(default_factory=set)

    def __call__(
        self, policy: Policy | None = POLICY, *, bypass: bool = False, sources: frozenset[str] | None = None
    ) -> Story:
        """A new exchange under one policy, or under none; `sources`: what Envoy tells of callers."""
        policies = () if policy is None else (replace(policy, bypass_when_unavailable=bypass),)
        return Story(Exchange(Policies(policies), OWNER, sources), self.walked)


TellStory: TypeAlias = Callable[[Teller], None]

LARGE = KeptBody("id", OWNER, size=20, piece_bytes=8, checksums=(1, 2, 3), compressed=False)
"""A body of three pieces."""

CLAIMED = Claimed(1)
KEPT = Settled(held=True)


def taken_over(of: bytes | None, attempt: int = 2) -> Claimed:
    """The store's answer that an attempt is taken over whose request had the fingerprint `of`."""
    return Claimed(attempt, of, taken_over=True)


def executed(
    status: int = 201, body: ReceivedBody | None = b"done", *, origin: Origin = UPSTREAM
) -> Executed:
    """The origin's answer to a detached execution."""
    return Executed(status, (("etag", b"x"),), body, (), origin)


@dataclass(frozen=True)
class Way:
    """How an exchange gets somewhere."""

    events: tuple[Event, ...] = ()
    policy: Policy = POLICY


WAYS: dict[State, Way] = {
    State.AWAITING_REQUEST: Way(),
    State.READING: Way((head(),), IN_BODY),
    State.CLAIMING: Way((head(),)),
    State.WAITING: Way((head(), InFlight(1)), WAITING),
    State.COMPARING: Way((head(), recorded(of=b"f" * 32))),
    State.HOLDING: Way((head(), taken_over(b"f" * 32))),
    State.FORWARDING: Way((head(), CLAIMED)),
    State.NOTING: Way((head(), CLAIMED, LAST_PIECE), RETRYING),
    State.AWAITING_RESPONSE: Way((head(body=False), CLAIMED)),
    State.CAPTURING_EARLY: Way((head(), CLAIMED, answer())),
    State.CAPTURING: Way((head(body=False), CLAIMED, answer())),
    State.EXECUTING: Way((head(body=False), CLAIMED), DETACHED),
    State.EXECUTING_ALONE: Way((head(body=False), CLAIMED, ENDED), DETACHED),
    State.SETTLING: Way((head(body=False), CLAIMED, answer(204, body=False))),
    State.PASSING: Way((head(WITHOUT_KEY),)),
    State.REPLYING: Way((head(body=False), recorded(LARGE, of=None))),
    State.ANSWERED: Way((head(body=False), InFlight(1))),
    State.SHADOWING: Way((head(), CLAIMED), SHADOW),
    State.SHADOWING_ALONE: Way((head(), ENDED), SHADOW),
    State.ABANDONED: Way((head(), ENDED)),
    State.SETTLING_ALONE: Way((head(), CLAIMED, ENDED)),
    State.CLOSED: Way((ENDED,)),
}
"""A way to each state."""


def at(state: State, tell: Teller) -> Story:
    """A story that has come to this state."""
    return tell(WAYS[state].policy).after(*WAYS[state].events)


SAMPLES: tuple[Event, ...] = (
    head(),
    RequestBody(b"x", end_of_stream=False),
    RequestTrailers(),
    answer(),
    ResponseBody(b"x", end_of_stream=False),
    ResponseTrailers(()),
    ENDED,
    CLAIMED,
    InFlight(1),
    recorded(of=None),
    Unknown(1, UnknownReason.LEASE_EXPIRED),
    ClaimFailed(unavailable=True),
    Settled(held=True),
    SettlingFailed(),
    RenewalDue(),
    Renewed(held=True),
    RenewalFailed(),
    Expired(),
    Noted(held=True),
    NotingFailed(),
    OwnerGone(),
    WaitFailed(),
    WaitOver(),
    executed(),
    ExecutionFailed(Failure.LOST),
    PieceFetched(b"x"),
    PieceLost(),
)
"""An event of each type."""


def replies(effects: Iterable[Effect], kind: type[Effect]) -> list[Effect]:
    """Those effects that are of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]


def record_of(*effects: object) -> Record:
    """The record that is to be kept."""
    (complete,) = (effect for effect in effects if isinstance(effect, Complete))
    return complete.record


def the_reply(story: Story) -> Reply:
    """What the client was answered here."""
    (reply,) = (effect for effect in story.seen if isinstance(effect, Reply))
    return reply


def assert_problem(reply: Reply, status: int, type_: str) -> None:
    """The reply is this problem (CONTRACT §4)."""
    document = json.loads(reply.body)
    assert reply.status == document["status"] == status
    assert document["type"] == f"urn:idempotency:{type_}"
    assert document["instance"] == "req-1"
    assert first(reply.headers, "content-type") == b"application/problem+json"
    assert reply.details == f"idempotency_{type_.replace('-', '_')}"


def assert_refused(story: Story, status: int, type_: str) -> Reply:
    """The client got this problem, it was counted, and the exchange is over but for its stream."""
    reply = the_reply(story)
    assert_problem(reply, status, type_)
    assert story.seen.count(story.count(type_.replace("-", "_"))) == 1
    assert story.state() is State.ANSWERED
    return reply
