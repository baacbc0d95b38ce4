"""HTTP fields: finding them, and telling those about a connection from those about the message."""

import pytest

from sidecar.idempotency.fields import HOP_BY_HOP, Fields, end_to_end, first, values

SEVERAL: Fields = (("a", b"1"), ("b", b""), ("a", b"2"))


def test_every_value_of_a_field_is_found_in_order() -> None:
    assert values(SEVERAL, "a") == (b"1", b"2")
    assert values(SEVERAL, "c") == ()


def test_the_first_value_may_be_empty_which_is_not_none() -> None:
    assert first(SEVERAL, "a") == b"1"
    assert first(SEVERAL, "b") == b""
    assert first(SEVERAL, "c") is None


# --- About a connection (RFC 9110 §7.6.1)


@pytest.mark.parametrize(
    "name",
    [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "transfer-encoding", "upgrade",
    ],
)  # fmt: skip
def test_fields_about_a_connection_are_no_part_of_the_message(name: str) -> None:
    assert name in HOP_BY_HOP
    assert end_to_end(((name, b"x"), ("etag", b"y"))) == (("etag", b"y"),)


@pytest.mark.parametrize(
    "connection",
    [
        (b"x-hop",),
        (b"X-Hop",),
        (b"close, x-hop",),
        (b" ,\tx-hop ,, close",),
        (b"close", b"x-hop"),
        (b"keep-alive,X-HOP",),
    ],
)
def test_fields_that_connection_names_are_about_it_too(connection: tuple[bytes, ...]) -> None:
    fields: Fields = (
        ("x-hop", b"1"),
        *(("connection", value) for value in connection),
        ("etag", b"y"),
        ("x-hop", b"2"),
    )

    assert end_to_end(fields) == (("etag", b"y"),)


def test_a_connection_that_names_nothing_takes_nothing_away() -> None:
    for value in (b"", b",", b"close", b"\xff"):
        assert end_to_end((("connection", value), ("etag", b"y"))) == (("etag", b"y"),)


def test_a_name_within_a_longer_one_is_not_named() -> None:
    assert end_to_end((("connection", b"x-hop-by"), ("x-hop", b"1"))) == (("x-hop", b"1"),)


def test_order_and_repeated_fields_are_kept() -> None:
    assert end_to_end(SEVERAL) == SEVERAL
