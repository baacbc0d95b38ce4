"""Wire bytes to events, effects to wire bytes: the only module that knows Envoy's protobuf messages.

Header values travel in `raw_value` only. An answer must have its oneof set, an empty message inside is
enough. Answers that never vary are serialised once.
"""

from collections.abc import Iterable, Iterator

from sidecar.exchange.effects import (
    Answer,
    ForwardRequest,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
    Reply,
)
from sidecar.exchange.events import (
    EnvoyEvent,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.exchange.machine import ATTEMPT
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.fields import Fields, first, values
from sidecar.idempotency.outcome import Origin
from sidecar.idempotency.request import Request

MAX_STREAMED_PIECE = 62_000
"""Bytes of body in one message of a streamed reply; Envoy takes no larger ones."""


class UndecodableMessageError(Exception):
    """A message that is not a ProcessingRequest this sidecar knows."""


# --- In


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


# --- Out

_SEND, _SKIP = pb.ProcessingMode.SEND, pb.ProcessingMode.SKIP
_NONE, _STREAMED = pb.ProcessingMode.NONE, pb.ProcessingMode.STREAMED
_WATCH = pb.ProcessingMode(
    response_header_mode=_SEND,
    request_body_mode=_STREAMED,
    response_body_mode=_STREAMED,
    request_trailer_mode=_SEND,
    response_trailer_mode=_SEND,
)
_WATCH_RESPONSE = pb.ProcessingMode(
    response_header_mode=_SEND,
    request_body_mode=_NONE,
    response_body_mode=_STREAMED,
    request_trailer_mode=_SKIP,
    response_trailer_mode=_SEND,
)
_READ_BODY = pb.ProcessingMode(
    response_header_mode=_SKIP,
    request_body_mode=pb.ProcessingMode.FULL_DUPLEX_STREAMED,
    response_body_mode=_NONE,
    request_trailer_mode=_SEND,
    response_trailer_mode=_SKIP,
)
_LOOK_AWAY = pb.ProcessingMode(
    response_header_mode=_SKIP,
    request_body_mode=_NONE,
    response_body_mode=_NONE,
    request_trailer_mode=_SKIP,
    response_trailer_mode=_SKIP,
)


def encode(answer: Answer) -> tuple[bytes, ...]:
    """The serialised ProcessingResponses that say this, in order; one, but for a reply with trailers."""
    if isinstance(answer, Reply):
        return tuple(_streamed_reply(answer)) if _wants_stream(answer) else (_immediate_reply(answer),)
    constant = _CONSTANT.get(answer)
    return (_varying(answer) if constant is None else constant,)


def _varying(answer: Answer) -> bytes:
    match answer:
        case ForwardRequest(attempt=attempt, has_body=has_body):
            return _forward(attempt, has_body)
        case PassRequest(remove=remove):
            return pb.ProcessingResponse(request_headers=_headers_response(remove)).SerializeToString()
        case PassResponseHeaders():
            return _response_headers_answer(answer)
        case _:
            raise TypeError(f"no message for {answer!r}")


def _forward(attempt: int, has_body: bool) -> bytes:
    mutation = pb.HeaderMutation(set_headers=[_option(ATTEMPT, str(attempt).encode(), append=False)])
    return pb.ProcessingResponse(
        request_headers=pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation)),
        mode_override=_WATCH if has_body else _WATCH_RESPONSE,
    ).SerializeToString()


def _response_headers_answer(answer: PassResponseHeaders) -> bytes:
    return pb.ProcessingResponse(
        response_headers=_headers_response(answer.remove),
        mode_override=None if answer.more else _LOOK_AWAY,
    ).SerializeToString()


def _headers_response(remove: tuple[str, ...]) -> pb.HeadersResponse:
    if not remove:
        return pb.HeadersResponse()
    mutation = pb.HeaderMutation(remove_headers=remove)
    return pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation))


def _option(name: str, value: bytes, *, append: bool) -> pb.HeaderValueOption:
    return pb.HeaderValueOption(header=pb.HeaderValue(key=name, raw_value=value), append={"value": append})


