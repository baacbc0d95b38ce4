"""What the walks of an exchange draw from: policies, requests, what store, origin and upstream may say."""

from dataclasses import dataclass, replace

from hypothesis import strategies as st
from msgspec import structs

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
    RenewalFailed,
    Renewed,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseHeaders,
    Settled,
    SettlingFailed,
    Unknown,
    WaitFailed,
)
from sidecar.idempotency.claim import UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.policy import BodyMode, Execution, FingerprintSpec, InProgress, Policy
from sidecar.idempotency.record import Record
from tests.unit.exchange.scenes import (
    GRPC,
    GRPC_WITH_KEY,
    LARGE,
    POLICY,
    REFUSED,
    TIMEOUT,
    UPSTREAM,
    WITH_KEY,
    WITHOUT_KEY,
    fingerprint,
    framed,
    head,
)

LIMIT = POLICY.max_response_body
OTHER = b"f" * 32
FORGED: Fields = (("idempotent-replayed", b"true"), ("idempotency-attempt", b"9"))
LONGEST = LIMIT + 1
DATA = st.sampled_from([b"", b"x", b"yz", b"0123456789", b"0" * LONGEST])
MESSAGE = framed(b"m")
MESSAGES = st.sampled_from(
    [MESSAGE, MESSAGE, MESSAGE, b"", MESSAGE[:3], MESSAGE[3:], MESSAGE * 2, framed(b"0" * (LONGEST - 5))]
)
"""What pieces of a gRPC body may be: whole messages, parts of them, several."""

POLICIES = st.builds(
    lambda unknown, execution, wait_ms, body, limit, bypass: replace(
        POLICY,
        unknown=unknown,
        execution=execution,
        in_progress=InProgress(wait_ms=wait_ms),
        fingerprint=FingerprintSpec(body=body),
        max_request_body=limit,
        tombstone_ms=1_000,
        bypass_when_unavailable=bypass,
    ),
    st.sampled_from(UnknownPolicy),
    st.sampled_from(Execution),
    st.sampled_from([0, 10_000]),
    st.sampled_from([BodyMode.RAW, BodyMode.RAW, BodyMode.NONE]),
    st.sampled_from([2, 100, 100]),
    st.booleans(),
)


@dataclass(frozen=True)
class Sent:
    """A request, and the messages that Envoy will show of it where it is asked to."""

    begun: RequestHeaders
    rest: tuple[RequestBody | RequestTrailers, ...]

    @property
    def is_call(self) -> bool:
        """Whether it is a gRPC call."""
        return self.begun.request.is_grpc

    @property
    def body(self) -> bytes:
        """All of its body."""
        return b"".join(piece.data for piece in self.rest if isinstance(piece, RequestBody))

    def fingerprint(self, policy: Policy) -> bytes:
        """Of all of it."""
        return fingerprint(self.begun, self.body, policy=policy)


def _sent(fields: Fields, pieces: list[bytes], *, body: bool, announced: bool, trailers: bool) -> Sent:
    if not body:
        return Sent(head(fields, body=False), ())
    if announced:
        fields = (*fields, ("content-length", str(sum(map(len, pieces))).encode()))
    ends = [False] * len(pieces[:-1]) + [not trailers]
    rest = tuple(RequestBody(data, end) for data, end in zip(pieces, ends, strict=True))
    return Sent(head(fields), (*rest, RequestTrailers()) if trailers else rest)


_CALLS = st.builds(
    _sent,
    st.sampled_from([GRPC_WITH_KEY] * 15 + [GRPC]),
    st.lists(MESSAGES, min_size=1, max_size=3),
    body=st.sampled_from([True] * 9 + [False]),
    announced=st.sampled_from([False, False, True]),
    trailers=st.sampled_from([False] * 5 + [True]),
)
_PLAIN_REQUESTS = st.builds(
    _sent,
    st.tuples(st.sampled_from([WITH_KEY] * 15 + [WITHOUT_KEY]), st.sampled_from([(), FORGED])).map(
        lambda parts: parts[0] + parts[1]
    ),
    st.lists(DATA, min_size=1, max_size=4),
    body=st.sampled_from([True, True, False]),
    announced=st.booleans(),
    trailers=st.booleans(),
)


def _configured(sent: Sent, modes: tuple[bool, bool]) -> Sent:
    """The same through a filter that is configured to exchange the request's, or the response's, body so."""
    request, response = modes
    return Sent(structs.replace(sent.begun, request_duplex=request, response_duplex=response), sent.rest)


