"""A request's body as JSON, where a policy has to understand it: for its key, or for its fingerprint."""

from sidecar.idempotency.context import Json
from sidecar.idempotency.json_text import MalformedJsonError, read
from sidecar.idempotency.problem import BodyInvalid


def read_body(body: bytes) -> Json:
    """The document that a body is.

    Raises:
        BodyInvalid: It is none, or one that its upstream could read otherwise (see `json_text.read`).
    """
    try:
        return read(body)
    except MalformedJsonError as error:
        raise BodyInvalid(
            f"The request body cannot be read as JSON: {error}; allowed: JSON in UTF-8 (RFC 8259), each name "
            "of an object given once."
        ) from None
