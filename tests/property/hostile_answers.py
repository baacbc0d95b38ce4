"""What store and origin may say to what an exchange asked them, in whatever order it suits them."""

from hypothesis import strategies as st

from sidecar.exchange.effects import (
    AwaitOwner,
    Complete,
    Execute,
    FetchPiece,
    MarkUnknown,
    NoteFingerprint,
    Release,
    Renew,
    StoreEffect,
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
    Recorded,
    Unknown,
)
from sidecar.idempotency.body import HeldBody
from sidecar.idempotency.claim import UnknownPolicy, UnknownReason
from sidecar.idempotency.fingerprint import UNCOMPARABLE, Fingerprinter
from sidecar.idempotency.outcome import VIA_UPSTREAM
from sidecar.idempotency.policy import Policy
from sidecar.idempotency.problem import BodyInvalid
from sidecar.idempotency.record import Record
from sidecar.idempotency.request import Request
from tests.property.draws import NOTINGS, PIECES, RENEWALS, SETTLINGS, WAITS

_KEPT_BODIES = st.sampled_from([b"", b"kept", HeldBody((b"in ", b"two ", b"pieces"))])
_KEPT_TRAILERS = st.sampled_from([(), (("x-sum", b"1"),)])
_REFUSALS: st.SearchStrategy[Event] = st.sampled_from(
    [
        InFlight(1),
        InFlight(1),
        Unknown(1, UnknownReason.LEASE_EXPIRED),
        Expired(),
        ClaimFailed(unavailable=True),
        ClaimFailed(unavailable=False, asked=False),
    ]
)
_EXECUTIONS: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        Executed,
        st.sampled_from([201, 204, 502, 503]),
        st.just(()),
        _KEPT_BODIES | st.none(),
        _KEPT_TRAILERS,
        st.just(VIA_UPSTREAM),
    ),
    st.sampled_from(Failure).map(ExecutionFailed),
)
_ANSWERS: dict[type[StoreEffect | Execute], st.SearchStrategy[Event]] = {
    **dict.fromkeys((Complete, Release, MarkUnknown), SETTLINGS),
    Renew: RENEWALS,
    NoteFingerprint: NOTINGS,
    AwaitOwner: WAITS,
    FetchPiece: PIECES,
    Execute: _EXECUTIONS,
}


def answers_to(effect: StoreEffect | Execute, request: Request, policy: Policy) -> st.SearchStrategy[Event]:
    """What store or origin may say to what they were asked for this request."""
    if isinstance(effect, TakeClaim):
        return _claims(effect, request, policy)
    return _ANSWERS[type(effect)]


def last_word(effect: StoreEffect | Execute, request: Request, policy: Policy) -> st.SearchStrategy[Event]:
    """The same, where the owner of a claim is gone at last, so that nobody waits any longer."""
    return st.just(Claimed(1)) if isinstance(effect, TakeClaim) else answers_to(effect, request, policy)


def _claims(wanted: TakeClaim, request: Request, policy: Policy) -> st.SearchStrategy[Event]:
    """What may be said to a claim; some of what is recorded is of a payload that the peer may send."""
    same = [_fingerprint(request, policy, body) for body in (b"", b"x", b"xx")]
    of = st.sampled_from([*same, UNCOMPARABLE, b"f" * 32, None])
    records = st.builds(
        lambda of, body, trailers, replayable: Recorded(
            Record(201, (("content-type", b"a/b"),), body, trailers, of, replayable)
        ),
        of,
        _KEPT_BODIES,
        _KEPT_TRAILERS,
        st.booleans(),
    )
    first = st.just(Claimed(1))
    taken = st.builds(Claimed, st.just(2), of, taken_over=st.just(True))
    again = taken if wanted.unknown is UnknownPolicy.RETRY else first
    kinds: list[st.SearchStrategy[Event]] = [*[first] * 3, *[again] * 2, *[records] * 3, _REFUSALS]
    return st.sampled_from(kinds).flatmap(lambda drawn: drawn)


def _fingerprint(request: Request, policy: Policy, body: bytes) -> bytes:
    fingerprinter = Fingerprinter(policy.fingerprint, request)
    fingerprinter.feed(body)
    try:
        return fingerprinter.digest()
    except BodyInvalid:
        return b"f" * 32  # of another request: this one has none
