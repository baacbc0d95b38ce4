"""The origin listener's header and the attributes it stands for, both ways."""

from hypothesis import given
from hypothesis import strategies as st

from sidecar.idempotency.outcome import Origin, Outcome, OutcomeRules, judge
from sidecar.origin.provenance import FLAGS, PROVENANCE, provenance, without_provenance

WORDS = st.from_regex(r"[a-z_]+(\{[A-Za-z_|:,]*\})?", fullmatch=True)
ADDRESSES = st.none() | st.from_regex(r"(/[a-z ]*[a-z]\.sock|[0-9.]{7,15}:[0-9]{1,5})", fullmatch=True)
FLAG_SETS = st.sets(st.sampled_from(sorted(FLAGS)))
ATTEMPTS = st.integers(0, 9)


def written(flags: set[str], attempts: int, details: str | None, address: str | None) -> bytes:
    """As Envoy fills the header in."""
    return f"{','.join(sorted(flags)) or '-'} {attempts} {details or '-'} {address or ''}".encode()


@given(FLAG_SETS, ATTEMPTS, st.none() | WORDS, ADDRESSES)
def test_what_envoy_writes_is_read_back(
    flags: set[str], attempts: int, details: str | None, address: str | None
) -> None:
    value = written(flags, attempts, details, address)

    bits = sum(FLAGS[flag] for flag in flags)
    assert provenance(((PROVENANCE, value),)) == Origin(details, bits, address, attempts)


@given(FLAG_SETS, ATTEMPTS, WORDS, ADDRESSES, st.sampled_from(["ZZ", "uf", "U F", ""]))
def test_a_flag_that_nobody_knows_never_turns_an_outcome_into_a_release(
    flags: set[str], attempts: int, details: str, address: str | None, stranger: str
) -> None:
    known = provenance(((PROVENANCE, written(flags, attempts, details, address)),))
    mixed = provenance(((PROVENANCE, written({*flags, stranger}, attempts, details, address)),))

    outcomes = [judge(503, origin, OutcomeRules()).outcome for origin in (known, mixed)]
    assert outcomes[1] in {outcomes[0], Outcome.UNKNOWN}


@given(st.binary(max_size=200))
def test_no_value_of_the_header_is_an_error(value: bytes) -> None:
    origin = provenance(((PROVENANCE, value),))

    assert origin == Origin() or origin.attempts is not None
    assert without_provenance(((PROVENANCE, value),)) == ()
