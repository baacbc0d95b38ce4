"""What is compressed of large bodies, and that nothing stored can make a reader take more than it expects."""

import random
import zlib

import pytest
import zstandard
from msgspec.structs import replace

from sidecar.idempotency.body import KeptBody
from sidecar.idempotency.fields import Fields
from sidecar.store.compression import packing, unpacked
from sidecar.store.port import StoreCorruptError

TEXT = b'{"id": "pay_123", "amount": 1200, "currency": "EUR"}, ' * 1000
NOISE = random.Random(17).randbytes(len(TEXT))


def typed(media_type: str, *more: tuple[str, bytes]) -> Fields:
    return (("content-type", media_type.encode()), *more)


def kept(*pieces: bytes, compressed: bool) -> KeptBody:
    """A body of these pieces."""
    checksums = tuple(map(zlib.crc32, pieces))
    return KeptBody("id", "owner", sum(map(len, pieces)), len(pieces[0]), checksums, compressed)


# --- What is compressed


@pytest.mark.parametrize(
    "headers",
    [
        (),
        typed("application/json"),
        typed("text/plain; charset=utf-8"),
        typed("application/octet-stream"),
        typed("image/svg+xml"),
        typed("application/json", ("content-encoding", b"identity")),
    ],
)
def test_what_compresses_well_is_compressed(headers: Fields) -> None:
    pack = packing(headers, TEXT)

    assert pack is not None
    assert len(pack(TEXT)) < len(TEXT) // 5
    assert unpacked(pack(TEXT), kept(TEXT, compressed=True), 0) == TEXT


@pytest.mark.parametrize(
    "headers",
    [
        typed("application/json", ("content-encoding", b"gzip")),
        typed("text/html", ("content-encoding", b"BR")),
        typed("image/png"),
        typed("VIDEO/mp4"),
        typed("application/zip"),
        typed("application/gzip; x=y"),
        typed("font/woff2"),
    ],
)
def test_what_says_that_it_is_compressed_is_left_as_it_is(headers: Fields) -> None:
    assert packing(headers, TEXT) is None


def test_what_does_not_get_smaller_is_left_as_it_is() -> None:
    assert packing(typed("application/octet-stream"), NOISE) is None


# --- What is read


def test_each_piece_is_read_by_itself() -> None:
    pieces = (TEXT, TEXT[::-1], b"last")
    pack = packing((), TEXT)
    assert pack is not None

    compressed, plain = kept(*pieces, compressed=True), kept(*pieces, compressed=False)

    for number, piece in enumerate(pieces):
        assert unpacked(pack(piece), compressed, number) == piece
        assert unpacked(piece, plain, number) == piece


@pytest.mark.parametrize("compressed", [True, False])
def test_a_piece_in_anothers_place_is_refused(compressed: bool) -> None:
    body = kept(b"a" * 1000, b"b" * 1000, compressed=compressed)
    other = zstandard.compress(b"b" * 1000) if compressed else b"b" * 1000

    with pytest.raises(StoreCorruptError, match="piece 0 of the stored body is damaged, or another body's"):
        unpacked(other, body, 0)
    assert unpacked(other, body, 1) == b"b" * 1000


@pytest.mark.parametrize("length", [0, 1, 999, 1001])
def test_a_piece_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(StoreCorruptError):
        unpacked(b"a" * length, kept(b"a" * 1000, compressed=False), 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not zstd",
        zstandard.compress(b"a" * 1000)[:-1],
        zstandard.compress(b"a" * 1000) + b"\x00",
        zstandard.compress(b"a" * 999),
        zstandard.compress(b"a" * 1_000_000),
        zstandard.ZstdCompressor(write_content_size=False).compress(b"a" * 1000),
    ],
    ids=["nothing", "noise", "cut off", "more behind", "too short", "too long", "of no declared size"],
)
def test_what_is_not_one_frame_of_the_expected_size_is_refused(data: bytes) -> None:
    with pytest.raises(StoreCorruptError):
        unpacked(data, kept(b"a" * 1000, compressed=True), 0)


def test_a_frame_that_holds_more_than_it_declares_is_refused_within_the_declared_size() -> None:
    bomb = bytearray(zstandard.compress(bytes(50_000_000)))
    declared = zstandard.get_frame_parameters(bytes(bomb)).content_size
    at = bytes(bomb).index(declared.to_bytes(4, "little"))
    bomb[at : at + 4] = (1000).to_bytes(4, "little")
    body = kept(bytes(1000), compressed=True)

    assert zstandard.frame_content_size(bytes(bomb)) == 1000
    with pytest.raises(StoreCorruptError):
        unpacked(bytes(bomb), body, 0)


def test_a_flipped_bit_never_makes_another_piece() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - to repeat the run
    chance = random.Random(seed)
    body, stored = kept(TEXT, compressed=True), zstandard.compress(TEXT)
    for _ in range(200):
        damaged = bytearray(stored)
        bit = chance.randrange(len(damaged) * 8)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            assert unpacked(bytes(damaged), body, 0) == TEXT  # bits that mean nothing to a reader
        except StoreCorruptError:
            continue


def test_the_checksum_is_the_records_and_not_the_datas() -> None:
    body = kept(TEXT, compressed=True)

    with pytest.raises(StoreCorruptError):
        unpacked(zstandard.compress(TEXT), replace(body, checksums=(body.checksums[0] ^ 1,)), 0)
