"""Envoy's messages as events. Header values travel in `raw_value` only."""

from sidecar.exchange.events import (
    EnvoyEvent,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.outcome import Origin
from sidecar.idempotency.request import Request


class UndecodableMessageError(Exception):
    """A message that is not a ProcessingRequest this sidecar knows."""


def decode(message: bytes) -> EnvoyEvent:
    """The event in a serialised ProcessingRequest.

    Raises:
        UndecodableMessageError: It is not protobuf, or holds none of the six phases.
    """
    try:
        request = pb.ProcessingRequest.FromString(message)
    except Exception as error:
        raise UndecodableMessageError("not a ProcessingRequest") from error
    match request.WhichOneof("request"):
        case "request_headers":
            return _request_headers(request)
        case "request_body":
            return RequestBody(request.request_body.body, request.request_body.end_of_stream)
        case "response_headers":
            return _response_headers(request)
        case "response_body":
            return ResponseBody(request.response_body.body, request.response_body.end_of_stream)
        case "request_trailers":
            return RequestTrailers()
        case "response_trailers":
            return ResponseTrailers(_fields(request.response_trailers.trailers)[1])
        case _:
            raise UndecodableMessageError("a ProcessingRequest of no known phase")


def _request_headers(request: pb.ProcessingRequest) -> RequestHeaders:
    pseudo, fields = _fields(request.request_headers.headers)
    request_id = _attribute(request, "request.id") or (first(fields, "x-request-id") or b"").decode("latin-1")
    head = Request.from_target(
        pseudo.get(":method", ""),
        pseudo.get(":authority", ""),
        pseudo.get(":path", ""),
        fields,
        str(request_id),
    )
    return RequestHeaders(head, request.request_headers.end_of_stream)


def _response_headers(request: pb.ProcessingRequest) -> ResponseHeaders:
    pseudo, fields = _fields(request.response_headers.headers)
    status = pseudo.get(":status", "")
    if not (status.isascii() and status.isdigit() and len(status) == 3):
        raise UndecodableMessageError("response headers without a status")
    return ResponseHeaders(int(status), fields, _origin(request), request.response_headers.end_of_stream)


def _fields(headers: pb.HeaderMap) -> tuple[dict[str, str], Fields]:
    """The pseudo-header fields (RFC 9113 §8.3) as text, and the others as they are."""
    pseudo: dict[str, str] = {}
    fields: list[tuple[str, bytes]] = []
    for header in headers.headers:
        value = header.raw_value or header.value.encode()
        if header.key.startswith(":"):
            pseudo[header.key] = value.decode("latin-1")
        else:
            fields.append((header.key, value))
    return pseudo, tuple(fields)


def _origin(request: pb.ProcessingRequest) -> Origin:
    details, flags = _attribute(request, "response.code_details"), _attribute(request, "response.flags")
    address, attempts = (
        _attribute(request, "upstream.address"),
        _attribute(request, "upstream.request_attempt_count"),
    )
    return Origin(
        details=details if isinstance(details, str) else None,
        flags=int(flags) if isinstance(flags, float) else None,
        address=address if isinstance(address, str) else None,
        attempts=int(attempts) if isinstance(attempts, float) else None,
    )


def _attribute(request: pb.ProcessingRequest, name: str) -> str | float | None:
    """One of the attributes the filter was told to send, whatever name the filter has in Envoy's config."""
    for attributes in request.attributes.values():
        if name in attributes.fields:
            value = attributes.fields[name]
            match value.WhichOneof("kind"):
                case "string_value":
                    return value.string_value
                case "number_value":
                    return value.number_value
                case _:
                    return None
    return None
