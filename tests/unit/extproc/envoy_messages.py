"""ProcessingRequests as Envoy sends them, built with envoy-data-plane's types, and its answers read back."""

from collections.abc import Mapping

from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingMode
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode as BodyMode
from envoy_data_plane.envoy.service.ext_proc.v3 import (
    HttpBody,
    HttpHeaders,
    HttpTrailers,
    ProcessingRequest,
    ProcessingResponse,
    ProtocolConfiguration,
)
from envoy_data_plane.google.protobuf import Struct, Value

from sidecar.exchange.effects import Answer
from sidecar.extproc.codec import encode
from sidecar.idempotency.fields import Fields

REQUEST: Fields = (
    (":method", b"POST"),
    (":scheme", b"https"),
    (":authority", b"api.example"),
    (":path", b"/pay?a=1"),
)
KEYED: Fields = (*REQUEST, ("idempotency-key", b'"k1"'))
CREATED: Fields = ((":status", b"201"),)
VIA_UPSTREAM: Mapping[str, str | float] = {"response.code_details": "via_upstream", "response.flags": 0.0}
FILTER = "envoy.filters.http.ext_proc"


def header_map(fields: Fields) -> HeaderMap:
    return HeaderMap(headers=[HeaderValue(key=name, raw_value=value) for name, value in fields])


def attributes(values: Mapping[str, str | float], name: str = FILTER) -> dict[str, Struct]:
    kinds = {
        key: Value(string_value=value) if isinstance(value, str) else Value(number_value=float(value))
        for key, value in values.items()
    }
    return {name: Struct(fields=kinds)}


def request_headers(
    fields: Fields = KEYED,
    *,
    end: bool = False,
    attrs: Mapping[str, str | float] | None = None,
    modes: tuple[BodyMode, BodyMode] = (BodyMode.NONE, BodyMode.NONE),
) -> bytes:
    """`modes`: how the filter is configured to exchange the bodies of request and response."""
    head = HttpHeaders(headers=header_map(fields), end_of_stream=end)
    configured = ProtocolConfiguration(request_body_mode=modes[0], response_body_mode=modes[1])
    return bytes(
        ProcessingRequest(
            request_headers=head, attributes=attributes(attrs or {}), protocol_config=configured
        )
    )


def request_body(data: bytes, *, end: bool = False) -> bytes:
    return bytes(ProcessingRequest(request_body=HttpBody(body=data, end_of_stream=end)))


def request_trailers(fields: Fields = ()) -> bytes:
    return bytes(ProcessingRequest(request_trailers=HttpTrailers(trailers=header_map(fields))))


def response_headers(
    fields: Fields = CREATED, *, end: bool = False, attrs: Mapping[str, str | float] | None = None
) -> bytes:
    head = HttpHeaders(headers=header_map(fields), end_of_stream=end)
    origin = VIA_UPSTREAM if attrs is None else attrs
    return bytes(ProcessingRequest(response_headers=head, attributes=attributes(origin)))


def response_body(data: bytes, *, end: bool = False) -> bytes:
    return bytes(ProcessingRequest(response_body=HttpBody(body=data, end_of_stream=end)))


def response_trailers(fields: Fields = ()) -> bytes:
    return bytes(ProcessingRequest(response_trailers=HttpTrailers(trailers=header_map(fields))))


def answers(answer: Answer) -> list[ProcessingResponse]:
    """What Envoy reads of an answer."""
    return [ProcessingResponse.parse(message) for message in encode(answer)]


def the_answer(answer: Answer) -> ProcessingResponse:
    """The one message an answer is sent as."""
    (response,) = answers(answer)
    return response


def modes(response: ProcessingResponse) -> tuple[str, ...]:
    """Request body, request trailers, response headers, body and trailers."""
    override = response.mode_override or ProcessingMode()
    return tuple(
        str(mode.name)
        for mode in (
            override.request_body_mode,
            override.request_trailer_mode,
            override.response_header_mode,
            override.response_body_mode,
            override.response_trailer_mode,
        )
    )


def phase(message: bytes | ProcessingResponse) -> str:
    """Which member of the oneof an answer has set; empty for none."""
    response = ProcessingResponse.parse(message) if isinstance(message, bytes) else message
    names = (
        "request_headers",
        "response_headers",
        "request_body",
        "response_body",
        "request_trailers",
        "response_trailers",
        "immediate_response",
        "streamed_immediate_response",
    )
    return next((name for name in names if getattr(response, name) is not None), "")