_MODES = st.sampled_from([*[(False, False)] * 3, (True, True), (True, False)])
"""Whether request and response bodies go in full duplex: for Envoys since 1.40, since 1.37, for 1.36."""
REQUESTS = st.builds(_configured, st.one_of(_PLAIN_REQUESTS, _CALLS), _MODES)

_STATUSES = st.sampled_from([200, 201, 202, 204, 400, 404, 429, 500, 502, 503, 504])
_ORIGINS = st.sampled_from([*[UPSTREAM] * 6, TIMEOUT, REFUSED])
RESPONSE_HEADS = st.builds(
    lambda status, origin, fields, end: ResponseHeaders(status, sum(fields, ()), origin, end_of_stream=end),
    _STATUSES,
    _ORIGINS,
    st.tuples(
        st.just(()) | st.integers(0, LIMIT + 1).map(lambda n: (("content-length", str(n).encode()),)),
        st.sampled_from([(), FORGED]),
    ),
    st.sampled_from([False, False, True]),
)
CALL_STATUSES = st.sampled_from([b"0", b"0", b"5", b"13", b"14", b"99", None]).map(
    lambda status: () if status is None else (("grpc-status", status),)
)
"""What the trailers of a call say of its end."""
CALL_HEADS = st.builds(
    lambda status, origin, told, length, end: ResponseHeaders(
        status, (*GRPC, *length, *(told if end else ())), origin, end_of_stream=end
    ),
    st.sampled_from([200] * 7 + [404, 502, 503]),
    _ORIGINS,
    CALL_STATUSES,
    st.sampled_from([(), (), (("content-length", b"6"),)]),
    st.sampled_from([False, False, True]),
)
EXECUTIONS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Executed,
        _STATUSES,
        st.sampled_from([(), FORGED]),
        st.sampled_from([b"", b"done", b"0" * LIMIT, None]),
        st.sampled_from([(), (("sum", b"1"),)]),
        _ORIGINS,
    ),
    st.sampled_from(Failure).map(ExecutionFailed),
)

SETTLINGS: st.SearchStrategy[Event] = st.sampled_from(
    [Settled(held=True), Settled(held=False), SettlingFailed()]
)
RENEWALS: st.SearchStrategy[Event] = st.sampled_from(
    [Renewed(held=True), Renewed(held=True), Renewed(held=False), RenewalFailed()]
)
NOTINGS: st.SearchStrategy[Event] = st.sampled_from(
    [*[Noted(held=True)] * 4, Noted(held=False), NotingFailed()]
)
PIECES: st.SearchStrategy[Event] = st.sampled_from([*[PieceFetched(b"piece")] * 5, PieceLost()])
WAITS: st.SearchStrategy[Event] = st.sampled_from([OwnerGone(), OwnerGone(), OwnerGone(), WaitFailed()])


def claim_answers(sent: Sent, policy: Policy, *, again: bool) -> st.SearchStrategy[Event]:
    """What a store may say to a claim; what it knows is of this request, of another, or of none.

    `again`: it has met an owner before.
    """
    of = st.sampled_from([sent.fingerprint(policy), sent.fingerprint(policy), OTHER, None])
    records = st.builds(
        lambda fingerprint, headers, body, trailers: Recorded(
            Record(
                201, headers, body if fingerprint else b"", trailers, fingerprint, bool(body and fingerprint)
            )
        ),
        of,
        st.sampled_from([(), (("set-cookie", b"a=1"), ("set-cookie", b"b=2"))]),
        st.sampled_from([b"", b"done", LARGE]),
        st.sampled_from([(), (("sum", b"1"),)]),
    )
    claimed = st.integers(1, 3).map(Claimed)
    noted = of | st.just(UNCOMPARABLE)
    taken = st.builds(Claimed, st.integers(2, 4), noted, taken_over=st.just(True))
    retried = taken if policy.unknown is UnknownPolicy.RETRY else claimed
    refused: st.SearchStrategy[Event] = st.sampled_from(
        [
            Unknown(1, UnknownReason.LEASE_EXPIRED),
            Expired(),
            ClaimFailed(unavailable=True),
            ClaimFailed(unavailable=True, asked=False),
            ClaimFailed(unavailable=False),
        ]
    )
    # `one_of` would draw alike what is named twice.
    in_flight = st.just(InFlight(1))
    weighted: list[st.SearchStrategy[Event]] = [
        *[claimed] * 4,
        *[retried] * 4,
        *[in_flight] * 2,
        *[records] * 2,
        *[refused] * (9 if again else 1),
    ]
    return st.sampled_from(weighted).flatmap(lambda drawn: drawn)
