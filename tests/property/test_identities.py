"""Ids, fingerprints and keys: equal exactly where what they stand for is equal."""

import itertools
from collections.abc import Iterable

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from sidecar.idempotency.fields import Fields, values
from sidecar.idempotency.fingerprint import Fingerprinter
from sidecar.idempotency.key import find_key
from sidecar.idempotency.policy import BodyMode, FingerprintSpec, KeyFormat, KeySource
from sidecar.idempotency.problem import KeyInvalid
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import ScopePart, record_id

# Few letters, so that values often nearly meet.
NARROW = st.text("ab", max_size=3)
VALUE = st.binary(max_size=3) | NARROW.map(str.encode)
NAMES = ("a", "b", "ab")
FIELDS = st.lists(st.tuples(st.sampled_from(NAMES), VALUE), max_size=3).map(tuple)
TARGET = st.builds(
    lambda path, query: f"/{path}" if query is None else f"/{path}?{query}", NARROW, st.none() | NARROW
)
REQUESTS = st.builds(
    lambda method, host, target, fields: Request.from_target(method, host, target, fields, ""),
    st.sampled_from(["POST", "PATCH"]),
    NARROW,
    TARGET,
    FIELDS,
)
PARTS = st.lists(
    st.sampled_from([ScopePart.HOST, ScopePart.METHOD, ScopePart.PATH, *map(ScopePart.header, NAMES)]),
    max_size=4,
).map(tuple)
KEYS = st.text("ab", min_size=1, max_size=3)


def scope_values(parts: Iterable[ScopePart], request: Request) -> list[object]:
    """What the scope consists of, told apart by type and nesting rather than by framing."""
    found: list[object] = []
    for part in parts:
        match part.kind:
            case "host":
                found.append(request.authority)
            case "method":
                found.append(request.method)
            case "path":
                found.append(request.path)
            case _:
                found.append([value for name, value in request.headers if name == part.name])
    return found


@settings(max_examples=300)
@given(PARTS, REQUESTS, KEYS, REQUESTS, KEYS)
def test_ids_are_equal_exactly_where_scope_and_key_are(
    parts: tuple[ScopePart, ...], one: Request, key: str, other: Request, other_key: str
) -> None:
    same = (scope_values(parts, one), key) == (scope_values(parts, other), other_key)

    assert (record_id(parts, one, key) == record_id(parts, other, other_key)) == same


@given(PARTS, PARTS, REQUESTS, KEYS)
def test_different_scopes_never_share_an_id(
    parts: tuple[ScopePart, ...], other: tuple[ScopePart, ...], request: Request, key: str
) -> None:
    assume(parts != other)

    assert record_id(parts, request, key) != record_id(other, request, key)


@given(st.binary(max_size=12), st.data())
def test_cutting_one_text_into_two_values_at_another_place_gives_another_id(
    text: bytes, data: st.DataObject
) -> None:
    cuts = st.integers(0, len(text))
    cut, other = data.draw(cuts), data.draw(cuts)
    parts = (ScopePart.header("a"), ScopePart.header("b"))

    def id_at(place: int) -> str:
        fields = (("a", text[:place]), ("b", text[place:]))
        return record_id(parts, Request("POST", "", "/", None, fields), "k")

    assert (id_at(cut) == id_at(other)) == (cut == other)


def pieces_of(body: bytes, cuts: list[int]) -> list[bytes]:
    """The body, cut at these places."""
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(places)]


def fingerprint(spec: FingerprintSpec, request: Request, pieces: Iterable[bytes]) -> bytes:
    fingerprinter = Fingerprinter(spec, request)
    for piece in pieces:
        fingerprinter.feed(piece)
    return fingerprinter.digest()


SPECS = st.builds(
    FingerprintSpec,
    body=st.sampled_from([BodyMode.RAW, BodyMode.NONE]),
    query=st.booleans(),
    headers=st.lists(st.sampled_from(NAMES), unique=True, max_size=3).map(tuple),
)
BODIES = st.binary(max_size=6)
CUTS = st.lists(st.integers(0, 6), max_size=4)


def payload(spec: FingerprintSpec, request: Request, body: bytes) -> tuple[object, ...]:
    """What must be equal for two requests to be the same."""
    headers: list[Fields | tuple[bytes, ...]] = [values(request.headers, name) for name in spec.headers]
    return (
        request.method,
        request.path,
        request.query if spec.query else "",
        headers,
        body if spec.body is BodyMode.RAW else b"",
    )


SENT = st.tuples(REQUESTS, BODIES, CUTS)


@settings(max_examples=300)
@given(SPECS, SENT, SENT)
def test_fingerprints_are_equal_exactly_where_the_payloads_are_however_the_body_was_cut(
    spec: FingerprintSpec, sent: tuple[Request, bytes, list[int]], again: tuple[Request, bytes, list[int]]
) -> None:
    (one, body, cuts), (other, other_body, other_cuts) = sent, again
    same = payload(spec, one, body) == payload(spec, other, other_body)

    ours = fingerprint(spec, one, pieces_of(body, cuts))
    theirs = fingerprint(spec, other, pieces_of(other_body, other_cuts))
    assert (ours == theirs) == same


@given(SPECS, REQUESTS, BODIES, CUTS, CUTS)
def test_the_same_payload_has_one_fingerprint_however_it_is_cut(
    spec: FingerprintSpec, request: Request, body: bytes, cuts: list[int], other_cuts: list[int]
) -> None:
    ours = fingerprint(spec, request, pieces_of(body, cuts))

    assert ours == fingerprint(spec, request, pieces_of(body, other_cuts))
    assert ours == fingerprint(spec, request, [body])


VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
BARE = st.text("".join(c for c in VISIBLE if c not in '",;\\'), min_size=1, max_size=255)
PRINTABLE = st.text(" " + VISIBLE, min_size=1, max_size=255)
LENIENT, STRICT = KeySource(), KeySource(format=KeyFormat.STRICT)


def quoted(key: str) -> bytes:
    """As a String of RFC 9651 §4.1.6."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'.encode()


def found(raw: bytes, source: KeySource) -> str | None:
    return find_key((("idempotency-key", raw),), source)


@given(BARE)
def test_with_and_without_quotes_it_is_the_same_key(key: str) -> None:
    assert found(quoted(key), LENIENT) == found(key.encode(), LENIENT) == key


@given(PRINTABLE)
def test_every_printable_key_can_be_given_in_quotes(key: str) -> None:
    assert found(quoted(key), LENIENT) == found(quoted(key), STRICT) == key


@given(st.binary(max_size=20) | st.text('ab"\\;=, ?:@(%', max_size=8).map(str.encode))
@example(b'"a";b=@1')
@example(b'"a";b=:!:')
@example(b'"a";b=' + b"9" * 5_000)
@example(b'"a";b=%"%zz"')
@example(b'"a";b=@99999999999999')
def test_whatever_stands_in_the_header_it_is_a_key_or_refused(raw: bytes) -> None:
    for source in (LENIENT, STRICT):
        try:
            key = found(raw, source)
        except KeyInvalid:
            continue
        assert key is not None
        assert 0 < len(key) <= source.max_length
        assert all(" " <= character <= "~" for character in key)


@given(st.binary(max_size=20) | PRINTABLE.map(quoted))
def test_what_strict_takes_lenient_takes_alike(raw: bytes) -> None:
    try:
        key = found(raw, STRICT)
    except KeyInvalid:
        return
    assert found(raw, LENIENT) == key
