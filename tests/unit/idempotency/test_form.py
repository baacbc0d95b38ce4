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
    ("data", "means_the_same"),
    [
        (b"b=1&a[]=1&a[]=2", b"a[]=1&a[]=2&b=1"),
        (
            b"m[x]=1&m[y]=2&amount=3&items[][id]=1&items[][id]=2",
            b"items[][id]=1&m[x]=1&items[][id]=2&m[y]=2&amount=3",
        ),
        (b"a[x.y][]=1&b=2", b"b=2&%61%5Bx.y%5D%5b]=1"),
        (b"a_b=1&a-b=2&a=3", b"a=3&a-b=2&a_b=1"),
    ],
)
def test_different_variables_may_come_in_any_order(data: bytes, means_the_same: bytes) -> None:
    assert canonical(data) == canonical(means_the_same)


@pytest.mark.parametrize(
    ("data", "means_another"),
    [
        (b"a[]=1&a[]=2", b"a[]=2&a[]=1"),
        (b"i[][a]=1&i[][b]=5&i[][a]=2", b"i[][a]=1&i[][a]=2&i[][b]=5"),
        (b"i%5B%5D%5Ba%5D=1&i%5b][b]=5&i[][a]=2", b"i%5B%5D%5Ba%5D=1&i[][a]=2&i%5b][b]=5"),
        (b"i[1]=a&i[0]=b", b"i[0]=b&i[1]=a"),
        (b"a[]=1&a[5]=2", b"a[5]=2&a[]=1"),
        (b"a=1&a[b]=2", b"a[b]=2&a=1"),
        (b"a=1&A=2", b"A=2&a=1"),
        (b"a.b=1&a_b=2", b"a_b=2&a.b=1"),
        (b"a+b=1&a_b=2", b"a_b=2&a+b=1"),
        (b"a[b=1&a_b=2", b"a_b=2&a[b=1"),
        (b"[a]=1&a=2", b"a=2&[a]=1"),
        (b"a[b]c=1&d=2", b"d=2&a[b]c=1"),
        (b"%ff=1&%fe=2", b"%fe=2&%ff=1"),
        (b"a%00=1&a=2", b"a=2&a%00=1"),
        (b"a=1;b=2&b=3", b"b=3&a=1;b=2"),
        (b"i.a:records=1&i.b:records=5&i.a:records=2", b"i.a:records=1&i.a:records=2&i.b:records=5"),
    ],
)
def test_an_order_that_can_mean_something_to_a_parser_counts(data: bytes, means_another: bytes) -> None:
    assert sorted(fields(data)) == sorted(fields(means_another))
    assert canonical(data) != canonical(means_another)


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
