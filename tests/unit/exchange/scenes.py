"""What the stories of an exchange are told with: a policy, messages, and a teller that notes each step."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from sidecar.exchange.effects import Count, CountOutcome, Effect, PassResponseHeaders, TakeClaim
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    Event,
    InFlight,
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
)
from sidecar.exchange.machine import Exchange
from sidecar.exchange.states import State
from sidecar.idempotency.claim import Claim, UnknownReason
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.fingerprint import Fingerprinter
from sidecar.idempotency.outcome import Origin, Outcome
from sidecar.idempotency.policy import Policies, Policy
from sidecar.idempotency.record import Record
from sidecar.idempotency.request import Request

POLICY = Policy("payments", lease_ms=30_000, max_response_body=16)
OWNER = "owner-1"
UPSTREAM = Origin("via_upstream", 0, "10.0.0.1:80", 1)
TIMEOUT = Origin("response_timeout", 4, "10.0.0.1:80", 1)
REFUSED = Origin("upstream_reset_before_response_started{remote_connection_failure}", 32, "10.0.0.1:80", 1)

WITHOUT_KEY: Fields = (("content-type", b"application/json"),)
WITH_KEY: Fields = (*WITHOUT_KEY, ("idempotency-key", b'"k1"'))

ENDED = StreamEnded()
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
    body: bytes = b"done",
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
        return replace(self.claim, attempt=attempt)

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

    def __call__(self, policy: Policy | None = POLICY, *, bypass: bool = False) -> Story:
        """A new exchange under one policy, or under none."""
        policies = Policies(() if policy is None else (policy,), bypass_when_unavailable=bypass)
        return Story(Exchange(policies, OWNER), self.walked)


TellStory: TypeAlias = Callable[[Teller], None]

CLAIMED = Claimed(1)

WAYS: dict[State, tuple[Event, ...]] = {
    State.AWAITING_REQUEST: (),
    State.CLAIMING: (head(),),
    State.COMPARING: (head(), recorded(of=b"f" * 32)),
    State.FORWARDING: (head(), CLAIMED),
    State.AWAITING_RESPONSE: (head(body=False), CLAIMED),
    State.CAPTURING_EARLY: (head(), CLAIMED, answer()),
    State.CAPTURING: (head(body=False), CLAIMED, answer()),
    State.SETTLING: (head(body=False), CLAIMED, answer(204, body=False)),
    State.PASSING: (head(WITHOUT_KEY),),
    State.ANSWERED: (head(body=False), InFlight(1)),
    State.ABANDONED: (head(), ENDED),
    State.SETTLING_ALONE: (head(), CLAIMED, ENDED),
    State.CLOSED: (ENDED,),
}
"""A way to each state."""

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
)
"""An event of each type."""


def replies(effects: Iterable[Effect], kind: type[Effect]) -> list[Effect]:
    """Those effects that are of one kind."""
    return [effect for effect in effects if isinstance(effect, kind)]
