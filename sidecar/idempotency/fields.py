"""HTTP fields: headers and trailers as they stand on the wire (RFC 9110 §5)."""

from typing import TypeAlias

Fields: TypeAlias = tuple[tuple[str, bytes], ...]
"""(name, value) pairs in the order received; names lower-case, values as bytes, repeated names kept."""


def values(fields: Fields, name: str) -> tuple[bytes, ...]:
    """Every value of the field `name` (lower-case), in order; empty where it is absent."""
    found: list[bytes] = []
    for field, value in fields:
        if field == name:
            found.append(value)  # not a comprehension: that is a call more, and finds one as a rule
    return tuple(found)


def first(fields: Fields, name: str) -> bytes | None:
    """The first value of the field `name` (lower-case), or None where it is absent."""
    for field, value in fields:
        if field == name:
            return value
    return None


def content_length(fields: Fields) -> int | None:
    """The length that a message announces for its body, in bytes; None where only its end can tell."""
    announced = first(fields, "content-length")
    countable = announced is not None and announced.isdigit() and len(announced) < 20
    return int(announced) if announced is not None and countable else None


HOP_BY_HOP = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
"""About one connection, not about the message (RFC 9110 §7.6.1, §11.7)."""


def end_to_end(fields: Fields) -> Fields:
    """The fields less those about a connection, among them what `Connection` itself names."""
    gone = hop_by_hop(fields)
    return tuple([field for field in fields if field[0] not in gone])


def hop_by_hop(fields: Fields) -> frozenset[str]:
    """The names of those about a connection, among them what `Connection` itself names."""
    connection = values(fields, "connection")
    if not connection:
        return HOP_BY_HOP
    named = b",".join(connection).decode("latin-1").lower()
    return HOP_BY_HOP.union(name.strip() for name in named.split(","))
