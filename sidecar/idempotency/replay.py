"""What of a response is kept, and how it is given again (CONTRACT §4)."""

from functools import cache

from sidecar.idempotency.body import Body
from sidecar.idempotency.fields import Fields, end_to_end, first, hop_by_hop, values
from sidecar.idempotency.record import Record

REPLAYED = "idempotent-replayed"
"""Marks a replay. A first execution never carries it, whatever the upstream says."""

_FOREIGN = (":", "x-envoy-")
"""What the names begin with that are Envoy's: of pseudo-header fields, and of its own."""

_NEVER_STORED = frozenset({"date", REPLAYED})
"""A replay has its own time, and its own mark."""


def storable(fields: Fields, excluded: frozenset[str]) -> Fields:
    """The header or trailer fields that are kept: end-to-end, not Envoy's own, not excluded by the policy."""
    if not fields:
        return ()
    gone, never = hop_by_hop(fields), _never_stored(excluded)
    return tuple(
        [
            field
            for field in fields
            if (name := field[0]) not in gone and name not in never and not name.startswith(_FOREIGN)
        ]
    )


@cache
def _never_stored(excluded: frozenset[str]) -> frozenset[str]:
    """What a policy excludes and every one does: the union is made once for each policy."""
    return _NEVER_STORED | excluded


def may_stream(headers: Fields, *, to_call: bool) -> bool:
    """Whether a streamed reply gives these header fields as they are; to a gRPC call there is no other.

    It keeps only the last of several fields of one name. They can be joined but for Set-Cookie (RFC 6265 §3).
    """
    return to_call or len(values(headers, "set-cookie")) < 2


def needs_stream(headers: Fields, size: int, trailers: Fields, *, to_call: bool) -> bool:
    """Whether only a streamed reply gives a response as it was, of a body of `size` bytes.

    To a gRPC call an immediate one is always an error. To others it has no trailers, gives a body without
    a content-type one of its own, and takes content-type and content-length from an empty body. Where a
    streamed one would lose something itself (`may_stream`), that decides.
    """
    if to_call:
        return True
    if not may_stream(headers, to_call=False):
        return False
    typed = first(headers, "content-type") is not None
    counted = first(headers, "content-length") not in (None, b"0")
    return bool(trailers) or typed != bool(size) or (counted and not size)


def replay_headers(record: Record) -> Fields:
    """The header fields of a replay: the recorded ones and the mark."""
    return (*_uncounted(record.headers, record.body), (REPLAYED, b"true"))


def first_headers(headers: Fields, body: Body) -> Fields:
    """The header fields of the first response of a detached execution: all that are end-to-end."""
    return tuple(field for field in _uncounted(end_to_end(headers), body) if field[0] != REPLAYED)


def _uncounted(headers: Fields, body: Body) -> Fields:
    """Without the body's length: Envoy knows it, save where there is no body to count (HEAD, 304)."""
    return tuple(field for field in headers if field[0] != "content-length") if body else headers
