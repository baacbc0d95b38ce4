"""JSON Pointer (RFC 6901): names one place in a JSON document, such as `/params/_meta/idempotencyKey`."""

import re
from dataclasses import dataclass

from sidecar.idempotency.context import Json

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_BAD_ESCAPE = re.compile(r"~(?![01])")


class Nothing:
    """Stands for the value of a place that a document does not have; null is a value."""


NOTHING = Nothing()


@dataclass(frozen=True, slots=True)
class Pointer:
    """A parsed pointer. `text` is as it was written, `parts` its reference tokens, unescaped."""

    text: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "Pointer":
        """Read a pointer (RFC 6901 §3); the empty one names the whole document.

        Raises:
            ValueError: It does not begin with `/`, or has a `~` that is neither `~0` nor `~1`.
        """
        if text and not text.startswith("/"):
            raise ValueError("a JSON Pointer begins with /")
        if _BAD_ESCAPE.search(text):
            raise ValueError("in a JSON Pointer ~ is written ~0, and / in a name ~1")
        return cls(text, tuple(map(_unescaped, text.split("/")[1:])))

    def find(self, document: Json) -> Json | Nothing:
        """The value at this place, `NOTHING` where there is none (RFC 6901 §4)."""
        found: Json | Nothing = document
        for part in self.parts:
            found = _inside(found, part)
        return found

    def remove_from(self, document: Json) -> None:
        """Take the member at this place out of the document, where there is one.

        An item of a list is not taken out: what follows it would move up, so it becomes null. The whole
        document cannot be taken out of itself.
        """
        if not self.parts:
            return
        *way, last = self.parts
        holder = Pointer("", tuple(way)).find(document)
        if isinstance(holder, dict):
            holder.pop(last, None)
        elif isinstance(holder, list) and not isinstance(_inside(holder, last), Nothing):
            holder[int(last)] = None


def _inside(value: Json | Nothing, part: str) -> Json | Nothing:
    if isinstance(value, dict):
        return value.get(part, NOTHING)
    if isinstance(value, list) and _INDEX.fullmatch(part) and int(part) < len(value):
        return value[int(part)]
    return NOTHING


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
