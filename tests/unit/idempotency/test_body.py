"""Large bodies: cut into pieces as they come in, and held once."""

import random

import pytest

from sidecar.idempotency.body import PIECE_BYTES, HeldBody, KeptBody, assembled, cut, size_of


def received(body: bytes, chunk: int) -> bytes | HeldBody:
    """A body that came in chunks."""
    pieces: list[bytes] = []
    rest = bytearray()
    for start in range(0, len(body), chunk):
        rest += body[start : start + chunk]
        cut(rest, pieces)
        assert len(rest) <= PIECE_BYTES
    return assembled(pieces, rest)


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES])
def test_a_body_of_at_most_one_piece_is_bytes(size: int) -> None:
    body = received(b"x" * size, 100_000)

    assert body == b"x" * size
    assert size_of(body) == size


@pytest.mark.parametrize("size", [PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES - 1, 3 * PIECE_BYTES + 1])
@pytest.mark.parametrize("chunk", [16_384, 100_000, PIECE_BYTES, 3 * PIECE_BYTES + 7])
def test_a_larger_one_is_whole_pieces_and_a_last_one_that_is_never_empty(size: int, chunk: int) -> None:
    sent = random.Random(size).randbytes(size)

    body = received(sent, chunk)

    assert isinstance(body, HeldBody)
    assert b"".join(body.pieces) == sent
    assert {len(piece) for piece in body.pieces[:-1]} == {PIECE_BYTES}
    assert 0 < len(body.pieces[-1]) <= PIECE_BYTES
    assert (body.size, size_of(body), body.count) == (size, size, -(-size // PIECE_BYTES))


def test_a_kept_body_knows_how_long_each_of_its_pieces_is() -> None:
    body = KeptBody("id", "owner", size=20, piece_bytes=8, checksums=(1, 2, 3), compressed=False)

    assert [body.piece_size(number) for number in range(body.count)] == [8, 8, 4]
    assert size_of(body) == 20
