"""The project's subset of ext_proc v3 is Envoy's own: every number, type, label and oneof, field by field.

The other side is envoy-data-plane, generated from Envoy's published protocol.
"""

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from enum import IntEnum
from typing import Any

import pytest
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.extensions.filters.http.ext_proc import v3 as filters
from envoy_data_plane.envoy.service.ext_proc import v3 as service
from envoy_data_plane.envoy.type import v3 as types
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from sidecar.extproc.wire import ext_proc_pb2 as pb

ENVOYS = (service, core, filters, types)
SCALARS = {
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_MESSAGE: "message",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_UINT32: "uint32",
}
SAME_ON_THE_WIRE = {("HttpStatus", "code"): ("int32", "enum")}
"""Both are varints (an enum of Envoy's that the sidecar has no use for)."""

PLAIN_IN_PYTHON = {"google.protobuf.BoolValue": "bool", "google.protobuf.Duration": "timedelta"}
"""Messages that envoy-data-plane gives as values of Python."""


def envoys(name: str) -> type[Any]:
    """Envoy's message or enum of this name."""
    (found,) = {getattr(module, name) for module in ENVOYS if hasattr(module, name)}
    assert isinstance(found, type)
    return found


def messages() -> Iterator[Descriptor]:
    yield from pb.DESCRIPTOR.message_types_by_name.values()


def fields() -> Iterator[tuple[str, FieldDescriptor]]:
    for message in messages():
        for field in message.fields:
            yield message.name, field


def enums() -> Iterator[tuple[str, EnumDescriptor]]:
    for message in messages():
        for enum in message.enum_types:
            yield message.name + enum.name, enum


def map_parts(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor] | None:
    """Key and value of a map field; None for any other."""
    entry = field.message_type
    if entry is None or not entry.GetOptions().map_entry:
        return None
    key, value = entry.fields
    return key, value


EACH_FIELD = pytest.mark.parametrize(
    ("message", "field"), list(fields()), ids=[f"{message}.{field.name}" for message, field in fields()]
)


def theirs(message: str, field: FieldDescriptor) -> tuple[Any, str]:
    """Envoy's metadata of the same field, and its Python type as text."""
    (found,) = (f for f in dataclasses.fields(envoys(message)) if f.name == field.name)
    return found.metadata["betterproto"], str(found.type)


@EACH_FIELD
def test_every_field_has_envoys_number_label_and_oneof(message: str, field: FieldDescriptor) -> None:
    metadata, _ = theirs(message, field)

    assert field.number == metadata.number
    assert (field.is_repeated and map_parts(field) is None) == metadata.repeated
    assert (field.containing_oneof.name if field.containing_oneof else None) == metadata.group


@EACH_FIELD
def test_every_field_has_envoys_type(message: str, field: FieldDescriptor) -> None:
    metadata, hint = theirs(message, field)

    parts = map_parts(field)
    if parts is not None:
        key, value = parts
        assert metadata.proto_type == "map"
        assert (SCALARS[key.type], SCALARS[value.type]) == tuple(
            part.proto_type for part in metadata.map_meta
        )
        assert value.message_type is not None
        assert value.message_type.name in hint
        return
    ours = SCALARS[field.type]
    assert ours == metadata.proto_type or SAME_ON_THE_WIRE[message, field.name] == (ours, metadata.proto_type)


@EACH_FIELD
def test_every_message_field_holds_envoys_message(message: str, field: FieldDescriptor) -> None:
    metadata, hint = theirs(message, field)
    inner = field.message_type

    if inner is None or map_parts(field) is not None:
        assert metadata.unwrap is None
    elif inner.full_name in PLAIN_IN_PYTHON:
        assert metadata.unwrap is not None
        assert PLAIN_IN_PYTHON[inner.full_name] in hint
    else:
        bare = hint.removeprefix("list[").removesuffix("]").removesuffix(" | None")
        assert bare.rpartition(".")[2] == inner.name


@pytest.mark.parametrize("milliseconds", [0, 1, 999, 15_000, 86_400_001])
def test_a_timeout_is_read_by_envoy_as_it_is_written(milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    ours = pb.ProcessingResponse(override_message_timeout={"seconds": seconds, "nanos": rest * 1_000_000})

    theirs = service.ProcessingResponse.parse(ours.SerializeToString())

    assert theirs.override_message_timeout == timedelta(milliseconds=milliseconds)


@pytest.mark.parametrize("end", [True, False])
def test_an_echoed_piece_is_read_by_envoy_as_it_is_written(end: bool) -> None:
    piece = pb.StreamedBodyResponse(body=b"\x00\xff", end_of_stream=end)

    theirs = service.BodyMutation.parse(pb.BodyMutation(streamed_response=piece).SerializeToString())

    assert theirs == service.BodyMutation(
        streamed_response=service.StreamedBodyResponse(body=b"\x00\xff", end_of_stream=end)
    )


@pytest.mark.parametrize(("name", "enum"), list(enums()), ids=[name for name, _ in enums()])
def test_every_value_of_an_enum_is_envoys(name: str, enum: EnumDescriptor) -> None:
    members: type[IntEnum] = envoys(name)

    ours = {value.name: value.number for value in enum.values}
    assert ours.items() <= {member.name: int(member) for member in members}.items()


def test_the_subset_is_in_envoys_package_and_holds_both_directions() -> None:
    assert pb.DESCRIPTOR.package == "envoy.service.ext_proc.v3"
    assert {"ProcessingRequest", "ProcessingResponse"} <= set(pb.DESCRIPTOR.message_types_by_name)


@pytest.mark.parametrize("direction", ["ProcessingRequest", "ProcessingResponse"])
def test_no_phase_of_envoys_is_missing(direction: str) -> None:
    (oneof,) = pb.DESCRIPTOR.message_types_by_name[direction].oneofs
    of_envoy = {
        field.name
        for field in dataclasses.fields(envoys(direction))
        if field.metadata["betterproto"].group == oneof.name
    }

    assert {field.name for field in oneof.fields} == of_envoy
