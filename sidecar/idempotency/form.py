"""Forms (application/x-www-form-urlencoded): the order of its variables does not count.

Read as the URL standard of WHATWG has it (§5.1), less its last step, in which bytes that are no UTF-8 become
one and the same character: they stay what they are.
"""

import re
from operator import itemgetter
from urllib.parse import unquote_to_bytes

from sidecar.idempotency.framing import frames

_TYPE = b"application/x-www-form-urlencoded"
_NAME = itemgetter(0)
_CLEAR = re.compile(rb"[0-9A-Za-z_-]+(?:\[[^\[\]]*\])*")
"""A name that parsers agree about: that of a variable, with or without places inside of it in brackets."""


def is_form(content_type: bytes | None) -> bool:
    """Whether a body of this content-type is a form; parameters and case do not count."""
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == _TYPE


def fields(data: bytes) -> list[tuple[bytes, bytes]]:
    """The decoded (name, value) pairs, in order.

    `+` is a space, `%` with two hexadecimal digits a byte, any other `%` itself. A field without `=` has the
    empty value; where nothing stands between two `&`, there is no field.
    """
    return [_decoded(field) for field in data.split(b"&") if field]


def canonical(data: bytes) -> bytes:
    """The bytes that all forms of the same fields have, in any order that parsers read alike, and no others.

    Variables may come in any order. The fields of one keep theirs: it may decide which value holds, and what
    belongs together. To Rack, `i[][a]=1&i[][b]=5&i[][a]=2` and `i[][a]=1&i[][a]=2&i[][b]=5` are other items.
    All of the order counts where a name is not clear, for parsers can take it for another (PHP `a.b` for
    `a_b`, Rack `[a]` for `a`), and where there is a `;`, which some take for a `&`. Every name and value is
    framed with its length.
    """
    found = fields(data)
    if b";" not in data and all(map(_CLEAR.fullmatch, map(_NAME, found))):
        found.sort(key=_variable)  # it is stable
    return frames(*[piece for field in found for piece in field])


def _variable(field: tuple[bytes, bytes]) -> bytes:
    """What is before the brackets; to some parsers, `A` is `a`."""
    return field[0].partition(b"[")[0].lower()


def _decoded(field: bytes) -> tuple[bytes, bytes]:
    name, _, value = field.replace(b"+", b" ").partition(b"=")
    return unquote_to_bytes(name), unquote_to_bytes(value)
