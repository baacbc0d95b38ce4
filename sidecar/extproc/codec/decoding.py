"""Envoy's messages as events. Header values travel in `raw_value` only."""

from collections.abc import Callable

from sidecar.exchange.events import (
    EnvoyEvent,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.extproc.codec.context import attributes, number, read_context, text
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.context import NOTHING_KNOWN
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.outcome import VIA_UPSTREAM, Origin
from sidecar.idempotency.request import Request

_DETAILS = "response.code_details"
_OF_TARGET = frozenset({":method", ":authority", ":path"})
_FULL_DUPLEX = pb.ProcessingMode.FULL_DUPLEX_STREAMED
_SHOWING_ALL = ((_FULL_DUPLEX, _FULL_DUPLEX), (_FULL_DUPLEX, pb.ProcessingMode.STREAMED))


class UndecodableMessageError(Exception):
    """A message that is not a ProcessingRequest this sidecar knows."""


def decode(message: bytes, reads: frozenset[str] | None = None) -> EnvoyEvent:
    """The event in a serialised ProcessingRequest.

    Args:
        message: What Envoy sent.
        reads: Of a request's header fields only those of these names; None: all.

    Raises:
        UndecodableMessageError: It is not protobuf, or holds none of the six phases.
    """
    try:
        request = _parse(message)
    except Exception as error:
        raise UndecodableMessageError("not a ProcessingRequest") from error
    phase = request.WhichOneof("request")
    if phase == "request_headers":
        return _request_headers(request, reads)
    read = _OTHER_PHASES.get(phase)
    if read is None:
        raise UndecodableMessageError("a ProcessingRequest of no known phase")
    return read(request)


def _request_body(request: pb.ProcessingRequest) -> RequestBody:
    body = request.request_body
    return RequestBody(body.body, body.end_of_stream)


def _response_body(request: pb.ProcessingRequest) -> ResponseBody:
    body = request.response_body
    return ResponseBody(body.body, body.end_of_stream)


def _response_trailers(request: pb.ProcessingRequest) -> ResponseTrailers:
    return ResponseTrailers(_fields(request.response_trailers.trailers)[1])


def _request_headers(request: pb.ProcessingRequest, reads: frozenset[str] | None) -> RequestHeaders:
    told = request.request_headers
    pseudo, fields = _fields(told.headers) if reads is None else _fields_of(reads, told.headers)
    head = Request.from_target(
        pseudo.get(":method", ""),
        pseudo.get(":authority", ""),
        pseudo.get(":path", ""),
        fields,
        (first(fields, "x-request-id") or b"").decode("latin-1"),
        # Envoy sends a metadata_context with every message, empty where nothing was asked for.
        read_context(request)
        if request.attributes or request.metadata_context.filter_metadata
        else NOTHING_KNOWN,
    )
    ends, configured = told.end_of_stream, request.protocol_config
    if configured.request_body_mode or configured.response_body_mode:
        return RequestHeaders(head, ends, *_duplex(configured))
    return RequestHeaders(head, ends)


def _duplex(configured: pb.ProtocolConfiguration) -> tuple[bool, bool]:
    """Whether the bodies of request and response go in full duplex, as the filter is configured.

    Raises:
        UndecodableMessageError: Not all of an exchange would be shown: with a mode of full duplex Envoy takes
            no override (docs/decisions/0018).
    """
    modes = configured.request_body_mode, configured.response_body_mode
    if _FULL_DUPLEX in modes and modes not in _SHOWING_ALL:
        raise UndecodableMessageError(
            "the filter's processing_mode has a body in full duplex and hides the other; "
            "allowed: what `idempotency-sidecar envoy-config` renders"
        )
    return modes[0] == _FULL_DUPLEX, modes[1] == _FULL_DUPLEX


def _response_headers(request: pb.ProcessingRequest) -> ResponseHeaders:
    told = request.response_headers
    pseudo, fields = _fields(told.headers)
    status = pseudo.get(":status", "")
    if not (status.isascii() and status.isdigit() and len(status) == 3):
        raise UndecodableMessageError("response headers without a status")
    return ResponseHeaders(int(status), fields, _origin(request), told.end_of_stream)


def _fields(headers: pb.HeaderMap) -> tuple[dict[str, str], Fields]:
    """The pseudo-header fields (RFC 9113 §8.3) as text, and the others as they are."""
    pseudo: dict[str, str] = {}
    fields: list[tuple[str, bytes]] = []
    for header in headers.headers[:]:  # a list, which is quicker to walk than protobuf's own
        name, value = header.key, header.raw_value or header.value.encode()
        if name[:1] == ":":
            pseudo[name] = value.decode("latin-1")
        else:
            fields.append((name, value))
    return pseudo, tuple(fields)


def _fields_of(reads: frozenset[str], headers: pb.HeaderMap) -> tuple[dict[str, str], Fields]:
    """The same with none but these fields: to leave one out costs a third of what it costs to take it."""
    pseudo: dict[str, str] = {}
    fields: list[tuple[str, bytes]] = []
    for header in headers.headers[:]:
        name = header.key
        if name in _OF_TARGET:
            pseudo[name] = (header.raw_value or header.value.encode()).decode("latin-1")
        elif name in reads:
            fields.append((name, header.raw_value or header.value.encode()))
    return pseudo, tuple(fields)


def _origin(request: pb.ProcessingRequest) -> Origin:
    """Of the upstream's own answers, by far the most, nothing else counts than that they are.

    The attributes stand under the name that the filter has in Envoy's configuration, whatever that is.
    """
    filters = request.attributes
    for name in filters:
        fields = filters[name].fields
        # Asked for first: an index would enter an empty value where there is none, over another filter's.
        if _DETAILS in fields and fields[_DETAILS].string_value == VIA_UPSTREAM.details:
            return VIA_UPSTREAM
    told = attributes(request)
    return Origin(
        details=text(told, _DETAILS),
        flags=number(told, "response.flags"),
        address=text(told, "upstream.address"),
        attempts=number(told, "upstream.request_attempt_count"),
    )


_parse = pb.ProcessingRequest.FromString
_OTHER_PHASES: dict[str | None, Callable[[pb.ProcessingRequest], EnvoyEvent]] = {
    "request_body": _request_body,
    "request_trailers": lambda _: RequestTrailers(),
    "response_headers": _response_headers,
    "response_body": _response_body,
    "response_trailers": _response_trailers,
}
