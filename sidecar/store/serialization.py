"""Records as bytes: protobuf in an envelope that carries a version and a checksum (`record.proto`).

Nothing that was stored is ever replayed on a guess: what is damaged, cut off or written by a newer version
raises `StoreCorruptError`, and an operator decides.
"""

import zlib

from google.protobuf.message import DecodeError

from sidecar.idempotency.fields import Fields
from sidecar.idempotency.record import Record
from sidecar.store.port import StoreCorruptError
from sidecar.store.wire import record_pb2

FORMAT_VERSION = 1
"""The version written, and the newest one read."""


def encode_record(record: Record) -> bytes:
    """The bytes under which a store keeps `record`."""
    message = record_pb2.Record(
        status=record.status,
        headers=_field_messages(record.headers),
        body=record.body,
        trailers=_field_messages(record.trailers),
        fingerprint=record.fingerprint,
        replayable=record.replayable,
    )
    payload = message.SerializeToString()
    envelope = record_pb2.Envelope(
        format_version=FORMAT_VERSION, checksum=zlib.crc32(payload, FORMAT_VERSION), record=payload
    )
    return envelope.SerializeToString()


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
        headers=tuple((field.name, field.value) for field in message.headers),
        body=message.body,
        trailers=tuple((field.name, field.value) for field in message.trailers),
        fingerprint=message.fingerprint if message.HasField("fingerprint") else None,
        replayable=message.replayable,
    )


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
    if zlib.crc32(envelope.record, envelope.format_version) != envelope.checksum:
        raise StoreCorruptError("the stored record is damaged: its checksum does not match")
    return envelope.record


def _field_messages(fields: Fields) -> list[record_pb2.Field]:
    return [record_pb2.Field(name=name, value=value) for name, value in fields]
