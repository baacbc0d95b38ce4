"""Which forms of an idempotency key are accepted, and that a refusal never repeats the key."""

import pytest

from sidecar.idempotency.fields import Fields
from sidecar.idempotency.key import find_key
from sidecar.idempotency.policy import KeyFormat, KeySource
from sidecar.idempotency.problem import KeyInvalid, KeyMissing

LENIENT = KeySource()
STRICT = KeySource(format=KeyFormat.STRICT)


def having(*values: bytes, name: str = "idempotency-key") -> Fields:
    return (("host", b"a.example"), *((name, value) for value in values))


QUOTED_FORMS = [
    (b'"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
    (b'"abc"', "abc"),
    (b' \t"abc"\t ', "abc"),
    (b'"a b"', "a b"),
    (b'"a,b;c=d"', "a,b;c=d"),
    (rb'"a\"b"', 'a"b'),
    (rb'"a\\b"', "a\\b"),
    (b'"123"', "123"),
    (b'"?1"', "?1"),
    (b'"abc";version=2', "abc"),
    (b'"abc"; a="x";b', "abc"),
    (b'" "', " "),
    (b'"~!@#$%^&*()"', "~!@#$%^&*()"),
]

BARE_FORMS = [
    (b"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
    (b"abc", "abc"),
    (b"  abc\t", "abc"),
    (b"123", "123"),
    (b"-1.5", "-1.5"),
    (b"?1", "?1"),
    (b"@1659578233", "@1659578233"),
    (b":YWJj:", ":YWJj:"),
    (b"user/42=order:7", "user/42=order:7"),
    (b"(abc)", "(abc)"),
    (b"'abc'", "'abc'"),
    (b"!~", "!~"),
]

REFUSED_BY_BOTH = [
    b"",
    b" ",
    b"\t",
    b'""',
    b'"',
    b'"abc',
    b'abc"',
    b'"abc"def',
    b'"abc" def',
    b'"abc", "def"',
    b'"abc";',
    b'"abc";;',
    b'"abc";V=1',
    rb'"a\bc"',
    b'"a\x00b"',
    b'"a\tb"',
    b'"a\x7fb"',
    b'"caf\xc3\xa9"',
    b'"caf\xe9"',
    b"abc,def",
    b"abc, def",
    b"abc;v=1",
    b"a bc",
    b"a\tbc",
    rb"a\bc",
    b"a\x00bc",
    b"a\x1fbc",
    b"abc\x7f",
    b"caf\xc3\xa9",
    b"caf\xe9",
    b'%"abc"',
]


@pytest.mark.parametrize(("raw", "key"), QUOTED_FORMS + BARE_FORMS)
def test_lenient_takes_strings_in_quotes_and_bare_tokens(raw: bytes, key: str) -> None:
    assert find_key(having(raw), LENIENT) == key


@pytest.mark.parametrize(("raw", "key"), QUOTED_FORMS)
def test_strict_takes_strings_in_quotes(raw: bytes, key: str) -> None:
    assert find_key(having(raw), STRICT) == key


@pytest.mark.parametrize("raw", [raw for raw, _ in BARE_FORMS])
def test_strict_refuses_every_other_type_of_structured_field(raw: bytes) -> None:
    with pytest.raises(KeyInvalid, match="allowed: a string in double quotes"):
        find_key(having(raw), STRICT)


@pytest.mark.parametrize("source", [LENIENT, STRICT], ids=["lenient", "strict"])
@pytest.mark.parametrize("raw", REFUSED_BY_BOTH)
def test_what_is_malformed_or_empty_is_refused_with_what_is_allowed(raw: bytes, source: KeySource) -> None:
    with pytest.raises(KeyInvalid) as refused:
        find_key(having(raw), source)

    assert "idempotency-key" in refused.value.detail
    assert "allowed: " in refused.value.detail
    assert "1 to 255 printable ASCII characters" in refused.value.detail


def test_the_detail_says_that_bare_keys_are_allowed_only_where_they_are() -> None:
    with pytest.raises(KeyInvalid, match="or the same without quotes"):
        find_key(having(b"a b"), LENIENT)
    with pytest.raises(KeyInvalid) as refused:
        find_key(having(b"a b"), STRICT)
    assert "without quotes" not in refused.value.detail


@pytest.mark.parametrize("source", [LENIENT, STRICT], ids=["lenient", "strict"])
@pytest.mark.parametrize("length", [1, 254, 255])
def test_a_key_may_have_up_to_the_allowed_number_of_characters(length: int, source: KeySource) -> None:
    quoted = b'"' + b"k" * length + b'"'

    assert find_key(having(quoted), source) == "k" * length


@pytest.mark.parametrize("raw", [b"k" * 256, b'"' + b"k" * 256 + b'"', b"k" * 70_000])
def test_a_key_with_more_characters_is_refused(raw: bytes) -> None:
    with pytest.raises(KeyInvalid, match="characters; allowed: at most 255"):
        find_key(having(raw), LENIENT)


def test_quotes_and_escapes_do_not_count_towards_the_length() -> None:
    source = KeySource(max_length=4)

    assert find_key(having(rb'"\"\"\"\""'), source) == '""""'
    with pytest.raises(KeyInvalid, match="has 5 characters; allowed: at most 4"):
        find_key(having(b'"12345"'), source)


@pytest.mark.parametrize(
    "values", [(b"abc", b"abc"), (b'"abc"', b"abc"), (b"a", b"b", b"c"), (b"", b"abc")], ids=str
)
def test_a_key_given_more_than_once_is_refused_even_where_it_is_the_same(values: tuple[bytes, ...]) -> None:
    with pytest.raises(KeyInvalid, match=f"was given {len(values)} times; give it once"):
        find_key(having(*values), LENIENT)


def test_without_a_key_there_is_none() -> None:
    assert find_key(having(), LENIENT) is None


def test_without_a_key_that_is_required_the_request_is_refused() -> None:
    source = KeySource(required=True)

    with pytest.raises(KeyMissing, match="needs the header idempotency-key: a string in double quotes"):
        find_key(having(), source)


def test_the_key_stands_in_the_header_the_policy_names_and_in_no_other() -> None:
    source = KeySource(name="x-request-key")

    assert find_key(having(b"abc", name="x-request-key"), source) == "abc"
    assert find_key(having(b"abc"), source) is None
    with pytest.raises(KeyInvalid, match="x-request-key"):
        find_key(having(b"", name="x-request-key"), source)


SECRET = "s3cr3tkey"


@pytest.mark.parametrize("source", [LENIENT, STRICT, KeySource(max_length=3)], ids=str)
@pytest.mark.parametrize(
    "values",
    [
        (SECRET.encode() + b" tail",),
        (b'"' + SECRET.encode(),),
        (SECRET.encode() + b"\x00",),
        (SECRET.encode() + b"\xff",),
        (b'"' + SECRET.encode() + b'\x7f"',),
        (SECRET.encode() * 40,),
        (SECRET.encode(), SECRET.encode()),
    ],
    ids=repr,
)
def test_no_problem_detail_ever_contains_the_key(values: tuple[bytes, ...], source: KeySource) -> None:
    with pytest.raises(KeyInvalid) as refused:
        find_key(having(*values), source)

    assert SECRET not in refused.value.detail
    assert SECRET.encode() not in refused.value.document("request-1")
    assert SECRET not in repr(refused.value)
