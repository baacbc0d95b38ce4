"""Records as bytes: protobuf in an envelope that carries a version and a checksum (`record.proto`).

Nothing that was stored is ever replayed on a guess: what is damaged, cut off or written by a newer version
raises `StoreCorruptError`, and an operator decides.

A record with a large body is of version 2, every other one still of version 1: while sidecars are being
replaced, the older ones read what they can read, and take the rest for what it is, too new.
"""

import struct
import zlib

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.message import DecodeError

from sidecar.idempotency.body import LARGEST_BODY_BYTES, KeptBody
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.record import Record
from sidecar.protobuf import FIXED32, VARINT, head_of_bytes
from sidecar.store.port import StoreCorruptError
from sidecar.store.wire import record_pb2

FORMAT_VERSION = 2
"""The newest version written or read: of records whose large body is kept in pieces."""

_WITH_BODY = 1
"""The version of records that hold their bodies themselves."""

LARGEST_PIECE_BYTES = 1024 * 1024
"""The longest piece of a large body that is read."""

_ENVELOPE = struct.Struct("<BBBI").pack
"""What stands in front of a record, made without protobuf's library: 0.1 instead of 0.6 µs.

Tag and varint of the version, which is below 128, tag and fixed32 of the checksum.
"""

_VERSION_TAG = record_pb2.Envelope.FORMAT_VERSION_FIELD_NUMBER << 3 | VARINT
_CHECKSUM_TAG = record_pb2.Envelope.CHECKSUM_FIELD_NUMBER << 3 | FIXED32
_BODY, _RECORD = record_pb2.Record.BODY_FIELD_NUMBER, record_pb2.Envelope.RECORD_FIELD_NUMBER


def encode_record(record: Record) -> bytes:
    """The bytes under which a store keeps `record`.

    The body is copied once (see `sidecar.protobuf`). A large body must have been stored before (`KeptBody`).
    """
    message = record_pb2.Record(
        status=record.status, fingerprint=record.fingerprint, replayable=record.replayable
    )
    _add_fields(message.headers, record.headers)
    _add_fields(message.trailers, record.trailers)
    body = record.body
    if isinstance(body, bytes):
        fields = message.SerializeToString() + head_of_bytes(_BODY, len(body))
        return _sealed(_WITH_BODY, fields, body)
    if not isinstance(body, KeptBody):
        raise TypeError("a large body is stored before the record that it belongs to")
    _describe(message.large_body, body)
    return _sealed(FORMAT_VERSION, message.SerializeToString(), b"")


def decode_record(data: bytes) -> Record:
    """The record that `encode_record` wrote.

    Raises:
        StoreCorruptError: The bytes are damaged, or of a newer version.
    """
    try:
        message = record_pb2.Record.FromString(_open(data))
    except DecodeError:
        raise StoreCorruptError("the stored record is damaged: it is not a protobuf message") from None
    return Record(
        status=message.status,
        headers=tuple([(field.name, field.value) for field in message.headers]),
        body=_kept(message.large_body) if message.HasField("large_body") else message.body,
        trailers=tuple([(field.name, field.value) for field in message.trailers]),
        fingerprint=message.fingerprint if message.HasField("fingerprint") else None,
        replayable=message.replayable,
    )


def _sealed(version: int, fields: bytes, body: bytes) -> bytes:
    """The envelope around a record, whose serialised form is `fields` and then `body`."""
    checksum = zlib.crc32(body, zlib.crc32(fields, version))
    head = _ENVELOPE(_VERSION_TAG, version, _CHECKSUM_TAG, checksum)
    return b"".join((head, head_of_bytes(_RECORD, len(fields) + len(body)), fields, body))


def _describe(message: record_pb2.LargeBody, body: KeptBody) -> None:
    message.claim_id, message.owner = body.claim_id, body.owner
    message.size, message.piece_bytes = body.size, body.piece_bytes
    message.checksums.extend(body.checksums)
    message.compressed = body.compressed


def _kept(message: record_pb2.LargeBody) -> KeptBody:
    """What finds the pieces of a body, once its sizes are known to be such as are written.

    They decide how much memory is taken for a piece, and a checksum keeps out accidents, not intent.
    """
    size, piece_bytes = message.size, message.piece_bytes
    sound = 0 < piece_bytes <= LARGEST_PIECE_BYTES and piece_bytes < size <= LARGEST_BODY_BYTES
    if not sound or len(message.checksums) != -(-size // piece_bytes):
        raise StoreCorruptError("the stored record is damaged: its body has impossible sizes")
    checksums = tuple(message.checksums)
    return KeptBody(message.claim_id, message.owner, size, piece_bytes, checksums, message.compressed)


def _open(data: bytes) -> bytes:
    """What is in the envelope, once its version and its checksum are found right."""
    envelope = record_pb2.Envelope.FromString(data)
    if envelope.format_version > FORMAT_VERSION:
        raise StoreCorruptError(
            f"the stored record has format version {envelope.format_version}, written by a newer sidecar; "
            f"this one reads versions up to {FORMAT_VERSION}"
        )
    if envelope.format_version < 1:
        raise StoreCorruptError("the stored record is damaged: it carries no format version")
    payload = envelope.record
    if zlib.crc32(payload, envelope.format_version) != envelope.checksum:
        raise StoreCorruptError("the stored record is damaged: its checksum does not match")
    return payload


def _add_fields(messages: RepeatedCompositeFieldContainer[record_pb2.Field], fields: Fields) -> None:
    for name, value in fields:
        message = messages.add()
        message.name = name
        message.value = value
