"""A field put behind what protobuf has serialised is read by protobuf as if it had serialised that too."""

import pytest

from sidecar.protobuf import head_of_bytes
from sidecar.store.wire import record_pb2


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 3_000_000])
def test_the_head_is_the_one_that_protobuf_writes(size: int) -> None:
    body = b"b" * size
    fields = record_pb2.Record(status=201).SerializeToString()

    read = record_pb2.Record.FromString(
        fields + head_of_bytes(record_pb2.Record.BODY_FIELD_NUMBER, size) + body
    )

    assert (read.status, read.body) == (201, body)
