"""What makes two requests the same: each ingredient counts, the pieces of the body do not."""

import hashlib

import pytest

from sidecar.idempotency.fields import Fields
from sidecar.idempotency.fingerprint import Fingerprinter
from sidecar.idempotency.policy import BodyMode, FingerprintSpec
from sidecar.idempotency.request import Request

JSON: Fields = (("content-type", b"application/json"),)
DEFAULT = FingerprintSpec()


def fingerprint(
    *pieces: bytes,
    spec: FingerprintSpec = DEFAULT,
    method: str = "POST",
    target: str = "/pay?currency=eur",
    authority: str = "a.example",
    headers: Fields = JSON,
) -> bytes:
    fingerprinter = Fingerprinter(spec, Request.from_target(method, authority, target, headers, "r1"))
    for piece in pieces:
        fingerprinter.feed(piece)
    return fingerprinter.digest()


BASE = fingerprint(b'{"amount": 1}')


def test_a_fingerprint_has_32_bytes_and_is_stable_across_releases() -> None:
    # A new value here means that a retry across an upgrade is refused as another payload.
    assert len(BASE) == hashlib.sha256().digest_size
    assert BASE.hex() == "8565845750960d900a7d7c5edcd14faf5f288d0ca998f18a2d0abe0bbc6dc2cc"


@pytest.mark.parametrize(
    "other",
    [
        fingerprint(b'{"amount": 2}'),
        fingerprint(b'{"amount": 1} '),
        fingerprint(b'{"amount":1}'),
        fingerprint(b""),
        fingerprint(b'{"amount": 1}', method="PATCH"),
        fingerprint(b'{"amount": 1}', target="/pay2?currency=eur"),
        fingerprint(b'{"amount": 1}', target="/pay?currency=usd"),
        fingerprint(b'{"amount": 1}', target="/pay"),
        fingerprint(b'{"amount": 1}', target="/pay?"),
        fingerprint(b'{"amount": 1}', headers=()),
        fingerprint(b'{"amount": 1}', headers=(("content-type", b""),)),
        fingerprint(b'{"amount": 1}', headers=(("content-type", b"text/json"),)),
        fingerprint(b'{"amount": 1}', headers=JSON * 2),
    ],
)
def test_another_method_path_query_content_type_or_body_is_another_request(other: bytes) -> None:
    assert other != BASE


@pytest.mark.parametrize(
    "same",
    [
        fingerprint(b'{"amount"', b": 1}"),
        fingerprint(b"", b'{"amount": 1}', b""),
        fingerprint(*(bytes([octet]) for octet in b'{"amount": 1}')),
        fingerprint(b'{"amount": 1}', authority="b.example"),
        fingerprint(b'{"amount": 1}', headers=(*JSON, ("user-agent", b"curl"))),
    ],
)
def test_the_pieces_of_the_body_the_host_and_other_headers_do_not_count(same: bytes) -> None:
    assert same == BASE


def test_no_query_and_an_empty_query_are_two_requests() -> None:
    assert fingerprint(target="/pay") != fingerprint(target="/pay?")


def test_a_path_never_runs_into_the_query() -> None:
    assert fingerprint(target="/a?b") != fingerprint(target="/a%3Fb")
    assert fingerprint(target="/ab?") != fingerprint(target="/a?b")


def test_a_body_never_runs_into_the_head() -> None:
    spec = FingerprintSpec(headers=("a",))

    with_header = fingerprint(spec=spec, headers=(("a", b"x"),))
    imitated = fingerprint(b"\0" * 7 + b"\x01x", spec=spec, headers=(("a", b""),))
    assert with_header != imitated


def test_the_query_counts_only_where_the_policy_says_so() -> None:
    spec = FingerprintSpec(query=False)

    assert fingerprint(spec=spec, target="/a?b=1") == fingerprint(spec=spec, target="/a?b=2")
    assert fingerprint(spec=spec, target="/a?b=1") == fingerprint(spec=spec, target="/a")


def test_the_body_counts_only_where_the_policy_says_so() -> None:
    spec = FingerprintSpec(body=BodyMode.NONE)

    assert fingerprint(b"x", spec=spec) == fingerprint(b"y", b"z", spec=spec)
    assert fingerprint(b"x", spec=spec) != fingerprint(b"x", spec=spec, target="/other")


def test_each_header_the_policy_names_counts_by_name_value_number_and_order() -> None:
    spec = FingerprintSpec(headers=("a", "b"))
    given: list[Fields] = [
        (),
        (("a", b""),),
        (("a", b"x"),),
        (("b", b"x"),),
        (("a", b"x"), ("b", b"")),
        (("a", b"x"), ("a", b"y")),
        (("a", b"y"), ("a", b"x")),
        (("a", b"xy"),),
    ]

    assert len({fingerprint(spec=spec, headers=headers) for headers in given}) == len(given)


def test_other_fields_between_do_not_count() -> None:
    spec = FingerprintSpec(headers=("a", "b"))

    assert fingerprint(spec=spec, headers=(("b", b"1"), ("x", b""), ("a", b"2"))) == fingerprint(
        spec=spec, headers=(("a", b"2"), ("b", b"1"))
    )


def test_a_request_equals_its_own_fingerprint_and_no_other() -> None:
    fingerprinter = Fingerprinter(DEFAULT, Request.from_target("POST", "a", "/", (), ""))
    before = fingerprinter.digest()
    assert fingerprinter.equals(before)

    fingerprinter.feed(b"x")

    assert not fingerprinter.equals(before)
    assert fingerprinter.equals(fingerprinter.digest())
    assert not fingerprinter.equals(b"")


def test_a_form_counts_by_its_fields_in_any_order() -> None:
    spec = FingerprintSpec(BodyMode.FORM)
    headers = (("content-type", b"application/x-www-form-urlencoded"),)
    first = fingerprint(b"a=1&", b"b=2+3", spec=spec, headers=headers)

    assert fingerprint(b"b=2%203&a=1", spec=spec, headers=headers) == first
    assert fingerprint(b"a=1&b=2", spec=spec, headers=headers) != first


def test_forms_with_the_same_fields_in_other_lists_are_two() -> None:
    spec = FingerprintSpec(BodyMode.FORM, query_order=False)
    headers = (("content-type", b"application/x-www-form-urlencoded"),)
    one, other = "items[][id]=1&items[][qty]=5&items[][id]=2", "items[][id]=1&items[][id]=2&items[][qty]=5"
    forms = [fingerprint(items.encode(), spec=spec, headers=headers) for items in (one, other)]
    queries = [fingerprint(target=f"/pay?{items}", spec=spec, headers=headers) for items in (one, other)]

    assert len({*forms, *queries}) == 4


@pytest.mark.parametrize("content_type", [b"application/grpc", b"application/grpc+json"])
def test_a_grpc_body_is_no_json_whatever_its_messages_are(content_type: bytes) -> None:
    headers = (("content-type", content_type),)
    request = Request.from_target("POST", "a", "/", headers, "")

    assert not Fingerprinter(FingerprintSpec(BodyMode.JSON), request).needs_whole_body
