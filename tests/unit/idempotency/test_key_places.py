"""A key in the query; those in bodies are in the stories, those in headers in test_key."""

import pytest

from sidecar.idempotency.key_places import key_in_head
from sidecar.idempotency.policy import KeyPlace, KeySource
from sidecar.idempotency.problem import KeyInvalid, KeyMissing
from sidecar.idempotency.request import Request

SOURCE = KeySource("key", KeyPlace.QUERY)


def key_in(target: str, source: KeySource = SOURCE) -> str | None:
    return key_in_head(Request.from_target("POST", "a.example", target, (), ""), source)


def test_a_key_in_the_query_is_the_value_of_its_parameter() -> None:
    assert key_in("/pay?a=1&key=k%201") == "k 1"


@pytest.mark.parametrize("target", ["/pay", "/pay?", "/pay?keys=k"])
def test_a_request_without_the_parameter_has_no_key(target: str) -> None:
    assert key_in(target) is None
    with pytest.raises(KeyMissing, match="query parameter key"):
        key_in(target, KeySource("key", KeyPlace.QUERY, required=True))


def test_a_key_that_is_given_twice_is_none() -> None:
    with pytest.raises(KeyInvalid, match="given 2 times; give it once"):
        key_in("/pay?key=a&key=a")


@pytest.mark.parametrize("value", ["", "%00", "%c3%a4", "k" * 256])
def test_what_is_no_printable_text_of_the_allowed_length_is_no_key(value: str) -> None:
    with pytest.raises(KeyInvalid, match="allowed: 1 to 255 printable ASCII characters"):
        key_in(f"/pay?key={value}")
