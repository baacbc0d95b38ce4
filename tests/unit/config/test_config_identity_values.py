"""Scope parts, JSON Pointers and query parameters at their edges; common mistakes are among the bad files."""

import pytest

from sidecar.config import identity_values as identity
from sidecar.config.errors import RefusedError
from sidecar.config.kinds import Kind


def assert_refused(kind: Kind[str], text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        kind.validate(text)
    assert caught.value.message
    assert caught.value.allowed


@pytest.mark.parametrize(
    "text",
    [
        "host",
        "method",
        "path",
        "peer",
        "header:X-Tenant",
        "jwt:sub",
        "jwt:https://example.com/tenant",
        "metadata:a.b",
        "metadata:envoy.filters.http.ext_authz.user",
    ],
)
def test_a_scope_has_seven_kinds_of_parts(text: str) -> None:
    assert identity.scope_part().validate(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "header", "header:", "header:host", "Host", "host:", "jwt", "jwt:", "jwt:\n", "JWT:sub", "peer:"],
)
def test_no_other_part_of_a_scope_is_known(text: str) -> None:
    assert_refused(identity.scope_part(), text)


@pytest.mark.parametrize("text", ["metadata", "metadata:", "metadata:a", "metadata:.b", "metadata:a."])
def test_metadata_has_a_namespace_and_a_key(text: str) -> None:
    assert_refused(identity.scope_part(), text)


@pytest.mark.parametrize("text", ["/a", "/", "/params/_meta/idempotencyKey", "/a~1b/m~0n", "/0", "/ü", "//"])
def test_a_pointer_names_a_place_inside_a_document(text: str) -> None:
    assert identity.pointer().validate(text) == text


@pytest.mark.parametrize("text", ["", "a", "a/b", "#/a", "/~", "/~2", "/a\n", "/" + "a" * 512])
def test_anything_else_is_no_pointer(text: str) -> None:
    assert_refused(identity.pointer(), text)


@pytest.mark.parametrize("text", ["key", "a b", "ü", "k" * 128, "filter[id]"])
def test_a_parameter_has_any_printable_name(text: str) -> None:
    assert identity.parameter().validate(text) == text


@pytest.mark.parametrize("text", ["", "a\n", "\x00", "k" * 129])
def test_no_parameter_is_without_a_name_or_has_a_long_one(text: str) -> None:
    assert_refused(identity.parameter(), text)
