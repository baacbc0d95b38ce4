"""Pieces framed with their lengths: no two different sequences of pieces become the same bytes."""

import struct
from functools import lru_cache

_LENGTH = struct.Struct(">Q").pack


def frame(piece: bytes) -> bytes:
    """A piece behind its length, in 8 bytes."""
    return _LENGTH(len(piece)) + piece


def frames(*pieces: bytes) -> bytes:
    """A frame around each of the pieces: an injective concatenation."""
    return b"".join(map(frame, pieces))


@lru_cache(maxsize=128)
def frame_of_text(text: str) -> bytes:
    """A frame around one piece of Latin-1 text that comes again: a method, a host, a path.

    The last ones are kept: each request needs its method and its path twice, and as a rule has them in common
    with others. Envoy takes heads of up to 60 KiB, so at most some megabytes are.
    """
    return frame(text.encode("latin-1"))


def frame_of_values(found: tuple[bytes, ...]) -> bytes:
    """A frame around the number of the values, then one around each of them."""
    if not found:
        return _NONE
    if len(found) > 1:
        return frames(b"%d" % len(found), *found)
    return ONE + frame(found[0])


_NONE, ONE = frame(b"0"), frame(b"1")
"""What says that there is no value, and what stands in front of a single one."""
