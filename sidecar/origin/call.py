"""One call and its answer."""

from dataclasses import dataclass

from sidecar.idempotency.body import ReceivedBody
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Origin


@dataclass(frozen=True, slots=True)
class OriginCall:
    """A request to be made at the origin.

    Attributes:
        method: As it came from the client, not CONNECT.
        authority: Goes into `Host`.
        target: Path and query as they stand on the wire, one character a byte (Latin-1).
        headers: Sent as they are and in their order, and nothing else is; names lower-case. Hop-by-hop
            fields and `host` are left out. `content-length` is kept true to the body; where there is none
            and the body is not empty, it is sent in chunks, as the client will have sent it.
        body: The whole request body. Request trailers are not carried.
        deadline_ms: From now to the last byte of the answer, in milliseconds.
        max_response_body: The largest answer that is kept, in bytes.
    """

    method: str
    authority: str
    target: str
    headers: Fields
    body: bytes
    deadline_ms: int
    max_response_body: int


@dataclass(frozen=True, slots=True)
class OriginAnswer:
    """A complete answer: its last byte was received.

    Attributes:
        status: 200 to 599; interim (1xx) answers are dropped.
        headers: In the order received, repeated names kept, names lower-case; without hop-by-hop fields.
        body: As it was sent, never decoded; None where it was larger than the call's `max_response_body`.
        trailers: As the headers.
        origin: What the origin listener says of where the answer came from.
    """

    status: int
    headers: Fields
    body: ReceivedBody | None
    trailers: Fields
    origin: Origin
