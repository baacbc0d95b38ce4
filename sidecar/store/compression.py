"""The pieces of a large body as a store keeps them: as they are, or as zstd frames where that pays.

What was measured to choose the level, and from which size on, stands in docs/decisions/0017.
"""

import zlib
from collections.abc import Callable
from typing import TypeAlias

import zstandard

from sidecar.idempotency.body import KeptBody
from sidecar.idempotency.fields import Fields, first
from sidecar.store.port import StoreCorruptError

LEVEL = 1
"""zstd's level: on JSON twice as fast as 3, and no larger."""

_WORTHWHILE = 0.9
"""How much of its size a piece may keep, at most, for the others to be compressed too."""

_COMPRESSED_KINDS = ("image/", "audio/", "video/", "font/")
_COMPRESSED_TYPES = frozenset(
    {
        "application/gzip",
        "application/zip",
        "application/zstd",
        "application/x-7z-compressed",
        "application/x-bzip2",
        "application/x-xz",
        "application/vnd.rar",
    }
)
_UNCOMPRESSED_TYPES = frozenset({"image/svg+xml", "image/bmp", "audio/wav"})

Pack: TypeAlias = Callable[[bytes], bytes]


def packing(headers: Fields, sample: bytes) -> Pack | None:
    """What compresses each piece of a response's body; None where that does not pay.

    Args:
        headers: The response's: what is compressed already, by its content-encoding (RFC 9110 §8.4) or its
            media type, is not compressed again.
        sample: The first piece, which decides for those types that say nothing.
    """
    if _is_compressed(headers):
        return None
    compress = zstandard.ZstdCompressor(level=LEVEL).compress
    return compress if len(compress(sample)) <= _WORTHWHILE * len(sample) else None


def unpacked(data: bytes, body: KeptBody, number: int) -> bytes:
    """Piece `number` of `body`, of which the store holds `data`.

    No more memory is taken than the record says that the piece is long, whatever `data` claims to hold.

    Raises:
        StoreCorruptError: The data is damaged, or is another piece's.
    """
    size = body.piece_size(number)
    piece = _decompressed(data, size) if body.compressed else data
    if len(piece) != size or zlib.crc32(piece) != body.checksums[number]:
        raise StoreCorruptError(f"piece {number} of the stored body is damaged, or another body's")
    return piece


def _decompressed(data: bytes, size: int) -> bytes:
    """The content of the one frame in `data`; empty where it is not one of a content of `size` bytes.

    The frame's header says how much is allocated: it is compared before anything is.
    """
    try:
        if zstandard.frame_content_size(data) != size:
            return b""
        return zstandard.ZstdDecompressor().decompress(data, allow_extra_data=False)
    except zstandard.ZstdError:
        return b""


def _is_compressed(headers: Fields) -> bool:
    coding = (first(headers, "content-encoding") or b"").strip().lower()
    if coding not in (b"", b"identity"):
        return True
    named = (first(headers, "content-type") or b"").decode("latin-1").partition(";")[0].strip().lower()
    kind = named.startswith(_COMPRESSED_KINDS) and named not in _UNCOMPRESSED_TYPES
    return kind or named in _COMPRESSED_TYPES
