"""Random walks of an exchange: a peer that keeps Envoy's order, a store that answers anything, any ending.

The walker knows the protocol from the outside only, and holds every effect against it.
"""

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.exchange.effects import (
    Complete,
    Count,
    CountOutcome,
    Effect,
    ForwardRequest,
    MarkUnknown,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
    Release,
    Renew,
    RenewLater,
    Reply,
    TakeClaim,
)
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
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Settled,
    SettlingFailed,
    StreamEnded,
    Unknown,
)
from sidecar.exchange.machine import Exchange, ProtocolViolation
from sidecar.exchange.states import TABLE, State
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.policy import Policies
from sidecar.idempotency.record import Record
from tests.unit.exchange.scenes import (
    OWNER,
    POLICY,
    REFUSED,
    SAMPLES,
    TIMEOUT,
    UPSTREAM,
    WITH_KEY,
    WITHOUT_KEY,
    fingerprint,
    head,
)

LIMIT = POLICY.max_response_body
ANSWERS: dict[str, tuple[type[Effect], ...]] = {
    "request head": (PassRequest, ForwardRequest, ReadRequestBody, Reply),
    "request body": (PassRequestBody,),
    "request trailers": (PassRequestTrailers,),
    "response head": (PassResponseHeaders,),
    "response body": (PassResponseBody,),
    "response trailers": (PassResponseTrailers,),
}
OF_RESPONSE = (PassResponseHeaders, PassResponseBody, PassResponseTrailers)
DATA = st.sampled_from([b"", b"x", b"yz", b"0123456789", b"0" * (LIMIT + 1)])
FORGED: Fields = (("idempotent-replayed", b"true"), ("idempotency-attempt", b"9"))
RESPONSE_HEADS = st.builds(
    lambda status, origin, fields, end: ResponseHeaders(status, sum(fields, ()), origin, end_of_stream=end),
    st.sampled_from([200, 201, 204, 404, 429, 500, 502, 503, 504]),
    st.sampled_from([UPSTREAM, UPSTREAM, UPSTREAM, TIMEOUT, REFUSED]),
    st.tuples(
        st.just(()) | st.integers(0, LIMIT + 1).map(lambda n: (("content-length", str(n).encode()),)),
        st.sampled_from([(), FORGED]),
    ),
    st.booleans(),
)


SETTLINGS: st.SearchStrategy[Event] = st.sampled_from(
    [Settled(held=True), Settled(held=False), SettlingFailed()]
)
RENEWALS: st.SearchStrategy[Event] = st.sampled_from(
    [Renewed(held=True), Renewed(held=False), RenewalFailed()]
)
ENDS = st.integers(0, 11).map(lambda drawn: drawn == 0)


def claim_answers(of: bytes) -> st.SearchStrategy[Event]:
    """What a store may say to a claim; its record is of a request with this fingerprint, or of another."""
    records = st.builds(
        lambda fingerprint, kept: Recorded(
            Record(
                201, (), b"done" if kept and fingerprint else b"", (), fingerprint, bool(kept and fingerprint)
            )
        ),
        st.sampled_from([of, b"f" * 32, None]),
        st.booleans(),
    )
    claimed = st.integers(1, 3).map(Claimed)
    refused = st.sampled_from(
        [
            InFlight(1),
            Unknown(1, UnknownReason.LEASE_EXPIRED),
            ClaimFailed(unavailable=True),
            ClaimFailed(unavailable=False),
        ]
    )
    return st.one_of(claimed, claimed, claimed, refused, records)


