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


NO_VALUE, ONE_VALUE = frame(b"0"), frame(b"1")
"""What says that there is none, and what stands in front of a single one."""

KEPT_LENGTH = 256
"""The longest text whose frame is kept, in characters."""


def frame_of_text(text: str) -> bytes:
    """A frame around one piece of Latin-1 text that comes again: a method, a host, a path.

    The last short ones are kept: each request needs its method and its path twice, and as a rule has them in
    common with others.
    """
    return _kept_frame(text) if len(text) <= KEPT_LENGTH else frame(text.encode("latin-1"))


@lru_cache(maxsize=128)
def _kept_frame(text: str) -> bytes:
    return frame(text.encode("latin-1"))


def frames_of_values(found: tuple[bytes, ...]) -> bytes:
    """One around the number of the values, then one around each of them."""
    if not found:
        return NO_VALUE
    if len(found) > 1:
        return frames(b"%d" % len(found), *found)
    return ONE_VALUE + frame(found[0])
