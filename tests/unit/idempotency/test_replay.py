"""Which header fields of a response are stored, and which a replay carries."""

import pytest

from sidecar.idempotency.body import HeldBody
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.record import Record
from sidecar.idempotency.replay import first_headers, may_stream, replay_headers, storable

NOTHING: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "name",
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
        "date",
        "idempotent-replayed",
        "x-envoy-upstream-service-time",
        "x-envoy-anything",
        ":status",
    ],
)
def test_hop_by_hop_fields_dates_and_envoys_own_are_not_stored(name: str) -> None:
    assert storable(((name, b"x"), ("etag", b"y")), NOTHING) == (("etag", b"y"),)


@pytest.mark.parametrize(
    "name",
    ["content-type", "content-length", "etag", "location", "set-cookie", "server", "x-request-id", "x-env"],
)
def test_every_other_field_is_stored(name: str) -> None:
    assert storable(((name, b"x"),), NOTHING) == ((name, b"x"),)


def test_fields_that_connection_names_are_not_stored() -> None:
    fields: Fields = (("x-hop", b"1"), ("connection", b"close, X-Hop"), ("etag", b"y"))

    assert storable(fields, NOTHING) == (("etag", b"y"),)


def test_fields_the_policy_excludes_are_not_stored() -> None:
    fields: Fields = (("set-cookie", b"a=1"), ("etag", b"x"), ("set-cookie", b"b=2"))

    assert storable(fields, frozenset({"set-cookie"})) == (("etag", b"x"),)


def test_order_and_repeated_fields_are_kept() -> None:
    fields: Fields = (("b", b"1"), ("a", b"2"), ("b", b"3"), ("a", b""))

    assert storable(fields, NOTHING) == fields


def record(headers: Fields, body: bytes) -> Record:
    return Record(200, headers, body, (), b"f" * 32)


def test_a_replay_carries_the_recorded_fields_and_the_mark() -> None:
    headers: Fields = (("etag", b"x"), ("set-cookie", b"a=1"), ("set-cookie", b"b=2"))

    assert replay_headers(record(headers, b"body")) == (*headers, ("idempotent-replayed", b"true"))


def test_the_length_of_a_body_is_left_to_envoy() -> None:
    headers: Fields = (("content-length", b"4"), ("etag", b"x"))

    assert replay_headers(record(headers, b"body")) == (("etag", b"x"), ("idempotent-replayed", b"true"))


def test_the_length_of_a_body_that_is_not_sent_stays() -> None:
    headers: Fields = (("content-length", b"4"),)

    assert replay_headers(record(headers, b"")) == (*headers, ("idempotent-replayed", b"true"))


# --- The first response of a detached execution


def test_a_first_response_has_all_that_is_end_to_end() -> None:
    headers: Fields = (
        ("date", b"now"),
        ("set-cookie", b"a=1"),
        ("set-cookie", b"b=2"),
        ("x-envoy-upstream-service-time", b"1"),
        ("connection", b"x-hop"),
        ("x-hop", b"1"),
        ("transfer-encoding", b"chunked"),
    )

    assert first_headers(headers, b"body") == headers[:4]


def test_a_first_response_is_never_marked_as_a_replay() -> None:
    assert first_headers((("idempotent-replayed", b"true"), ("etag", b"x")), b"") == (("etag", b"x"),)


def test_the_length_of_a_first_response_is_left_to_envoy_save_where_no_body_is_sent() -> None:
    headers: Fields = (("content-length", b"4"),)

    assert first_headers(headers, b"body") == ()
    assert first_headers(headers, b"") == headers


def test_the_length_of_a_large_body_is_left_to_the_reply_too() -> None:
    headers: Fields = (("content-length", b"300000"), ("etag", b"x"))
    body = HeldBody((b"a" * 200_000, b"b" * 100_000))

    assert replay_headers(Record(200, headers, body, (), b"f" * 32)) == (
        *(("etag", b"x"), ("idempotent-replayed", b"true")),
    )
    assert first_headers(headers, body) == (("etag", b"x"),)


@pytest.mark.parametrize(
    ("fields", "http", "call"),
    [
        ((), True, True),
        ((("link", b"<a>"), ("link", b"<b>"), ("set-cookie", b"a=1")), True, True),
        ((("set-cookie", b"a=1"), ("set-cookie", b"b=2")), False, True),
    ],
    ids=["nothing", "one cookie", "two cookies"],
)
def test_only_several_cookies_keep_a_reply_over_http_from_being_streamed(
    fields: Fields, http: bool, call: bool
) -> None:
    assert (may_stream(fields, to_call=False), may_stream(fields, to_call=True)) == (http, call)
