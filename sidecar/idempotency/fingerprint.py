"""What makes two requests the same: SHA-256 over head and body (CONTRACT §3, `fingerprint`).

A body counts byte by byte, and is hashed as it passes; or by its meaning, and then all of it has to be there.
"""

import hashlib
import hmac
from collections.abc import Callable

from sidecar.idempotency import form, json_text, query
from sidecar.idempotency.fields import first, values
from sidecar.idempotency.policy import BodyMode, FingerprintSpec
from sidecar.idempotency.problem import BodyInvalid
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import frame

_VERSION = b"idempotency-fingerprint/1"

UNCOMPARABLE = b"uncomparable"
"""Noted in place of a fingerprint where a request was answered before it had ended: nothing equals it."""


class Fingerprinter:
    """The fingerprint of one request, fed as its body passes.

    Memory does not grow with a body that counts byte by byte. One that counts by its meaning is kept whole;
    whoever feeds it sees to it that there is not too much (`taken`).
    """

    __slots__ = ("_canonical", "_digest", "_result", "_spec", "_whole")

    def __init__(self, spec: FingerprintSpec, request: Request) -> None:
        self._spec = spec
        self._canonical = _canonical_form(spec, request)
        self._whole = bytearray()
        self._result: bytes | None = None
        # The head is sealed with its own length-free digest so that no body can imitate a longer head.
        head = _head(spec, request)
        if self._canonical is not None:
            head += frame(b"body", spec.body.encode())
        self._digest = hashlib.sha256(hashlib.sha256(head).digest())

    @property
    def needs_whole_body(self) -> bool:
        """Whether nobody can tell before the body's end what the fingerprint is, and whether there is one."""
        return self._canonical is not None

    @property
    def taken(self) -> int:
        """How many bytes of the body are kept here."""
        return len(self._whole)

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of the request body."""
        if not data or self._spec.body is BodyMode.NONE:
            return
        if self._canonical is None:
            self._digest.update(data)
        else:
            self._whole += data

    def digest(self) -> bytes:
        """The fingerprint of what has been fed so far: 32 bytes.

        Raises:
            BodyInvalid: The body counts by its meaning and has none: it is no JSON.
        """
        if self._canonical is None:
            return self._digest.digest()
        if self._result is None:
            # A request without a body has one in every form, and it is not that of any body.
            self._digest.update(self._canonical(bytes(self._whole)) if self._whole else b"")
            self._result, self._whole = self._digest.digest(), bytearray()
        return self._result

    def equals(self, fingerprint: bytes) -> bool:
        """Whether the request is the one with this fingerprint, in constant time.

        Raises:
            BodyInvalid: As for `digest`.
        """
        return hmac.compare_digest(self.digest(), fingerprint)


def _canonical_form(spec: FingerprintSpec, request: Request) -> Callable[[bytes], bytes] | None:
    """What brings the body into a form that every equal one has; None where its bytes count, or nothing."""
    if request.may_be_grpc:  # `application/grpc+json` frames its messages: no document of JSON
        return None
    content_type = first(request.headers, "content-type")
    if spec.body is BodyMode.JSON and json_text.is_json(content_type):
        return lambda body: _canonical_json(spec, body)
    if spec.body is BodyMode.FORM and form.is_form(content_type):
        return form.canonical
    return None


def _canonical_json(spec: FingerprintSpec, body: bytes) -> bytes:
    try:
        document = json_text.read(body)
    except json_text.MalformedJsonError as error:
        raise BodyInvalid(f"The request body cannot be read as JSON: {error}.") from None
    for pointer in spec.omit:
        pointer.remove_from(document)
    return json_text.canonical(document)


def _head(spec: FingerprintSpec, request: Request) -> bytes:
    """What of the head counts, framed so that no two heads meet by concatenation."""
    pieces = [request.method.encode("latin-1"), request.path.encode("latin-1")]
    if spec.query and request.query is not None:
        if spec.query_order:
            pieces += (b"?", request.query.encode("latin-1"))
        else:
            pieces += (b"?unordered", query.unordered(request.query))
    for name in spec.headers:
        found = values(request.headers, name)
        pieces += (name.encode("latin-1"), b"%d" % len(found), *found)
    return _VERSION + frame(*pieces)
