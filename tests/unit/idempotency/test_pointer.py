import pytest

from sidecar.idempotency.context import Json
from sidecar.idempotency.pointer import NOTHING, Pointer

EXAMPLE: Json = {
    "foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7,
    "m~n": 8,
}  # fmt: skip
"""RFC 6901 §5."""


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", EXAMPLE), ("/foo", ["bar", "baz"]), ("/foo/0", "bar"), ("/", 0), ("/a~1b", 1), ("/c%d", 2),
        ("/e^f", 3), ("/g|h", 4), ("/i\\j", 5), ('/k"l', 6), ("/ ", 7), ("/m~0n", 8),
    ],
)  # fmt: skip
def test_the_examples_of_the_rfc_are_found(text: str, value: Json) -> None:
    assert Pointer.parse(text).find(EXAMPLE) == value


@pytest.mark.parametrize(
    "text",
    [
        "/bar",
        "/foo/2",
        "/foo/-",
        "/foo/-1",
        "/foo/00",
        "/foo/01",
        "/foo/0/0",
        "/foo/²",
        "//",
        "/foo/" + "9" * 5_000,
    ],
)
def test_a_place_that_is_not_there_has_no_value(text: str) -> None:
    assert Pointer.parse(text).find(EXAMPLE) is NOTHING


def test_null_is_a_value() -> None:
    assert Pointer.parse("/a").find({"a": None}) is None


def test_an_escaped_tilde_before_a_one_is_no_slash() -> None:
    assert Pointer.parse("/~01").parts == ("~1",)


@pytest.mark.parametrize("text", ["a", "#/a", " /a", "/a~", "/~2", "/~~0"])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="JSON Pointer"):
        Pointer.parse(text)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/a/b", {"a": {"c": [1, 2]}, "": 3}),
        ("/a", {"": 3}),
        ("/", {"a": {"b": 0, "c": [1, 2]}}),
        ("/a/c/0", {"a": {"b": 0, "c": [None, 2]}, "": 3}),
        ("/a/c/2", {"a": {"b": 0, "c": [1, 2]}, "": 3}),
        ("/a/b/c", {"a": {"b": 0, "c": [1, 2]}, "": 3}),
        ("/x/y", {"a": {"b": 0, "c": [1, 2]}, "": 3}),
        ("", {"a": {"b": 0, "c": [1, 2]}, "": 3}),
    ],
)
def test_a_member_is_taken_out_and_an_item_becomes_null(text: str, left: Json) -> None:
    document: Json = {"a": {"b": 0, "c": [1, 2]}, "": 3}

    Pointer.parse(text).remove_from(document)

    assert document == left
