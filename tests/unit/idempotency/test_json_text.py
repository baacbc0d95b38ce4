import json

import pytest

from sidecar.idempotency.json_faults import first_fault
from sidecar.idempotency.json_text import MAX_BYTES, MalformedJsonError, canonical, is_json, read


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ('{"a": [1, -2.5, true, null, "\\u00e9"]}', {"a": [1, -2.5, True, None, "é"]}),
        (" \t\r\n1 ", 1),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\\\ud83d"', "\\ud83d"),
        ('{"a": {"a": {}}, "b": [{"a": 1}, {"a": 1}]}', {"a": {"a": {}}, "b": [{"a": 1}, {"a": 1}]}),
        ("9007199254740991", 9007199254740991),
        ("-9007199254740991", -9007199254740991),
        ("0.1", 0.1),
        ("1.50", 1.5),
        ("1e22", 1e22),
        ("5e-324", 5e-324),
    ],
)
def test_what_everybody_reads_alike_is_read(text: str, document: object) -> None:
    assert read(text.encode()) == document


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "expecting value at line 1, column 1 (byte 0)"),
        (b'{"a":\n  nul}', "expecting value at line 2, column 3 (byte 8)"),
        ('["é" 1]'.encode(), "expecting ',' delimiter at line 1, column 6 (byte 6)"),
        (b'["a', "unterminated string starting at line 1, column 2 (byte 1)"),
        (b'["\n"]', "invalid control character at line 1, column 3 (byte 2)"),
        (b"1 2", "extra data at line 1, column 3 (byte 2)"),
        (b'["\n\xff"]', "bytes that are not UTF-8 at line 2, column 1 (byte 3)"),
        (b'"\xed\xa0\x80"', "bytes that are not UTF-8 at line 1, column 2 (byte 1)"),
        (b"\xef\xbb\xbf1", "a byte order mark, which JSON does not have at line 1, column 1 (byte 0)"),
        (b'{"a": 1,\n "a": 1}', "a name that its object has already at line 2, column 2 (byte 10)"),
        (b'{"a": 1, "\\u0061": 2}', "a name that its object has already at line 1, column 10 (byte 9)"),
        (b"[1, NaN]", "NaN and infinities are no JSON numbers at line 1, column 5 (byte 4)"),
        (b"-Infinity", "NaN and infinities are no JSON numbers at line 1, column 1 (byte 0)"),
        (b'["", "\\ud83d"]', "half of a surrogate pair in a string at line 1, column 6 (byte 5)"),
        (b'"\\\\ud83d\\udc00"', "half of a surrogate pair in a string at line 1, column 1 (byte 0)"),
        (b'{"\\udc00": 1}', "half of a surrogate pair in a string at line 1, column 2 (byte 1)"),
    ],
)
def test_what_is_no_json_or_read_in_several_ways_is_refused_with_its_place(text: bytes, says: str) -> None:
    with pytest.raises(MalformedJsonError) as refused:
        read(text)

    assert str(refused.value) == says


@pytest.mark.parametrize(
    "number",
    [
        "9007199254740992",
        "-9007199254740992",
        "1" * 5_000,
        "9007199254740993.0",
        "0.10000000000000000001",
        "1e400",
        "-1e400",
        "1e-400",
        "0e" + "9" * 30,
    ],
)
def test_a_number_that_could_become_another_is_refused(number: str) -> None:
    with pytest.raises(
        MalformedJsonError, match=r"^a number that no double holds .* line 1, column 7 \(byte 6\)$"
    ):
        read(b'{"a": ' + number.encode() + b"}")


def test_a_number_in_a_refusal_is_not_repeated() -> None:
    with pytest.raises(MalformedJsonError) as refused:
        read(b"[4111111111111111111]")

    assert "4111" not in str(refused.value)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_sixty_four_levels_are_read_and_no_more(opening: str, closing: str) -> None:
    def nested(levels: int) -> bytes:
        return f"{opening * levels}0{closing * levels}".encode()

    assert read(nested(64)) is not None
    for levels in (65, 900, 100_000):
        with pytest.raises(MalformedJsonError, match=r"^nested more than 64 deep at line 1, column "):
            read(nested(levels))


def test_brackets_and_quotes_in_strings_are_text() -> None:
    text = json.dumps({"[" * 100: '{"a":1,"a":2} \\" NaN'}).encode()

    assert read(text) == {"[" * 100: '{"a":1,"a":2} \\" NaN'}
    with pytest.raises(ValueError, match="no fault"):
        first_fault(text.decode())


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":[1,{"x":null}],"b":0.002}',
        b' {"b": 2e-3, "a": [1.0, {"x": null}]}',
        b'{"\\u0061":[10e-1,{"x":null}],\n"b":0.0020}',
    ],
)
def test_documents_of_one_meaning_have_one_canonical_form(text: bytes) -> None:
    assert canonical(read(text)) == b'{"a":[1,{"x":null}],"b":0.002}'


def test_names_are_ordered_by_utf_16_units() -> None:
    """RFC 8785 §3.2.3."""
    assert canonical(read('{"\ufb33": 1, "😀": 2}'.encode())) == '{"😀":2,"\ufb33":1}'.encode()


@pytest.mark.parametrize(
    "content_type",
    [None, b"", b" ", b"; charset=utf-8", b"application/json", b"Application/JSON; charset=utf-8",
     b"text/json", b"application/problem+json", b"application/vnd.shop.v2+JSON ; a=b",
     b"application/json-rpc", b"Application/JSONRequest; charset=utf-8"],
)  # fmt: skip
def test_these_types_are_json(content_type: bytes | None) -> None:
    assert is_json(content_type)


@pytest.mark.parametrize(
    "content_type",
    [
        b"json",
        b"+json",
        b"text/plain",
        b"application/jsonp",
        b"application/json-seq",
        b"text/json-rpc",
        b"image/json",
        b"a/b;c+json",
    ],
)
def test_these_types_are_not(content_type: bytes) -> None:
    assert not is_json(content_type)


def test_the_most_that_may_be_read_can_be_read() -> None:
    text = b'"' + b"a" * (MAX_BYTES - 2) + b'"'

    assert canonical(read(text)) == text
