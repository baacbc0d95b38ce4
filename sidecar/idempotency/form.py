"""Forms (application/x-www-form-urlencoded): the same fields in any order are the same form.

Read as the URL standard of WHATWG has it (§5.1), less its last step, in which bytes that are no UTF-8 become
one and the same character: they stay what they are.
"""

from operator import itemgetter
from urllib.parse import unquote_to_bytes

from sidecar.idempotency.framing import frames

_TYPE = b"application/x-www-form-urlencoded"
_NAME = itemgetter(0)


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
    """The bytes that all forms with the same fields have, and no others.

    The order of different names does not count. The values of one name keep theirs: it may decide which of
    them holds. Every name and value is framed with its length.
    """
    # The sort is stable, and it compares names alone.
    ordered = sorted(fields(data), key=_NAME)
    return frames(*[piece for field in ordered for piece in field])


def _decoded(field: bytes) -> tuple[bytes, bytes]:
    name, _, value = field.replace(b"+", b" ").partition(b"=")
    return unquote_to_bytes(name), unquote_to_bytes(value)
