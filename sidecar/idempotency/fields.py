"""HTTP fields: headers and trailers as they stand on the wire (RFC 9110 §5)."""

from typing import TypeAlias

Fields: TypeAlias = tuple[tuple[str, bytes], ...]
"""(name, value) pairs in the order received; names lower-case, values as bytes, repeated names kept."""


def values(fields: Fields, name: str) -> tuple[bytes, ...]:
    """Every value of the field `name` (lower-case), in order; empty where it is absent."""
    return tuple(value for field, value in fields if field == name)


def first(fields: Fields, name: str) -> bytes | None:
    """The first value of the field `name` (lower-case), or None where it is absent."""
    for field, value in fields:
        if field == name:
            return value
    return None
