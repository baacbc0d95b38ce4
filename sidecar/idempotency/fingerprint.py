"""What makes two requests the same: SHA-256 over head and body (CONTRACT §3, `fingerprint`).

A body counts byte by byte, and is hashed as it passes; or by its meaning, and then all of it has to be there.
"""

import hashlib
import hmac

from sidecar.idempotency import form, json_text, query
from sidecar.idempotency.context import Json
from sidecar.idempotency.fields import first, values
from sidecar.idempotency.framing import frame_of_text, frames, frames_of_values
from sidecar.idempotency.json_body import read_body
from sidecar.idempotency.policy import BodyMode, FingerprintSpec
from sidecar.idempotency.request import Request

_VERSION = b"idempotency-fingerprint/1"

UNCOMPARABLE = b"uncomparable"
"""Noted in place of a fingerprint where a request was answered before it had ended: nothing equals it."""


_NONE = BodyMode.NONE
_BY_MEANING = frozenset({BodyMode.JSON, BodyMode.FORM})


class Fingerprinter:
    """The fingerprint of one request, fed as its body passes.

    Memory does not grow with a body that counts byte by byte. One that counts by its meaning is kept whole;
    whoever feeds it sees to it that there is not too much (`taken`).
    """

    __slots__ = ("_digest", "_meaning", "_result", "_spec", "_whole")

    def __init__(self, spec: FingerprintSpec, request: Request) -> None:
        self._spec = spec
        self._meaning = _meaning(spec, request)
        self._whole = bytearray()
        self._result: bytes | None = None
        # The head is sealed with its own length-free digest so that no body can imitate a longer head.
        head = _head(spec, request)
        if self._meaning is not None:
            head += frames(b"body", self._meaning.encode())
        self._digest = hashlib.sha256(hashlib.sha256(head).digest())

    @property
    def needs_whole_body(self) -> bool:
        """Whether nobody can tell before the body's end what the fingerprint is, and whether there is one."""
        return self._meaning is not None

    @property
    def taken(self) -> int:
        """How many bytes of the body are kept here."""
        return len(self._whole)

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of the request body."""
        if not data or self._spec.body is _NONE:
            return
        if self._meaning is None:
            self._digest.update(data)
        else:
            self._whole += data

    def take_document(self, document: Json) -> None:
        """What the whole body means, from who has read it; the document loses what the policy omits."""
        if self._meaning is BodyMode.JSON:
            self._conclude(_canonical_json(self._spec, document))

    def digest(self) -> bytes:
        """The fingerprint of what has been fed so far: 32 bytes.

        Raises:
            BodyInvalid: The body counts by its meaning and has none: it is no JSON.
        """
        if self._meaning is None:
            return self._digest.digest()
        return self._result or self._conclude(self._canonical())

    def _canonical(self) -> bytes:
        """The body in the form that every equal one has; of a request without one it is that of no body."""
        body = bytes(self._whole)
        if not body:
            return b""
        if self._meaning is BodyMode.FORM:
            return form.canonical(body)
        return _canonical_json(self._spec, read_body(body))

    def _conclude(self, canonical: bytes) -> bytes:
        self._digest.update(canonical)
        self._result, self._whole = self._digest.digest(), bytearray()
        return self._result

    def equals(self, fingerprint: bytes) -> bool:
        """Whether the request is the one with this fingerprint, in constant time.

        Raises:
            BodyInvalid: As for `digest`.
        """
        return hmac.compare_digest(self.digest(), fingerprint)


def _meaning(spec: FingerprintSpec, request: Request) -> BodyMode | None:
    """In what form the body counts by its meaning; None where its bytes count, or nothing of it."""
    if spec.body not in _BY_MEANING:
        return None
    if request.may_be_grpc:  # `application/grpc+json` frames its messages: no document of JSON
        return None
    content_type = first(request.headers, "content-type")
    by_meaning = (spec.body is BodyMode.JSON and json_text.is_json(content_type)) or (
        spec.body is BodyMode.FORM and form.is_form(content_type)
    )
    return spec.body if by_meaning else None


def _canonical_json(spec: FingerprintSpec, document: Json) -> bytes:
    for pointer in spec.omit:
        pointer.remove_from(document)
    return json_text.canonical(document)


def _head(spec: FingerprintSpec, request: Request) -> bytes:
    """What of the head counts, framed so that no two heads meet by concatenation."""
    pieces = [_VERSION, frame_of_text(request.method), frame_of_text(request.path)]
    if spec.query and request.query is not None:
        if spec.query_order:
            pieces.append(frames(b"?", request.query.encode("latin-1")))
        else:
            pieces.append(frames(b"?unordered", query.unordered(request.query)))
    for name in spec.headers:
        pieces += (frame_of_text(name), frames_of_values(values(request.headers, name)))
    return b"".join(pieces)
