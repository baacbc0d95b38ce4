"""What is kept of a finished exchange."""

from sidecar.idempotency.body import Body
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.value import Value


class Record(Value):
    """The response of the one execution, as it will be replayed.

    Attributes:
        status: The upstream's HTTP status.
        headers: Response header fields in the order received, repeated names kept, less those that
            are never stored (CONTRACT §4).
        body: The response body; empty where `replayable` is false. A large one is in pieces: in memory until
            a store has taken it (`HeldBody`), and to be asked for, as a rule, once it has (`KeptBody`).
        trailers: Response trailer fields.
        fingerprint: SHA-256 over the request (see `fingerprint.py`). None where the upstream answered
            before the whole request body had been seen: such a record can be compared with nothing.
        replayable: False where the response was executed but cannot be given again (larger than the
            policy's `max_response_body`, or without a fingerprint): duplicates are refused.
    """

    status: int
    headers: Fields
    body: Body
    trailers: Fields
    fingerprint: bytes | None
    replayable: bool = True
