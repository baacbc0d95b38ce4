"""The kinds of values a field can have: how each is read, what it allows, how it is written back.

Scalars reach this module as the text that stands in the file; the kind of the field, not the YAML,
decides what it means. So `mode: off` is a mode, `503:` is a key and `0123` stays what it is.
"""

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from sidecar.config.errors import RefusedError, quoted
from sidecar.config.fragments import TEXT, Fragment, either, scalar, string
from sidecar.config.quantities import (
    DURATION,
    SIZE,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)

T = TypeVar("T")
TextT = TypeVar("TextT", bound=str)

NOT_YET = "not available in this version"
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_OCTAL_MODE = re.compile(r"0[0-7]{3}")
_OWNERS = 0o600
_WHOLE_NUMBER = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """A kind of value, written as metadata of a field's type: `Annotated[int, duration("1s", "1h")]`.

    Attributes:
        noun: What such a value is called, with its article: "a duration".
        allowed: Which values are allowed, for messages and for the reference.
        parse: From the text in the file to the value; raises `RefusedError`.
        show: From the value back to the text, for the reference.
        null: Whether the field may be null.
        type: What the reference calls it; the noun without its article where empty.
        fragment: What JSON Schema can say of the values that are allowed, as an editor reads them (YAML
            1.2). It refuses nothing that `parse` takes.
    """

    noun: str
    allowed: str
    parse: Callable[[str], T]
    show: Callable[[T], str] = str
    null: bool = False
    type: str = ""
    fragment: Fragment = field(default_factory=lambda: TEXT, compare=False)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let pydantic read the field by `validate` alone."""
        return core_schema.no_info_plain_validator_function(self.validate)

    def validate(self, value: object) -> T | None:
        """The value of a text, or null where that is allowed.

        Raises:
            RefusedError: Anything else; says what is allowed.
        """
        if value is None and self.null:
            return None
        if not isinstance(value, str):
            raise RefusedError(f"{quoted(value)} is not {self.noun}", self.allowed)
        try:
            return self.parse(value)
        except RefusedError as error:
            raise RefusedError(error.message, error.allowed or self.allowed) from None


def one_of(words: Iterable[str], conjunction: str = "or") -> str:
    """Words as a sentence lists them: `a`, `a or b`, `a, b or c`."""
    *head, last = words
    return f"{', '.join(head)} {conjunction} {last}" if head else last


def near(word: str, words: Iterable[str]) -> str:
    """`, did you mean "…"?` where one of the words is close, else nothing."""
    found = difflib.get_close_matches(word.lower(), list(words), n=1)
    return f', did you mean "{found[0]}"?' if found else ""


def choice(noun: str, *accepted: TextT) -> Kind[TextT]:
    """One of a few words."""
    words = {str(word): word for word in accepted}

    def parse(text: str) -> TextT:
        if text not in words:
            raise RefusedError(f"{quoted(text)} is not {noun}{near(text, words)}")
        return words[text]

    return Kind(noun, one_of(words), parse, type="word", fragment={"enum": list(words)})


def optional(kind: Kind[T]) -> Kind[T]:
    """The same kind of value, or null."""
    return replace(
        kind,
        allowed=f"{kind.allowed}, or null",
        null=True,
        fragment=either(kind.fragment, {"type": "null"}),
    )


def duration(low: str, high: str, *, whole_seconds: bool = False) -> Kind[int]:
    """A duration from `low` to `high`, in milliseconds."""
    allowed = f"{low} to {high}" + (", in whole seconds" if whole_seconds else "")
    least, most = parse_duration(low), parse_duration(high)

    def parse(text: str) -> int:
        value = parse_duration(text)
        if not least <= value <= most:
            raise RefusedError(f"{quoted(text)} is too {'short' if value < least else 'long'}")
        if whole_seconds and value % 1000:
            raise RefusedError(f"{quoted(text)} is not in whole seconds")
        return value

    return Kind("a duration", allowed, parse, format_duration, fragment=string(DURATION.pattern))


def size(low: str, high: str) -> Kind[int]:
    """A size from `low` to `high`, in bytes."""
    least, most = parse_size(low), parse_size(high)

    def parse(text: str) -> int:
        value = parse_size(text)
        if not least <= value <= most:
            raise RefusedError(f"{quoted(text)} is too {'small' if value < least else 'large'}")
        return value

    fragment = either({"type": "integer", "minimum": least, "maximum": most}, string(SIZE.pattern))
    return Kind("a size", f"{low} to {high}", parse, format_size, fragment=fragment)


def whole_number(low: int, high: int) -> Kind[int]:
    """A whole number from `low` to `high`."""

    def parse(text: str) -> int:
        if _WHOLE_NUMBER.fullmatch(text) is None:
            raise RefusedError(f"{quoted(text)} is not a whole number")
        if not low <= int(text) <= high:
            raise RefusedError(f"{quoted(text)} is too {'small' if int(text) < low else 'large'}")
        return int(text)

    number = {"type": "integer", "minimum": low, "maximum": high}
    fragment = either(number, string(_WHOLE_NUMBER.pattern))
    return Kind("a whole number", f"{low} to {high}", parse, fragment=fragment)


def one_number(noun: str, *accepted: int) -> Kind[int]:
    """One of a few numbers."""
    words = {str(number): number for number in accepted}

    def parse(text: str) -> int:
        if text not in words:
            raise RefusedError(f"{quoted(text)} is not {noun}")
        return words[text]

    fragment = {"enum": [*accepted, *words]}
    return Kind(noun, one_of(words), parse, type="whole number", fragment=fragment)


def octal_mode() -> Kind[int]:
    """The permissions of a file, as `chmod` takes them; its owner has to keep reading and writing."""

    def parse(text: str) -> int:
        if _OCTAL_MODE.fullmatch(text) is None:
            raise RefusedError(f"{quoted(text)} is not a mode of a file")
        if int(text, 8) & _OWNERS != _OWNERS:
            raise RefusedError(f"{quoted(text)} takes reading or writing from the owner")
        return int(text, 8)

    # Without quotes, YAML 1.2 takes 0600 for the number 600.
    fragment = either({"type": "integer", "minimum": 600, "maximum": 777}, string(_OCTAL_MODE.pattern))
    allowed = "0600 to 0777 in octal digits"
    return Kind("a mode of a file", allowed, parse, lambda mode: f"{mode:04o}", fragment=fragment)


def flag() -> Kind[bool]:
    """True or false, in any of YAML's spellings."""

    def parse(text: str) -> bool:
        if text.lower() not in _FLAGS:
            raise RefusedError(f"{quoted(text)} is neither true nor false")
        return _FLAGS[text.lower()]

    words = "|".join(
        re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", word) for word in _FLAGS
    )
    fragment = either({"type": "boolean"}, string(words))
    return Kind(
        "true or false", one_of(("true", "false")), parse, lambda value: str(value).lower(), fragment=fragment
    )


