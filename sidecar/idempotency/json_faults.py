"""What a JSON text may not have though the grammar allows it, and where it has it (I-JSON, RFC 7493 §2).

To find the place takes a pass of its own over the text, in Python; only a text that is refused pays for it.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

MAX_DEPTH = 64
"""How deep arrays and objects may be nested; the parser of .NET, by its default, reads no deeper either."""

_MAX_INTEGER = (1 << 53) - 1
_MAX_INTEGER_LENGTH = len(f"-{_MAX_INTEGER}")
# Possessive, so that a long string is one step and nothing of it is kept for going back.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\s"\[\]{}:,]++|[\[\]{}:,]', re.DOTALL)
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_NOT_EXACT = (
    "a number that no double holds exactly as it is written (allowed: integers up to 2^53-1, decimals of up "
    "to 15 digits; send longer ones as strings)"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, in words for whoever wrote the text, and where: the index of its first character."""

    what: str
    index: int


def is_exact_integer(text: str) -> bool:
    """Whether every parser reads this integer as the same number: a double holds it and its neighbours."""
    return len(text) <= _MAX_INTEGER_LENGTH and abs(int(text)) <= _MAX_INTEGER


def is_exact_float(text: str) -> bool:
    """Whether the double nearest to this number is written back as the very same number.

    One too large for a double is not, nor one too small: as an infinity, or as 0, it would equal others.
    """
    try:
        return Decimal(text) == Decimal(repr(float(text)))
    except InvalidOperation:  # an exponent of 19 digits or more
        return False


def first_fault(text: str) -> Fault:
    """The first fault of a text that is well-formed JSON at least up to there.

    Raises:
        ValueError: It has none.
    """
    holders: list[set[str] | None] = []
    before = ""
    for match in _TOKEN.finditer(text):
        token = match.group()
        names = holders[-1] if holders and before in {"{", ","} else None
        what = _fault_of(token, names) or _follow(token, holders)
        if what:
            return Fault(what, match.start())
        before = token
    raise ValueError("the text has no fault")


def _follow(token: str, holders: list[set[str] | None]) -> str | None:
    """Keep, for each array and object that is open, None or the names it has so far."""
    if token == "{":  # noqa: S105 (a token of JSON)
        holders.append(set())
    elif token == "[":  # noqa: S105 (a token of JSON)
        holders.append(None)
    elif token in {"]", "}"}:
        holders.pop()
    return f"nested more than {MAX_DEPTH} deep" if len(holders) > MAX_DEPTH else None


def _fault_of(token: str, names: set[str] | None) -> str | None:
    """What is wrong with one string, number or word; `names` of its object, where it is a name itself."""
    if token.startswith('"'):
        return _fault_of_string(json.loads(token) if "\\" in token else token[1:-1], names)
    if token in {"NaN", "Infinity", "-Infinity"}:
        return "NaN and infinities are no JSON numbers"
    if token.lstrip("-")[:1].isdigit():
        is_exact = is_exact_integer if token.lstrip("-").isdigit() else is_exact_float
        return None if is_exact(token) else _NOT_EXACT
    return None


def _fault_of_string(text: str, names: set[str] | None) -> str | None:
    if _HALF_PAIR.search(text):
        return "half of a surrogate pair in a string"
    if names is None:
        return None
    if text in names:
        return "a name that its object has already"
    names.add(text)
    return None
