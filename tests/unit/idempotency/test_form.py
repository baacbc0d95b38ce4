import pytest

from sidecar.idempotency.form import canonical, fields, is_form


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (b"", []),
        (b"a=1&b=2", [(b"a", b"1"), (b"b", b"2")]),
        (b"&&a=1&", [(b"a", b"1")]),
        (b"a", [(b"a", b"")]),
        (b"=", [(b"", b"")]),
        (b"a=b=c", [(b"a", b"b=c")]),
        (b"a+b=c+d%2B", [(b"a b", b"c d+")]),
        (b"%61%3d=%26%00%ff", [(b"a=", b"&\x00\xff")]),
        (b"a=%zz%4&b=100%", [(b"a", b"%zz%4"), (b"b", b"100%")]),
        (b"a;b=1", [(b"a;b", b"1")]),
    ],
)
def test_fields_are_read_as_the_url_standard_has_it(data: bytes, read: list[tuple[bytes, bytes]]) -> None:
    assert fields(data) == read


@pytest.mark.parametrize("data", [b"b=2&a=1&a=3", b"a=1&a=3&b=2", b"a=1&b=2&a=3&", b"%61=%31&a=3&b=2"])
def test_fields_in_another_order_or_spelling_are_the_same_form(data: bytes) -> None:
    assert canonical(data) == canonical(b"a=1&b=2&a=3")


@pytest.mark.parametrize(
    "data",
    [b"a=3&b=2&a=1", b"a=1&b=2", b"a=1&b=2&a=3&a=3", b"a=1&b=2a=3", b"a=1b=2&a=3", b"", b"A=1&b=2&a=3"],
)
def test_other_fields_are_another_form(data: bytes) -> None:
    assert canonical(data) != canonical(b"a=1&b=2&a=3")


@pytest.mark.parametrize(
    ("content_type", "is_one"),
    [
        (b"application/x-www-form-urlencoded", True),
        (b"Application/X-WWW-Form-Urlencoded ; charset=utf-8", True),
        (b"application/x-www-form-urlencoded-not", False),
        (b"multipart/form-data; boundary=x", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_form_is_known_by_its_type(content_type: bytes | None, *, is_one: bool) -> None:
    assert is_form(content_type) is is_one
