"""What makes two requests the same: SHA-256 over head and body bytes, as they pass (CONTRACT §3)."""

import hashlib
import hmac

from sidecar.idempotency.fields import values
from sidecar.idempotency.policy import BodyMode, FingerprintSpec
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import frame

_VERSION = b"idempotency-fingerprint/1"

UNCOMPARABLE = b"uncomparable"
"""Noted in place of a fingerprint where a request was answered before it had ended: nothing equals it."""


class Fingerprinter:
    """The fingerprint of one request, fed as its body passes; memory does not grow with the body."""

    __slots__ = ("_digest", "_with_body")

    def __init__(self, spec: FingerprintSpec, request: Request) -> None:
        self._with_body = spec.body is BodyMode.RAW
        # The head is sealed with its own length-free digest so that no body can imitate a longer head.
        self._digest = hashlib.sha256(hashlib.sha256(_head(spec, request)).digest())

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of the request body."""
        if self._with_body and data:
            self._digest.update(data)

    def digest(self) -> bytes:
        """The fingerprint of what has been fed so far: 32 bytes."""
        return self._digest.digest()

    def equals(self, fingerprint: bytes) -> bool:
        """Whether the request is the one with this fingerprint, in constant time."""
        return hmac.compare_digest(self.digest(), fingerprint)


def _head(spec: FingerprintSpec, request: Request) -> bytes:
    """What of the head counts, framed so that no two heads meet by concatenation."""
    pieces = [request.method.encode("latin-1"), request.path.encode("latin-1")]
    if spec.query and request.query is not None:
        pieces += (b"?", request.query.encode("latin-1"))
    for name in spec.headers:
        found = values(request.headers, name)
        pieces += (name.encode("latin-1"), b"%d" % len(found), *found)
    return _VERSION + frame(*pieces)
