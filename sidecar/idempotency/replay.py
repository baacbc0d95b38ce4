"""What of a response is kept, and how it is given again (CONTRACT §4)."""

from sidecar.idempotency.fields import Fields, end_to_end
from sidecar.idempotency.record import Record

REPLAYED = "idempotent-replayed"
"""Marks a replay. A first execution never carries it, whatever the upstream says."""

_NEVER_STORED = frozenset({"date", REPLAYED})
"""A replay has its own time, and its own mark."""


def storable(fields: Fields, excluded: frozenset[str]) -> Fields:
    """The header or trailer fields that are kept: end-to-end, not Envoy's own, not excluded by the policy."""
    return tuple(
        [
            field
            for field in end_to_end(fields)
            if field[0] not in _NEVER_STORED
            and field[0] not in excluded
            and not field[0].startswith(("x-envoy-", ":"))
        ]
    )


def replay_headers(record: Record) -> Fields:
    """The header fields of a replay: the recorded ones and the mark."""
    return (*_uncounted(record.headers, record.body), (REPLAYED, b"true"))


def first_headers(headers: Fields, body: bytes) -> Fields:
    """The header fields of the first response of a detached execution: all that are end-to-end."""
    return tuple(field for field in _uncounted(end_to_end(headers), body) if field[0] != REPLAYED)


def _uncounted(headers: Fields, body: bytes) -> Fields:
    """Without the body's length: Envoy knows it, save where there is no body to count (HEAD, 304)."""
    return tuple(field for field in headers if field[0] != "content-length") if body else headers
