"""JSON as it may be compared: read strictly (I-JSON, RFC 7493), written canonically (RFC 8785).

Parsers disagree about what the grammar leaves open: which of two members of one name counts, what becomes of
a number with more digits than a double has. A document that the upstream could read otherwise than it was
read here is refused: else two requests that differ for the upstream could be taken for the same one.
"""

import codecs
import json
from typing import NoReturn

import rfc8785

from sidecar.idempotency.context import Json
from sidecar.idempotency.json_faults import MAX_DEPTH, first_fault, is_exact_float, is_exact_integer

MAX_BYTES = 256 * 1024
"""The most that may be read on an event loop, which stands still meanwhile.

Measured on a shared core: a list of customers of this size takes some 35 ms to read and to write canonically,
one of nothing but decimals 140 ms; to find a fault at the end of many short items took 210 ms. It is for the
caller to keep to it.
"""

_JSON_TYPES = frozenset(
    {b"application/json", b"text/json", b"application/json-rpc", b"application/jsonrequest"}
)
"""The last two are what JSON-RPC over HTTP may have in place of the first."""


class MalformedJsonError(ValueError):
    """This is no JSON, or none that everybody reads alike; the text says what is wrong with it, and where."""


class _FaultError(Exception):
    """The text has a fault; `first_fault` finds where."""


def read(data: bytes) -> Json:
    """The document; numbers that are equal as doubles are one: 1, 1.0 and 1e0, and 0 and -0.

    Raises:
        MalformedJsonError: It is not UTF-8 or begins with a byte order mark, is no JSON (RFC 8259), or has
            something that parsers disagree on: a name twice in one object, NaN or an infinity, half of a
            surrogate pair, a number that no double holds exactly as it is written, more than 64 levels.
    """
    text = _decoded(data)
    try:
        document: Json = _DECODER.decode(text)
        _check_depth(document)
        if "\\u" in text:
            _check_characters(document)
    except json.JSONDecodeError as error:
        what = error.msg[:1].lower() + error.msg[1:].removesuffix(" at")
        raise _malformed(what, text, error.pos) from None
    except (_FaultError, RecursionError):
        fault = first_fault(text)
        raise _malformed(fault.what, text, fault.index) from None
    return document


def canonical(document: Json) -> bytes:
    """The bytes that every document of this meaning has, and no other (RFC 8785)."""
    return rfc8785.dumps(document)


def is_json(content_type: bytes | None) -> bool:
    """Whether a body of this content-type is JSON, by its name or its suffix `+json` (RFC 6839 §3.1).

    Parameters and case do not count. A body of no type, or of an empty one, counts as JSON: what else is it
    to be read as?
    """
    essence = (content_type or b"").partition(b";")[0].strip().lower()
    return not essence or essence in _JSON_TYPES or (essence.endswith(b"+json") and b"/" in essence)


def _decoded(data: bytes) -> str:
    if data.startswith(codecs.BOM_UTF8):
        raise _malformed("a byte order mark, which JSON does not have", "", 0)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        raise _malformed("bytes that are not UTF-8", before, len(before)) from None


def _malformed(what: str, text: str, index: int) -> MalformedJsonError:
    """The error at a character of the text, by line and column, from 1, and by its byte, from 0."""
    before = text[:index]
    column = index - before.rfind("\n")
    return MalformedJsonError(
        f"{what} at line {before.count(chr(10)) + 1}, column {column} (byte {len(before.encode())})"
    )


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _FaultError
    return members


def _integer(text: str) -> int:
    if not is_exact_integer(text):
        raise _FaultError
    return int(text)


def _float(text: str) -> float:
    if not is_exact_float(text):
        raise _FaultError
    return float(text)


def _no_number(_: str) -> NoReturn:
    raise _FaultError


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_float, parse_constant=_no_number
)


def _check_depth(document: Json) -> None:
    """Level by level, not by recursion, which has limits of its own."""
    level = _holders([document])
    for _ in range(MAX_DEPTH):
        if not level:
            return
        level = [inner for outer in level for inner in _holders(outer)]
    if level:
        raise _FaultError


def _holders(outer: list[Json] | dict[str, Json]) -> list[list[Json] | dict[str, Json]]:
    """The arrays and objects directly inside."""
    inside = outer.values() if isinstance(outer, dict) else outer
    return [value for value in inside if isinstance(value, dict | list)]


def _check_characters(document: Json) -> None:
    """Only an escape can bring in half of a surrogate pair; no such text can be encoded."""
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _FaultError from None