class Walk:
    """Envoy, the store and the clock, each doing what it may do next, drawn from `data`."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        policies = Policies((POLICY,), bypass_when_unavailable=data.draw(st.booleans()))
        self.exchange, self.twin = Exchange(policies, OWNER), Exchange(policies, OWNER)
        self.unanswered: list[str] = []
        self.ended = self.replied = self.full_duplex = False
        self.request_begun = self.request_over = False
        self.response_begun = self.response_over = self.watched = False
        self.body = b""
        self.announced: int | None = None
        self.asked_claim = self.held = self.settling = self.settled = False
        self.claim_failed = self.bypassed = False
        self.takes = self.renewals = self.timers = 0
        self.outcomes: list[Outcome] = []
        self.counted = 0
        self.records: list[Record] = []

    def step(self) -> bool:
        """Let one of them do something; False where nothing can happen any more."""
        moves = [move for move, possible in self.moves() if possible]
        if not self.ended and (not moves or self.data.draw(ENDS, "the stream ends")):
            moves = [self.stream_ends]
        if not moves:
            return False
        self.data.draw(st.sampled_from(moves))()
        self.check_moment()
        return True

    def moves(self) -> tuple[tuple[Callable[[], None], bool], ...]:
        """Everything that may happen, and whether it may happen now."""
        opening = not (self.ended or self.request_begun or self.response_begun)
        return (
            (self.sends_request_head, opening),
            (self.sends_request_body, self.may_send_request()),
            (self.sends_request_trailers, self.may_send_request()),
            (self.sends_response_head, self.may_send_response_head()),
            (self.sends_response_body, self.may_send_response()),
            (self.sends_response_trailers, self.may_send_response()),
            (self.store_answers_claim, self.asked_claim),
            (self.store_answers_settling, self.settling),
            (self.store_answers_renewal, self.renewals > 0),
            (self.timer_rings, self.timers > 0),
        )

    # --- What Envoy may do

    def sends_request_head(self) -> None:
        body = self.data.draw(st.booleans(), "has a body")
        fields = self.data.draw(st.sampled_from([WITH_KEY, WITH_KEY, WITH_KEY, WITHOUT_KEY]))
        fields += self.data.draw(st.sampled_from([(), FORGED]))
        self.request_begun, self.request_over = True, not body
        self.begun = head(fields, body=body)
        self.sends("request head", self.begun)

    def sends_request_body(self) -> None:
        event = RequestBody(self.data.draw(DATA), self.data.draw(st.booleans()))
        self.request_over = event.end_of_stream
        self.sends("request body", event)

    def sends_request_trailers(self) -> None:
        self.request_over = True
        self.sends("request trailers", RequestTrailers())

    def sends_response_head(self) -> None:
        event = self.data.draw(RESPONSE_HEADS)
        self.response_begun, self.response_over = True, event.end_of_stream
        length = first(event.headers, "content-length")
        self.announced = None if length is None else int(length)
        self.sends("response head", event)

    def sends_response_body(self) -> None:
        event = ResponseBody(self.data.draw(DATA), self.data.draw(st.booleans()))
        self.response_over = event.end_of_stream
        self.body += event.data
        self.sends("response body", event)

    def sends_response_trailers(self) -> None:
        self.response_over = True
        self.sends("response trailers", ResponseTrailers((("sum", b"1"),)))

    def stream_ends(self) -> None:
        self.ended = True
        self.unanswered.clear()
        self.hear(StreamEnded())

    # --- What the store and the clock may do

    def store_answers_claim(self) -> None:
        self.asked_claim = False
        event = self.data.draw(claim_answers(fingerprint(self.begun)))
        self.held, self.claim_failed = isinstance(event, Claimed), isinstance(event, ClaimFailed)
        self.hear(event)

    def store_answers_settling(self) -> None:
        self.settling, self.settled = False, True
        self.hear(
            self.data.draw(st.sampled_from([Settled(held=True), Settled(held=False), SettlingFailed()]))
        )

    def store_answers_renewal(self) -> None:
        self.renewals -= 1
        self.hear(self.data.draw(RENEWALS))

    def timer_rings(self) -> None:
        self.timers -= 1
        self.hear(RenewalDue())

    # --- What order Envoy keeps

    def may_send_request(self) -> bool:
        """After its head was answered (with a wish for more), until its end."""
        shown = self.request_begun and not self.request_over and not self.ended
        return shown and "request head" not in self.unanswered and (self.watched or self.full_duplex)

    def may_send_response_head(self) -> bool:
        """Alone on its stream, or to a request that was forwarded and is watched."""
        if self.ended or self.response_begun:
            return False
        return not self.request_begun or self.watched

    def may_send_response(self) -> bool:
        """After its head was let go with a wish for more, until its end."""
        shown = self.response_begun and not self.response_over and not self.ended
        return shown and self.watched and "response head" not in self.unanswered

    # --- What must hold of every effect

    def sends(self, message: str, event: Event) -> None:
        """A message that wants an answer, save in full duplex."""
        if not (self.full_duplex and message.startswith("request")):
            self.unanswered.append(message)
        self.hear(event)

    def hear(self, event: Event) -> None:
        """Both twins do the same, and every effect is allowed where it comes."""
        effects = self.exchange.handle(event)
        assert effects == self.twin.handle(event), "the same events gave other effects"
        for effect in effects:
            self.check(effect)

    def check(self, effect: Effect) -> None:
        match effect:
            case TakeClaim():
                self.takes += 1
                self.asked_claim = True
            case Complete() | Release() | MarkUnknown():
                self.check_settling(effect)
            case Renew(claim=claim):
                assert self.held
                assert not self.settling
                assert not self.settled
                assert claim.owner == OWNER
                self.renewals += 1
            case RenewLater(after_ms=after_ms):
                assert 0 < after_ms < POLICY.lease_ms
                assert self.timers + self.renewals == 0, "two renewals at once"
                self.timers += 1
            case Count():
                self.counted += 1
            case CountOutcome(outcome=outcome):
                assert self.settled
                self.outcomes.append(outcome)
            case _:
                self.check_answer(effect)

    def check_settling(self, effect: Complete | Release | MarkUnknown) -> None:
        assert not self.settling, "two settlements at once"
        assert not self.settled, "settled twice"
        self.settling = True
        if isinstance(effect, Complete):
            assert self.held, "a record without a claim"
            whole = self.announced is not None and len(self.body) >= self.announced
            assert self.response_over or whole, "a record of half a response"
            self.check_record(effect.record)

    def check_record(self, record: Record) -> None:
        self.records.append(record)
        assert len(record.body) <= LIMIT
        if record.replayable:
            assert record.body == self.body
            assert record.fingerprint is not None
        else:
            assert record.body == b""
            assert len(self.body) > LIMIT or record.fingerprint is None
        assert not {"idempotent-replayed"} & {name for name, _ in record.headers}

    def check_answer(self, effect: Effect) -> None:
        assert not self.ended, "an answer after the end of the stream"
        assert not self.replied, "an answer after the reply"
        if isinstance(effect, OF_RESPONSE) and self.held:
            assert not self.settling, "the end of a response before its outcome was kept"
        if not (isinstance(effect, Reply) and self.full_duplex):
            answered = next(m for m in self.unanswered if isinstance(effect, ANSWERS[m]))
            # In its own direction, each answer is for the oldest message.
            direction = answered.split()[0]
            assert next(m for m in self.unanswered if m.startswith(direction)) == answered
            self.unanswered.remove(answered)
        match effect:
            case ForwardRequest():
                assert self.held, "forwarded without a claim"
                self.watched = True
            case PassRequest(remove=remove):
                assert not self.held
                self.bypassed = self.claim_failed
                assert ("idempotency-attempt" in remove) == (FORGED[1] in self.begun.request.headers)
            case ReadRequestBody():
                self.full_duplex = True
            case PassResponseHeaders(more=more):
                self.watched = more
            case Reply():
                self.replied = True
            case _:
                pass

    def run_out(self) -> None:
        """A long walk is brought to its end: the stream's, then the store's answers."""
        if not self.ended:
            self.stream_ends()
        while self.asked_claim or self.settling or self.renewals:
            for move in (self.store_answers_claim, self.store_answers_settling, self.store_answers_renewal):
                if (move, True) in self.moves():
                    move()

    # --- What must hold at every moment, and at the end

    def check_moment(self) -> None:
        if self.unanswered and not self.ended:
            assert self.asked_claim or self.settling, f"{self.unanswered} without an answer"
        assert self.takes <= 1
        assert len(self.outcomes) <= 1
        assert self.counted <= 1
        assert len(self.records) <= 1
        capture = getattr(self.exchange, "_capture", None)
        if capture is not None:
            assert sum(map(len, capture._kept or ())) <= LIMIT

    def check_end(self) -> None:
        """Nothing can happen any more: the exchange is over, and every claim that was taken is settled."""
        assert self.exchange.state is State.CLOSED
        assert self.settled or not self.held, "a claim that was never settled"
        assert len(self.outcomes) == self.held
        if self.claim_failed and not self.bypassed:
            assert self.settled, "a claim that may stand was not dropped"


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_whatever_envoy_the_store_and_the_clock_do_every_promise_holds(data: st.DataObject) -> None:
    walk = Walk(data)
    for _ in range(60):
        if not walk.step():
            break
    else:
        walk.run_out()
    walk.check_end()


@settings(max_examples=300)
@given(st.lists(st.sampled_from(SAMPLES), max_size=12))
def test_events_in_an_order_no_peer_keeps_are_violations_and_nothing_worse(events: list[Event]) -> None:
    exchange, twin = Exchange(Policies((POLICY,)), OWNER), Exchange(Policies((POLICY,)), OWNER)

    for event in events:
        before = exchange.state
        if (before, type(event)) in TABLE:
            assert exchange.handle(event) == twin.handle(event)
            continue
        try:
            exchange.handle(event)
        except ProtocolViolation:
            assert exchange.state is before
        else:
            raise AssertionError(f"{event} was taken while {before.name}")
