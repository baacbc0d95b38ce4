import contextlib
import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.idempotency.body import LARGEST_BODY_BYTES, HeldBody, KeptBody
from sidecar.idempotency.record import Record
from sidecar.store.port import StoreCorruptError
from sidecar.store.serialization import LARGEST_PIECE_BYTES, decode_record, encode_record
from sidecar.store.wire import record_pb2

NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=12).map(str.lower)
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=20)), max_size=5).map(tuple)
RECORDS = st.builds(
    Record,
    status=st.integers(100, 999),
    headers=FIELDS,
    body=st.binary(max_size=200),
    trailers=FIELDS,
    fingerprint=st.none() | st.binary(min_size=32, max_size=32),
    replayable=st.booleans(),
)
RECORD = Record(
    status=201,
    headers=(("set-cookie", b"a=1"), ("set-cookie", b"b=\xff")),
    body=b"\x00\x01",
    trailers=(("grpc-status", b"0"),),
    fingerprint=bytes(range(32)),
)


def enveloped(payload: bytes, *, version: int = 1, checksum: int | None = None) -> bytes:
    crc = zlib.crc32(payload, version) if checksum is None else checksum
    return record_pb2.Envelope(format_version=version, checksum=crc, record=payload).SerializeToString()


@given(record=RECORDS)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


def test_no_fingerprint_and_an_empty_one_are_told_apart() -> None:
    for fingerprint in (None, b""):
        bare = Record(status=204, headers=(), body=b"", trailers=(), fingerprint=fingerprint)
        assert decode_record(encode_record(bare)).fingerprint == fingerprint


def test_repeated_names_keep_their_order() -> None:
    assert decode_record(encode_record(RECORD)).headers == RECORD.headers


def test_the_bytes_of_version_1_never_change() -> None:
    small = Record(status=200, headers=(("a", b"b"),), body=b"c", trailers=(), fingerprint=None)
    stored = "080115c59870821a1008c80112060a016112016230011a0163"
    assert encode_record(small).hex() == stored
    assert decode_record(bytes.fromhex(stored)) == small


def test_the_fields_of_a_stored_record_may_stand_in_any_order() -> None:
    small = Record(status=200, headers=(("a", b"b"),), body=b"c", trailers=(), fingerprint=None)
    assert decode_record(bytes.fromhex("08011579fbc0371a1008c80112060a01611201621a01633001")) == small


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152])
def test_a_body_of_any_length_is_what_protobuf_itself_would_read(length: int) -> None:
    great = replace(RECORD, body=b"b" * length)
    envelope = record_pb2.Envelope.FromString(encode_record(great))
    message = record_pb2.Record.FromString(envelope.record)
    assert (message.body, message.status, message.fingerprint) == (great.body, 201, RECORD.fingerprint)
    assert decode_record(encode_record(great)) == great


@pytest.mark.parametrize("version", [3, 2**32 - 1])
def test_a_newer_version_is_refused_whatever_it_holds(version: int) -> None:
    with pytest.raises(StoreCorruptError, match=rf"format version {version}, .* versions up to 2"):
        decode_record(enveloped(b"anything at all", version=version))


def test_a_missing_version_is_damage() -> None:
    with pytest.raises(StoreCorruptError, match="no format version"):
        decode_record(b"")


def test_a_wrong_checksum_is_damage() -> None:
    with pytest.raises(StoreCorruptError, match="checksum"):
        decode_record(enveloped(b"\x08\x01", checksum=1))


def test_a_missing_record_is_damage() -> None:
    with pytest.raises(StoreCorruptError, match="checksum"):
        decode_record(record_pb2.Envelope(format_version=1).SerializeToString())


@pytest.mark.parametrize("data", [b"\xff", b"not protobuf", enveloped(b"\xff\xff")])
def test_what_is_not_protobuf_is_damage(data: bytes) -> None:
    with pytest.raises(StoreCorruptError, match="not a protobuf message"):
        decode_record(data)


def test_a_record_cut_off_anywhere_is_never_read() -> None:
    stored = encode_record(RECORD)
    for length in range(len(stored)):
        with pytest.raises(StoreCorruptError):
            decode_record(stored[:length])


@given(record=RECORDS, seed=st.integers(0, 2**32))
def test_a_flipped_bit_never_makes_another_record(record: Record, seed: int) -> None:
    stored = bytearray(encode_record(record))
    bit = random.Random(seed).randrange(len(stored) * 8)
    stored[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(StoreCorruptError):
        assert decode_record(bytes(stored)) == record


# --- Records whose large bodies are kept in pieces

LARGE = KeptBody("id", "owner", size=20, piece_bytes=8, checksums=(1, 2**32 - 1, 0), compressed=True)
SIZES = st.integers(1, LARGEST_PIECE_BYTES).flatmap(
    lambda piece: st.tuples(st.just(piece), st.integers(piece + 1, min(9 * piece, LARGEST_BODY_BYTES)))
)


@given(sizes=SIZES, compressed=st.booleans(), seed=st.integers(0, 2**32))
def test_what_finds_the_pieces_of_a_body_comes_back_as_it_was(
    sizes: tuple[int, int], compressed: bool, seed: int
) -> None:
    piece, size = sizes
    checksums = tuple(random.Random(seed).randrange(2**32) for _ in range(-(-size // piece)))
    large = replace(RECORD, body=KeptBody("c0" * 32, "ab-7", size, piece, checksums, compressed))
    assert decode_record(encode_record(large)) == large


def test_a_reader_of_version_1_takes_a_large_record_for_too_new_and_not_for_an_empty_one() -> None:
    stored = encode_record(replace(RECORD, body=LARGE))
    assert record_pb2.Envelope.FromString(stored).format_version == 2
    assert record_pb2.Envelope.FromString(encode_record(RECORD)).format_version == 1


def test_a_large_body_that_was_not_stored_before_its_record_is_a_bug() -> None:
    with pytest.raises(TypeError, match="stored before"):
        encode_record(replace(RECORD, body=HeldBody((b"a", b"b"))))


@pytest.mark.parametrize(
    "changed",
    [
        {"size": 0},
        {"size": 8},
        {"size": 24 + 1},
        {"size": LARGEST_BODY_BYTES + 1},
        {"size": 2**64 - 1},
        {"piece_bytes": 0},
        {"piece_bytes": 10},
        {"piece_bytes": LARGEST_PIECE_BYTES + 1},
        {"checksums": ()},
        {"checksums": (1, 2)},
        {"checksums": (1, 2, 3, 4)},
    ],
    ids=str,
)
def test_impossible_sizes_are_damage_before_any_memory_is_taken(changed: dict[str, Any]) -> None:
    stored = encode_record(replace(RECORD, body=replace(LARGE, **changed)))
    with pytest.raises(StoreCorruptError, match="impossible sizes"):
        decode_record(stored)
