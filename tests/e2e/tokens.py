"""JSON Web Tokens as an issuer signs them (RFC 7515, HS256), and what Envoy needs to verify them."""

import base64
import hashlib
import hmac
import json
import time
import uuid

_SECRET = b"a secret of the tests, 32 bytes."


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwks() -> str:
    """The issuers' keys (RFC 7517): one, the same for all of them."""
    key = {"kty": "oct", "alg": "HS256", "kid": "test", "k": _encoded(_SECRET)}
    return json.dumps({"keys": [key]})


def token(**claims: object) -> str:
    """A fresh token with these claims, which no other token equals."""
    now = int(time.time())
    payload = {"iss": "issuer-a", "iat": now, "exp": now + 600, "jti": uuid.uuid4().hex, **claims}
    parts = [{"alg": "HS256", "typ": "JWT", "kid": "test"}, payload]
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in parts)
    return f"{signed}.{_encoded(hmac.digest(_SECRET, signed.encode(), hashlib.sha256))}"
