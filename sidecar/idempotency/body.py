"""Bodies of responses: bytes where they are small, in pieces where they are large (docs/decisions/0017).

A large body is held once, and given on piece by piece: nothing joins the pieces again.
"""

from typing import TypeAlias

from sidecar.idempotency.value import Value

PIECE_BYTES = 256 * 1024
"""The largest body that is kept together with its record, and the size of the pieces of larger ones.

Both are bounded by how long a single command may hold up the store; measured in docs/decisions/0017.
"""

LARGEST_BODY_BYTES = 64 * 1024 * 1024
"""What `max_response_body` may be set to at most."""


class HeldBody(Value):
    """A large body in memory: whole pieces of `PIECE_BYTES`, then a last one that may be shorter."""

    pieces: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """Its length, in bytes."""
        return sum(map(len, self.pieces))

    @property
    def count(self) -> int:
        """How many pieces it has."""
        return len(self.pieces)


class KeptBody(Value):
    """A large body in the store, to be read piece by piece (`Store.read_piece`).

    Attributes:
        claim_id: The id whose record it belongs to.
        owner: The owner token of the attempt that wrote it; no other attempt writes under this name.
        size: Its length, in bytes.
        piece_bytes: The length of every piece but the last.
        checksums: CRC-32 of each piece, which tie the pieces to the record.
        compressed: Whether the pieces are stored as zstd frames.
    """

    claim_id: str
    owner: str
    size: int
    piece_bytes: int
    checksums: tuple[int, ...]
    compressed: bool

    @property
    def count(self) -> int:
        """How many pieces it has."""
        return len(self.checksums)

    def piece_size(self, number: int) -> int:
        """The length of piece `number` (the first is 0), in bytes, uncompressed."""
        return min(self.piece_bytes, self.size - number * self.piece_bytes)


LargeBody: TypeAlias = HeldBody | KeptBody
ReceivedBody: TypeAlias = bytes | HeldBody
Body: TypeAlias = ReceivedBody | KeptBody


def size_of(body: Body) -> int:
    """The length of a body, in bytes."""
    return len(body) if isinstance(body, bytes) else body.size


def cut(received: bytearray, pieces: list[bytes]) -> None:
    """Move whole pieces from the front of what was received; what stays is never empty, and at most one."""
    while len(received) > PIECE_BYTES:
        pieces.append(bytes(received[:PIECE_BYTES]))
        del received[:PIECE_BYTES]


def assembled(pieces: list[bytes], rest: bytearray) -> ReceivedBody:
    """The body that was cut into `pieces` and `rest`."""
    last = bytes(rest)
    return HeldBody((*pieces, last)) if pieces else last
