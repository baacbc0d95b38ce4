"""The idempotency key: where it stands in a request and which forms are accepted.

The IETF draft (httpapi-idempotency-key-header-07 §2.1) makes it a structured-field String (RFC 9651 §3.3.3,
in double quotes). Clients in the wild send bare tokens, so `lenient` takes both, and `"abc"` and `abc` are
the same key; `strict` takes only the draft's form.
"""

import contextlib
import re
from typing import cast

import http_sf

from sidecar.idempotency.fields import Fields, values
from sidecar.idempotency.policy import KeyFormat, KeySource
from sidecar.idempotency.problem import KeyInvalid, KeyMissing

_STRICT = KeyFormat.STRICT

_PLAIN_STRING = re.compile(rb'"[ !#-\[\]-~]*"')
"""A String with nothing escaped in it and nothing after it means what stands in it (RFC 9651 §4.2.5)."""

_BARE = re.compile(rb"[!#-+\--:<-\[\]-~]*")
"""Visible characters less `" , ; \\`, which in a header field mean quoting, lists and parameters."""


def find_key(headers: Fields, source: KeySource) -> str | None:
    """The request's key, unquoted; None where there is none and none is required.

    Raises:
        KeyMissing: The policy requires a key and the request has none.
        KeyInvalid: The key is malformed, empty, too long or given more than once.
    """
    given = values(headers, source.name)
    if not given:
        if source.required:
            raise KeyMissing(f"This request needs the header {source.name}: {_allowed(source)}.")
        return None
    if len(given) > 1:
        raise KeyInvalid(f"The header {source.name} was given {len(given)} times; give it once.")
    key = _parse(given[0], source)
    if not key:
        raise KeyInvalid(f"The header {source.name} is empty; allowed: {_allowed(source)}.")
    if len(key) > source.max_length:
        raise KeyInvalid(
            f"The key in {source.name} has {len(key)} characters; allowed: at most {source.max_length}."
        )
    return key


def _parse(raw: bytes, source: KeySource) -> str:
    text = raw.strip(b" \t")
    if text.startswith(b'"') or source.format is _STRICT:
        return _parse_quoted(text, source)
    if not _BARE.fullmatch(text):
        raise KeyInvalid(
            f"The header {source.name} holds a character that a key cannot have; allowed: {_allowed(source)}."
        )
    return text.decode("ascii")


def _parse_quoted(text: bytes, source: KeySource) -> str:
    if _PLAIN_STRING.fullmatch(text):
        return text[1:-1].decode("ascii")
    item: object = None
    with contextlib.suppress(ValueError):  # StructuredFieldError is one
        # An item comes as (value, parameters); the parameters mean nothing here.
        item = cast("tuple[object, object]", http_sf.parse(text, tltype="item"))[0]
    # Token and DisplayString are other types of RFC 9651; only a String is a key.
    if type(item) is not str:
        raise KeyInvalid(
            f"The header {source.name} is not a structured-field String; allowed: {_allowed(source)}."
        )
    return item


def _allowed(source: KeySource) -> str:
    quoted = (
        f"a string in double quotes of 1 to {source.max_length} printable ASCII characters, "
        'such as "8e03978e"'
    )
    if source.format is _STRICT:
        return quoted
    return f"{quoted}, or the same without quotes, spaces, commas and semicolons"