def text(noun: str, allowed: str, pattern: str) -> Kind[str]:
    """A text that a regular expression covers as a whole."""
    compiled = re.compile(pattern)

    def parse(value: str) -> str:
        if compiled.fullmatch(value) is None:
            raise RefusedError(f"{quoted(value)} is not {noun}")
        return value

    return Kind(noun, allowed, parse, fragment=scalar(pattern))


def printable(noun: str, allowed: str, longest: int) -> Kind[str]:
    """A text of 1 to `longest` characters, none of which is a control."""

    def parse(value: str) -> str:
        if not 0 < len(value) <= longest or not value.isprintable():
            raise RefusedError(f"{quoted(value)} is not {noun}")
        return value

    return Kind(noun, allowed, parse, fragment={**TEXT, "minLength": 1, "maxLength": longest})


def fixed(only: str, value: T, noun: str) -> Kind[T]:
    """A field of the contract that has a single value in this version: `only`, which reads as `value`."""

    def parse(given: str) -> T:
        if given != only:
            raise RefusedError(f"{quoted(given)} is {NOT_YET}")
        return value

    fragment = {"enum": [value, only]}
    return Kind(noun, only, parse, lambda _: only, fragment=fragment)


class _NotYet(Kind[Any]):
    def validate(self, value: object) -> None:
        del value
        raise RefusedError(NOT_YET, self.allowed)


def not_yet(noun: str, allowed: str) -> Kind[Any]:
    """A field of the contract that takes no value in this version; what was given is not shown."""
    return _NotYet(noun, allowed, str, fragment={"not": {}})
