"""Attributes and metadata: what Envoy tells of an exchange beside its messages."""

from collections.abc import Mapping

from google.protobuf.struct_pb2 import ListValue, Struct, Value

from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.context import Context, Json

_PEER = (
    ("uri", "connection.uri_san_peer_certificate"),
    ("dns", "connection.dns_san_peer_certificate"),
    ("subject", "connection.subject_peer_certificate"),
)
"""The names in a client's certificate, the most telling first: a workload's is its URI (SPIFFE)."""


def read_context(request: pb.ProcessingRequest) -> Context:
    """What the first message of a stream tells of a request beside its head."""
    told = attributes(request)
    peer = next(((kind, name) for kind, attribute in _PEER if (name := text(told, attribute))), None)
    noted = request.metadata_context.filter_metadata
    return Context(
        route=text(told, "xds.route_name") or "",
        peer=peer,
        metadata={namespace: _object(noted[namespace]) for namespace in noted},
    )


def attributes(request: pb.ProcessingRequest) -> dict[str, Value]:
    """By name; they stand under the name that the filter has in Envoy's configuration, whatever that is."""
    filters = request.attributes.values()
    return {name: value for filter_told in filters for name, value in filter_told.fields.items()}


def text(told: Mapping[str, Value], name: str) -> str | None:
    """The attribute of this name, where it is a text."""
    value = told.get(name)
    return value.string_value if value is not None and value.HasField("string_value") else None


def number(told: Mapping[str, Value], name: str) -> int | None:
    """The attribute of this name, where it is a number."""
    value = told.get(name)
    return int(value.number_value) if value is not None and value.HasField("number_value") else None


def _object(struct: Struct) -> dict[str, Json]:
    return {name: _json(value) for name, value in struct.fields.items()}


def _json(value: Value) -> Json:
    """The JSON value that a Value stands for (google/protobuf/struct.proto); one that is unset is null."""
    match value.WhichOneof("kind"):
        case "struct_value":
            return _object(value.struct_value)
        case "list_value":
            return _list(value.list_value)
        case "number_value":
            return value.number_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _list(values: ListValue) -> Json:
    return [_json(value) for value in values.values]
