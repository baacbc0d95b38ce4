"""Of a request's head, nothing that `Policies.reads` leaves out makes a difference to an exchange."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, TypeAlias

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from msgspec import structs

from sidecar.exchange.effects import TakeClaim
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    Event,
    InFlight,
    Noted,
    Recorded,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    StreamEnded,
)
from sidecar.exchange.machine import Exchange, ProtocolViolation
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.policy import (
    BodyMode,
    Execution,
    FingerprintSpec,
    KeyPlace,
    KeySource,
    Mode,
    Policies,
    Policy,
)
from sidecar.idempotency.record import Record
from sidecar.idempotency.request import ALWAYS_READ
from sidecar.idempotency.scope import ScopePart
from tests.unit.exchange.scenes import OWNER, answer, head

Events: TypeAlias = tuple[Event, Event, Event, Event]

OWN = ("x-tenant", "x-version", "authorization", "x-key")
"""Names that a policy may read."""
FIELDS = {
    "content-length": (b"3", b"0", b"none"),
    "content-type": (b"application/json", b"application/grpc", b"application/grpc-web", b"text/plain"),
    "idempotency-attempt": (b"7",),
    "idempotency-key": (b'"k"', b"k", b""),
    "upgrade": (b"websocket",),
    "connection": (b"x-tenant",),
    "te": (b"trailers",),
    "trailer": (b"x-sum",),
    "expect": (b"100-continue",),
    "x-request-id": (b"another",),
    "x-forwarded-for": (b"192.0.2.1",),
    **dict.fromkeys(OWN, (b"a", b"b")),
}
KEYS = st.sampled_from(
    [
        KeySource(),
        KeySource("x-key", required=True),
        KeySource("x-key", KeyPlace.QUERY),
        KeySource("/key", KeyPlace.JSON, Pointer.parse("/key")),
        KeySource(place=KeyPlace.DERIVED),
    ]
)
NAMES = st.lists(st.sampled_from(OWN), max_size=2, unique=True).map(tuple)
POLICIES = st.builds(
    lambda key, scope, headers, mode, body, unknown: Policy(
        "drawn",
        key=key,
        scope=(ScopePart.HOST, *map(ScopePart.header, scope)),
        fingerprint=FingerprintSpec(body=body, headers=headers),
        mode=mode,
        unknown=unknown,
    ),
    KEYS,
    NAMES,
    NAMES,
    st.sampled_from([Mode.ENFORCE, Mode.SHADOW]),
    st.sampled_from([BodyMode.RAW, BodyMode.JSON, BodyMode.FORM]),
    st.sampled_from(UnknownPolicy),
)
HEADS = st.builds(
    lambda fields, body: head(tuple(fields), body=body, target="/pay?x-key=q"),
    st.lists(
        st.sampled_from([(name, value) for name, values in FIELDS.items() for value in values]), max_size=8
    ),
    body=st.booleans(),
)
EVENTS = st.tuples(
    st.sampled_from(
        [
            Claimed(1),
            Claimed(2, b"f" * 32, taken_over=True),
            Recorded(Record(200, (), b"x", (), b"f" * 32)),
            InFlight(5),
            ClaimFailed(unavailable=True),
        ]
    ),
    st.sampled_from([RequestBody(b"a=1", end_of_stream=end) for end in (False, True)]),
    st.sampled_from([Noted(held=True), answer(), answer(503)]),
    st.sampled_from([ResponseBody(b"abc", end_of_stream=True), StreamEnded()]),
)
"""What may come after the head, of which the claim's answer comes first."""


@settings(max_examples=1000)
@given(POLICIES, HEADS, EVENTS)
def test_what_is_not_read_of_a_head_makes_no_difference(
    policy: Policy, begun: RequestHeaders, events: Events
) -> None:
    reads = Policies((policy,)).reads
    assert reads is not None
    assert not makes_a_difference(policy, begun, events, lambda name: name not in reads)


class Watched(str):
    """A name that keeps what it is compared with."""

    __slots__ = ()
    __hash__ = str.__hash__
    asked: ClassVar[set[object]] = set()

    def __eq__(self, other: object) -> bool:
        self.asked.add(other)
        return str.__eq__(self, other)


@settings(max_examples=1000)
@given(POLICIES, HEADS, EVENTS)
def test_no_other_field_of_a_head_is_looked_for(
    policy: Policy, begun: RequestHeaders, events: Events
) -> None:
    request, reads = begun.request, Policies((policy,)).reads
    fields = tuple((Watched(name), value) for name, value in request.headers)
    Watched.asked.clear()
    story(policy, structs.replace(begun, request=structs.replace(request, headers=fields)), events)

    assert reads is not None
    assert Watched.asked <= reads
    if fields:
        assert Watched.asked


@pytest.mark.parametrize("name", sorted((*ALWAYS_READ - {"x-request-id"}, "idempotency-key", "x-tenant")))
def test_what_is_read_makes_one(name: str) -> None:
    """Not the request's id, which is read to be told on."""
    reading = Policy("reading", scope=(ScopePart.header("x-tenant"),))
    find(
        st.tuples(HEADS, EVENTS),
        lambda drawn: makes_a_difference(reading, drawn[0], drawn[1], lambda of: of == name),
        settings=settings(max_examples=5000, database=None),
    )


def test_all_of_it_is_read_where_a_call_is_detached() -> None:
    inline = Policy("inline")
    assert Policies((inline, replace(inline, execution=Execution.DETACHED))).reads is None


def makes_a_difference(
    policy: Policy, begun: RequestHeaders, events: Events, left_out: Callable[[str], bool]
) -> bool:
    """Whether an exchange goes otherwise without some of the fields of its head."""
    request = begun.request
    fields = tuple(field for field in request.headers if not left_out(field[0]))
    rest = structs.replace(begun, request=structs.replace(request, headers=fields))
    return story(policy, begun, events) != story(policy, rest, events)


def story(policy: Policy, begun: RequestHeaders, events: Events) -> list[object]:
    """What an exchange does, event by event, the store answering its claim at once; None: a violation."""
    exchange, told = Exchange(Policies((policy,)), OWNER), list[object]()
    claim_answer, *rest = events
    coming: deque[Event] = deque((begun, *rest))
    while coming:
        try:
            effects = exchange.handle(coming.popleft())
        except ProtocolViolation:
            told.append(None)
            continue
        told.append(effects)
        if any(isinstance(effect, TakeClaim) for effect in effects):
            coming.appendleft(claim_answer)
    return told
