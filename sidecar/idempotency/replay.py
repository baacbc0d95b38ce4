"""What of a response is kept, and how it is given again (CONTRACT §4)."""

from sidecar.idempotency.fields import Fields
from sidecar.idempotency.record import Record

REPLAYED = "idempotent-replayed"
"""Marks a replay. A first execution never carries it, whatever the upstream says."""

_NEVER_STORED = frozenset(
    {
        # Hop-by-hop (RFC 9110 §7.6.1): about a connection, not the response.
        "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
        # A replay has its own time, and its own mark.
        "date", REPLAYED,
    }
)  # fmt: skip


def storable(fields: Fields, excluded: frozenset[str]) -> Fields:
    """The header or trailer fields that are kept: end-to-end, not Envoy's own, not excluded by the policy."""
    return tuple(
        (name, value)
        for name, value in fields
        if name not in _NEVER_STORED and name not in excluded and not name.startswith(("x-envoy-", ":"))
    )


def replay_headers(record: Record) -> Fields:
    """The header fields of a replay: the recorded ones and the mark.

    The body's length is left to Envoy, which knows it, save where there is no body to count (an answer to
    HEAD, 304).
    """
    kept = record.headers if not record.body else tuple(f for f in record.headers if f[0] != "content-length")
    return (*kept, (REPLAYED, b"true"))
