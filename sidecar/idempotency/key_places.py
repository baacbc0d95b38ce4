"""Where a request's key stands: in its head, in its body, or nowhere, where it is made of the request."""

import re

from sidecar.idempotency import json_text, query
from sidecar.idempotency.fields import first
from sidecar.idempotency.fingerprint import Fingerprinter
from sidecar.idempotency.json_body import read_body
from sidecar.idempotency.key import find_key
from sidecar.idempotency.pointer import Nothing
from sidecar.idempotency.policy import KeyPlace, KeySource
from sidecar.idempotency.problem import KeyInvalid, KeyMissing
from sidecar.idempotency.request import Request

_HEADER = KeyPlace.HEADER
_PRINTABLE = re.compile(r"[ -~]+")
"""What a String of RFC 9651 §3.3.3 may hold: a key is the same text wherever it stands."""


def is_in_body(request: Request, source: KeySource) -> bool:
    """Whether the body of this request, where it has one, has to be read before its key is known.

    A JSON key stands in a body of JSON alone; and of a gRPC call, or an upgrade, there is no such body.
    """
    if request.is_upgrade or request.may_be_grpc:
        return False
    if source.place is KeyPlace.JSON:
        return json_text.is_json(first(request.headers, "content-type"))
    return source.place is KeyPlace.DERIVED


def key_in_head(request: Request, source: KeySource) -> str | None:
    """The key in a header or in the query; None where there is none and none is required.

    Raises:
        KeyMissing: The policy requires a key and the request has none.
        KeyInvalid: The key is malformed, empty, too long or given more than once.
    """
    if source.place is _HEADER:
        return find_key(request.headers, source)
    where = f"query parameter {source.name}"
    given = query.parameters(request.query or "", source.name)
    if not given:
        _check_optional(where, source)
        return None
    if len(given) > 1:
        raise KeyInvalid(f"The {where} was given {len(given)} times; give it once.")
    return _checked(given[0].decode("latin-1"), where, source)


def key_in_body(body: bytes | bytearray, source: KeySource, fingerprint: Fingerprinter) -> str | None:
    """The key in a whole body, or made of the whole request; None where there is none and none is required.

    `body` is empty where `is_in_body` says that there is nothing to read. `fingerprint` has been fed with it,
    and is told what it means, so that it is read once.

    Raises:
        KeyMissing: The policy requires a key and the request has none.
        KeyInvalid: The member is no text, is empty or too long.
        BodyInvalid: The body is no JSON and should be.
    """
    if source.place is KeyPlace.DERIVED:
        return fingerprint.digest().hex()
    where = f"member {source.pointer.text} of the JSON body"
    if not body:
        _check_optional(where, source)
        return None
    document = read_body(bytes(body))
    found = source.pointer.find(document)
    fingerprint.take_document(document)
    if isinstance(found, Nothing):
        _check_optional(where, source)
        return None
    if not isinstance(found, str):
        raise KeyInvalid(f"The {where} is no string; allowed: {_allowed(source)}.")
    return _checked(found, where, source)


def _check_optional(where: str, source: KeySource) -> None:
    if source.required:
        raise KeyMissing(f"This request needs the {where}: {_allowed(source)}.")


def _checked(key: str, where: str, source: KeySource) -> str:
    if not _PRINTABLE.fullmatch(key) or len(key) > source.max_length:
        raise KeyInvalid(f"The {where} is no key; allowed: {_allowed(source)}.")
    return key


def _allowed(source: KeySource) -> str:
    return f"1 to {source.max_length} printable ASCII characters"
