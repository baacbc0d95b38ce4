"""Replies: what the client is answered without, or instead of, the upstream (docs/decisions/0007)."""

from collections.abc import Iterable, Iterator

from sidecar.exchange.effects import Reply
from sidecar.extproc.codec.modes import LOOK_AWAY
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.fields import Fields, first, values

MAX_STREAMED_PIECE = 62_000
"""Bytes of body in one streamed message; Envoy takes no larger ones."""

_COMMA = b", "
"""Between values that are joined, as RFC 9110 §5.3 advises."""
_METADATA_COMMA = b","
"""The same for gRPC's metadata, which knows no space there (PROTOCOL-HTTP2, "Custom-Metadata")."""


def encode_reply(reply: Reply) -> tuple[bytes, ...]:
    """The serialised ProcessingResponses that answer the client: one, or a head, pieces and trailers."""
    return tuple(_streamed_reply(reply)) if _wants_stream(reply) else (_immediate_reply(reply),)


def header_option(name: str, value: bytes, *, append: bool) -> pb.HeaderValueOption:
    """A header to set. Only the deprecated `append` works; `append_action` is ignored."""
    return pb.HeaderValueOption(header=pb.HeaderValue(key=name, raw_value=value), append={"value": append})


def pieces(body: bytes, *, ends: bool) -> Iterator[pb.StreamedBodyResponse]:
    """A body in pieces of `MAX_STREAMED_PIECE`; the last one ends the stream, if the body does."""
    for start in range(0, len(body) or 1, MAX_STREAMED_PIECE):
        end = start + MAX_STREAMED_PIECE
        yield pb.StreamedBodyResponse(body=body[start:end], end_of_stream=ends and end >= len(body))


def _wants_stream(reply: Reply) -> bool:
    """Whether only a streamed reply gives the response as it was.

    To a gRPC call an immediate one is always an error. To others it has no trailers, gives a body without
    a content-type one of its own, and takes content-type and content-length from an empty body. A streamed
    one keeps only the last of several fields of one name; they can be joined but for Set-Cookie (RFC 6265
    §3), which decides then.
    """
    if reply.to_call:
        return reply.grpc_status is None
    if len(values(reply.headers, "set-cookie")) > 1:
        return False
    typed = first(reply.headers, "content-type") is not None
    counted = first(reply.headers, "content-length") not in (None, b"0")
    return bool(reply.trailers) or typed != bool(reply.body) or (counted and not reply.body)


def _immediate_reply(reply: Reply) -> bytes:
    """Filled in place: a message that is made first and copied in costs three times as much."""
    response = pb.ProcessingResponse()
    immediate = response.immediate_response
    immediate.status.code = reply.status
    immediate.body = reply.body
    immediate.details = reply.details
    add, seen = immediate.headers.set_headers.add, set[str]()
    for name, value in reply.headers:
        option = add()
        option.header.key, option.header.raw_value = name, value
        option.append.value = name in seen  # set in either case: what is unset appends
        seen.add(name)
    if reply.grpc_status is not None:
        immediate.grpc_status.status = reply.grpc_status
    return response.SerializeToString()


def _streamed_reply(reply: Reply) -> Iterator[bytes]:
    """Head, body in pieces, trailers; the last of them ends the response."""
    comma = _METADATA_COMMA if reply.to_call else _COMMA
    fields = [(":status", str(reply.status).encode()), *_joined(reply.headers, comma)]
    if reply.body and not reply.trailers:
        fields.append(("content-length", str(len(reply.body)).encode()))
    head = pb.HttpHeaders(headers=_header_map(fields), end_of_stream=not reply.body and not reply.trailers)
    yield pb.ProcessingResponse(
        streamed_immediate_response=pb.StreamedImmediateResponse(headers_response=head),
        mode_override=LOOK_AWAY,
    ).SerializeToString()
    for piece in pieces(reply.body, ends=not reply.trailers) if reply.body else ():
        yield pb.ProcessingResponse(
            streamed_immediate_response=pb.StreamedImmediateResponse(body_response=piece)
        ).SerializeToString()
    if reply.trailers:
        trailers = _header_map(_joined(reply.trailers, comma))
        yield pb.ProcessingResponse(
            streamed_immediate_response=pb.StreamedImmediateResponse(trailers_response=trailers)
        ).SerializeToString()


def _header_map(fields: Iterable[tuple[str, bytes]]) -> pb.HeaderMap:
    return pb.HeaderMap(headers=[pb.HeaderValue(key=name, raw_value=value) for name, value in fields])


def _joined(fields: Fields, comma: bytes) -> Fields:
    """Repeated fields as one, in the list syntax of RFC 9110 §5.3."""
    joined: dict[str, bytes] = {}
    for name, value in fields:
        joined[name] = joined[name] + comma + value if name in joined else value
    return tuple(joined.items())