def _wants_stream(reply: Reply) -> bool:
    """Whether only a streamed reply gives the response as it was.

    An immediate one has no trailers, gives a body without a content-type one of its own, and takes
    content-type and content-length from an empty body. A streamed one keeps only the last of several
    fields of one name; they can be joined but for Set-Cookie (RFC 6265 §3), which decides then.
    """
    if len(values(reply.headers, "set-cookie")) > 1:
        return False
    typed = first(reply.headers, "content-type") is not None
    counted = first(reply.headers, "content-length") not in (None, b"0")
    return bool(reply.trailers) or typed != bool(reply.body) or (counted and not reply.body)


def _immediate_reply(reply: Reply) -> bytes:
    seen: set[str] = set()
    options = []
    for name, value in reply.headers:
        options.append(_option(name, value, append=name in seen))
        seen.add(name)
    return pb.ProcessingResponse(
        immediate_response=pb.ImmediateResponse(
            status=pb.HttpStatus(code=reply.status),
            headers=pb.HeaderMutation(set_headers=options),
            body=reply.body,
            details=reply.details,
        )
    ).SerializeToString()


def _streamed_reply(reply: Reply) -> Iterator[bytes]:
    """Head, body in pieces, trailers; the last of them ends the response."""
    fields = [(":status", str(reply.status).encode()), *_joined(reply.headers)]
    if reply.body and not reply.trailers:
        fields.append(("content-length", str(len(reply.body)).encode()))
    head = pb.HttpHeaders(headers=_header_map(fields), end_of_stream=not reply.body and not reply.trailers)
    yield pb.ProcessingResponse(
        streamed_immediate_response=pb.StreamedImmediateResponse(headers_response=head),
        mode_override=_LOOK_AWAY,
    ).SerializeToString()
    for start in range(0, len(reply.body), MAX_STREAMED_PIECE):
        end = start + MAX_STREAMED_PIECE
        piece = pb.StreamedBodyResponse(
            body=reply.body[start:end], end_of_stream=end >= len(reply.body) and not reply.trailers
        )
        yield pb.ProcessingResponse(
            streamed_immediate_response=pb.StreamedImmediateResponse(body_response=piece)
        ).SerializeToString()
    if reply.trailers:
        trailers = _header_map(_joined(reply.trailers))
        yield pb.ProcessingResponse(
            streamed_immediate_response=pb.StreamedImmediateResponse(trailers_response=trailers)
        ).SerializeToString()


def _header_map(fields: Iterable[tuple[str, bytes]]) -> pb.HeaderMap:
    return pb.HeaderMap(headers=[pb.HeaderValue(key=name, raw_value=value) for name, value in fields])


def _joined(fields: Fields) -> Fields:
    """Repeated fields as one, in the list syntax of RFC 9110 §5.3."""
    joined: dict[str, bytes] = {}
    for name, value in fields:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return tuple(joined.items())


_CONSTANT: dict[Answer, bytes] = {
    answer: message.SerializeToString()
    for answer, message in (
        (PassRequest(), pb.ProcessingResponse(request_headers=pb.HeadersResponse())),
        (ReadRequestBody(), pb.ProcessingResponse(mode_override=_READ_BODY)),
        (PassRequestBody(), pb.ProcessingResponse(request_body=pb.BodyResponse())),
        (PassRequestTrailers(), pb.ProcessingResponse(request_trailers=pb.TrailersResponse())),
        (PassResponseBody(), pb.ProcessingResponse(response_body=pb.BodyResponse())),
        (PassResponseTrailers(), pb.ProcessingResponse(response_trailers=pb.TrailersResponse())),
    )
}
_CONSTANT |= {
    answer: _response_headers_answer(answer)
    for answer in (PassResponseHeaders(more=True), PassResponseHeaders(more=False))
}
_CONSTANT |= {
    answer: _forward(answer.attempt, answer.has_body)
    for answer in (ForwardRequest(1, True), ForwardRequest(1, False))
}
