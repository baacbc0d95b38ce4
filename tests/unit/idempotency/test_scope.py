"""Whose key it is: every part of a scope separates ids, and nothing else does."""

import pytest

from sidecar.idempotency.fields import Fields, first, values
from sidecar.idempotency.framing import frames
from sidecar.idempotency.policy import Policy
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import ScopePart, record_id

SCOPE = Policy("default").scope


def request(
    method: str = "POST",
    authority: str = "api.example",
    target: str = "/v1/payments",
    headers: Fields = (("authorization", b"Bearer alice"),),
) -> Request:
    return Request.from_target(method, authority, target, headers, "")


def test_an_id_is_a_sha_256_in_hexadecimal_and_does_not_show_the_key() -> None:
    found = record_id(SCOPE, request(), "order-42")

    assert len(found) == 64
    assert set(found) <= set("0123456789abcdef")
    assert "order-42" not in found


def test_ids_are_stable_across_releases() -> None:
    # A new value here means that every stored key is forgotten by an upgrade.
    assert record_id(SCOPE, request(), "order-42") == (
        "8313079d207d85d10410ec8e25ff646e55bc4bd292ce04c01078b91e1bbfe597"
    )


def test_the_same_scope_and_key_have_the_same_id() -> None:
    assert record_id(SCOPE, request(), "k") == record_id(SCOPE, request(), "k")


def test_a_method_in_another_case_has_the_same_id() -> None:
    assert record_id(SCOPE, request(method="post"), "k") == record_id(SCOPE, request(), "k")


@pytest.mark.parametrize(
    "other",
    [
        request(headers=(("authorization", b"Bearer bob"),)),
        request(headers=()),
        request(headers=(("authorization", b""),)),
        request(headers=(("authorization", b"Bearer alice"), ("authorization", b"Bearer alice"))),
        request(authority="api.example:8443"),
        request(authority="other.example"),
        request(method="PATCH"),
        request(target="/v1/payments/"),
        request(target="/v1/refunds"),
    ],
    ids=repr,
)
def test_another_caller_host_method_or_path_has_another_id(other: Request) -> None:
    assert record_id(SCOPE, other, "k") != record_id(SCOPE, request(), "k")


def test_another_key_has_another_id() -> None:
    assert record_id(SCOPE, request(), "k") != record_id(SCOPE, request(), "K")


@pytest.mark.parametrize(
    "same",
    [
        request(authority="API.Example"),
        request(target="/v1/payments?page=2"),
        request(headers=(("authorization", b"Bearer alice"), ("content-type", b"text/plain"))),
    ],
    ids=repr,
)
def test_what_is_not_in_the_scope_does_not_separate(same: Request) -> None:
    assert record_id(SCOPE, same, "k") == record_id(SCOPE, request(), "k")


def test_an_absent_header_an_empty_one_and_two_empty_ones_are_three_scopes() -> None:
    parts = (ScopePart.header("X-Tenant"),)
    given: list[Fields] = [(), (("x-tenant", b""),), (("x-tenant", b""), ("x-tenant", b""))]

    assert len({record_id(parts, request(headers=headers), "k") for headers in given}) == 3


def test_values_never_meet_by_concatenation() -> None:
    parts = (ScopePart.header("a"), ScopePart.header("b"))
    given: list[Fields] = [
        (("a", b"xy"),),
        (("a", b"x"), ("b", b"y")),
        (("a", b"x"), ("a", b"y")),
        (("b", b"xy"),),
        (("a", b""), ("b", b"xy")),
    ]

    assert len({record_id(parts, request(headers=headers), "k") for headers in given}) == len(given)


def test_the_key_never_runs_into_the_scope() -> None:
    parts = (ScopePart.PATH,)

    assert record_id(parts, request(target="/a"), "bk") != record_id(parts, request(target="/ab"), "k")


def test_the_same_value_of_two_headers_is_two_scopes() -> None:
    headers: Fields = (("a", b"x"), ("b", b"x"))

    in_a = record_id((ScopePart.header("a"),), request(headers=headers), "k")
    in_b = record_id((ScopePart.header("b"),), request(headers=headers), "k")
    assert in_a != in_b


def test_an_empty_scope_still_tells_keys_apart() -> None:
    assert record_id((), request(), "a") != record_id((), request(), "b")
    assert record_id((), request(), "a") == record_id((), request(method="GET"), "a")


def test_bytes_that_are_not_text_stay_apart() -> None:
    latin = request(headers=(("authorization", b"caf\xe9"),), target="/caf\xe9")
    utf8 = request(headers=(("authorization", b"caf\xc3\xa9"),), target="/caf\xc3\xa9")

    assert record_id(SCOPE, latin, "k") != record_id(SCOPE, utf8, "k")


def test_a_frame_carries_the_length_of_each_piece() -> None:
    assert frames() == b""
    assert frames(b"", b"ab") == bytes(8) + bytes(7) + b"\x02" + b"ab"


def test_fields_are_found_by_name_in_order() -> None:
    fields: Fields = (("a", b"1"), ("b", b"2"), ("a", b"3"))

    assert values(fields, "a") == (b"1", b"3")
    assert values(fields, "c") == ()
    assert first(fields, "a") == b"1"
    assert first(fields, "c") is None


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/a", "/a", None),
        ("/a?", "/a", ""),
        ("/a?b=c", "/a", "b=c"),
        ("/a?b=c?d", "/a", "b=c?d"),
        ("*", "*", None),
        ("", "", None),
    ],
)
def test_a_request_target_is_parted_at_its_first_question_mark(
    target: str, path: str, query: str | None
) -> None:
    parted = request(target=target)

    assert (parted.path, parted.query) == (path, query)


@pytest.mark.parametrize(
    ("method", "headers", "upgrade"),
    [
        ("POST", (), False),
        ("CONNECT", (), True),
        ("GET", (("upgrade", b"websocket"),), True),
        ("POST", (("connection", b"keep-alive"),), False),
    ],
)
def test_an_upgrade_and_connect_leave_http(method: str, headers: Fields, upgrade: bool) -> None:
    assert request(method=method, headers=headers).is_upgrade is upgrade


@pytest.mark.parametrize(
    ("content_type", "grpc", "perhaps"),
    [
        (b"application/grpc", True, True),
        (b"application/grpc+proto", True, True),
        (b"Application/GRPC", False, True),
        (b"application/grpc;charset=utf-8", False, True),
        (b"application/grpc-web", False, True),
        (b"application/json", False, False),
        (b"", False, False),
    ],
)
def test_a_grpc_call_is_known_by_its_content_type_as_envoy_knows_it(
    content_type: bytes, grpc: bool, perhaps: bool
) -> None:
    given = request(headers=(("content-type", content_type),))

    assert (given.is_grpc, given.may_be_grpc) == (grpc, perhaps)
    assert (request(headers=()).is_grpc, request(headers=()).may_be_grpc) == (False, False)
