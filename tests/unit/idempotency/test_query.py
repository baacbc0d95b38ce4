import pytest

from sidecar.idempotency.query import parameters, unordered


@pytest.mark.parametrize(
    ("query", "values"),
    [
        ("key=a", (b"a",)),
        ("x=1&key=a+b&key=%C3%A9", (b"a b", "é".encode())),
        ("%6Bey=a", (b"a",)),
        ("key", (b"",)),
        ("KEY=a&keys=b&x=key", ()),
        ("", ()),
        ("key=\xe9", (b"\xe9",)),
    ],
)
def test_every_value_of_a_parameter_is_found_decoded(query: str, values: tuple[bytes, ...]) -> None:
    assert parameters(query, "key") == values


def test_a_name_may_be_any_text() -> None:
    assert parameters("schl%C3%BCssel%5B%5D=a", "schlüssel[]") == (b"a",)


def test_the_order_of_different_parameters_does_not_count_that_of_equal_ones_does() -> None:
    assert unordered("a=1&b=2&a=3") == unordered("b=2&a=1&a=%33")
    assert unordered("a=1&b=2&a=3") != unordered("a=3&b=2&a=1")
    assert unordered("a=\xe9") != unordered("a=%C3%A9")
    assert unordered("i[][a]=1&i[][b]=5&i[][a]=2") != unordered("i%5B%5D%5Ba%5D=1&i[][a]=2&i[][b]=5")
