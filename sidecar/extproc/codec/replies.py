"""Replies: what the client is answered without, or instead of, the upstream (docs/decisions/0007)."""

from collections.abc import Iterable, Iterator

from sidecar.exchange.effects import (
    BeginReply,
    LargeReply,
    Reply,
    ReplyAtOnce,
    ReplyPiece,
    ReplyTrailers,
)
from sidecar.extproc.codec.modes import LOOK_AWAY
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.replay import needs_stream
from sidecar.protobuf import head_of_bytes

MAX_STREAMED_PIECE = 62_000
"""Bytes of body in one streamed message; Envoy takes no larger ones."""

_COMMA = b", "
"""Between values that are joined, as RFC 9110 §5.3 advises."""
_METADATA_COMMA = b","
"""The same for gRPC's metadata, which knows no space there (PROTOCOL-HTTP2, "Custom-Metadata")."""

_IMMEDIATE = pb.ProcessingResponse.IMMEDIATE_RESPONSE_FIELD_NUMBER
_BODY = pb.ImmediateResponse.BODY_FIELD_NUMBER


def encode_reply(reply: Reply) -> tuple[bytes, ...]:
    """The serialised ProcessingResponses that answer the client: one, or a head, pieces and trailers."""
    return tuple(_streamed_reply(reply)) if _wants_stream(reply) else (_immediate_reply(reply),)


def encode_reply_head(answer: BeginReply) -> tuple[bytes, ...]:
    """The message that begins a large reply."""
    return (_head(answer.reply, answer.reply.body.size),)


def encode_piece(answer: ReplyPiece) -> tuple[bytes, ...]:
    """The messages with the next piece of a large reply's body."""
    return tuple(_body_messages(answer.data, ends=answer.ends))


def encode_trailers(answer: ReplyTrailers) -> tuple[bytes, ...]:
    """The message with the trailers that end a large reply."""
    return (_trailers(answer.fields, to_call=answer.to_call),)


def encode_at_once(answer: ReplyAtOnce) -> tuple[bytes, ...]:
    """The one message with all of a large reply, whose body is copied once (see `sidecar.protobuf`)."""
    immediate, size = pb.ImmediateResponse(), answer.body.size
    _fill_immediate(immediate, answer.reply)
    fields = immediate.SerializeToString() + head_of_bytes(_BODY, size)
    return (b"".join((head_of_bytes(_IMMEDIATE, len(fields) + size), fields, *answer.body.pieces)),)


def header_option(name: str, value: bytes, *, append: bool) -> pb.HeaderValueOption:
    """A header to set. Only the deprecated `append` works; `append_action` is ignored."""
    return pb.HeaderValueOption(header=pb.HeaderValue(key=name, raw_value=value), append={"value": append})


def pieces(body: bytes, *, ends: bool) -> Iterator[pb.StreamedBodyResponse]:
    """A body in pieces of `MAX_STREAMED_PIECE`; the last one ends the stream, if the body does."""
    for start in range(0, len(body) or 1, MAX_STREAMED_PIECE):
        end = start + MAX_STREAMED_PIECE
        yield pb.StreamedBodyResponse(body=body[start:end], end_of_stream=ends and end >= len(body))


def _wants_stream(reply: Reply) -> bool:
    """An error to a gRPC call has no other form than the immediate one."""
    is_error = reply.grpc_status is not None
    return not is_error and needs_stream(
        reply.headers, len(reply.body), reply.trailers, to_call=reply.to_call
    )


def _immediate_reply(reply: Reply) -> bytes:
    """Filled in place: a message that is made first and copied in costs three times as much."""
    response = pb.ProcessingResponse()
    immediate = response.immediate_response
    immediate.body = reply.body
    _fill_immediate(immediate, reply)
    if reply.grpc_status is not None:
        immediate.grpc_status.status = reply.grpc_status
    return response.SerializeToString()


def _fill_immediate(immediate: pb.ImmediateResponse, reply: Reply | LargeReply) -> None:
    immediate.status.code = reply.status
    immediate.details = reply.details
    add, seen = immediate.headers.set_headers.add, set[str]()
    for name, value in reply.headers:
        option = add()
        option.header.key, option.header.raw_value = name, value
        option.append.value = name in seen  # set in either case: what is unset appends
        seen.add(name)


def _streamed_reply(reply: Reply) -> Iterator[bytes]:
    """Head, body in pieces, trailers; the last of them ends the response."""
    yield _head(reply, len(reply.body))
    if reply.body:
        yield from _body_messages(reply.body, ends=not reply.trailers)
    if reply.trailers:
        yield _trailers(reply.trailers, to_call=reply.to_call)


def _head(reply: Reply | LargeReply, size: int) -> bytes:
    """Of a body of `size` bytes."""
    fields = [(":status", str(reply.status).encode()), *_joined(reply.headers, to_call=reply.to_call)]
    if size and not reply.trailers:
        fields.append(("content-length", str(size).encode()))
    head = pb.HttpHeaders(headers=_header_map(fields), end_of_stream=not size and not reply.trailers)
    return pb.ProcessingResponse(
        streamed_immediate_response=pb.StreamedImmediateResponse(headers_response=head),
        mode_override=LOOK_AWAY,
    ).SerializeToString()


def _body_messages(data: bytes, *, ends: bool) -> Iterator[bytes]:
    for piece in pieces(data, ends=ends):
        yield pb.ProcessingResponse(
            streamed_immediate_response=pb.StreamedImmediateResponse(body_response=piece)
        ).SerializeToString()


def _trailers(fields: Fields, *, to_call: bool) -> bytes:
    trailers = _header_map(_joined(fields, to_call=to_call))
    return pb.ProcessingResponse(
        streamed_immediate_response=pb.StreamedImmediateResponse(trailers_response=trailers)
    ).SerializeToString()


def _header_map(fields: Iterable[tuple[str, bytes]]) -> pb.HeaderMap:
    return pb.HeaderMap(headers=[pb.HeaderValue(key=name, raw_value=value) for name, value in fields])


def _joined(fields: Fields, *, to_call: bool) -> Fields:
    """Repeated fields as one, in the list syntax of RFC 9110 §5.3.

    Empty members of HTTP's lists are left out, which says the same (§5.6.1): at either end they would leave a
    space there, and a field of HTTP/2 must not begin or end with one (RFC 9113 §8.2.1).
    """
    comma = _METADATA_COMMA if to_call else _COMMA
    members: dict[str, list[bytes]] = {}
    for name, value in fields:
        members.setdefault(name, []).append(value)
    return tuple(
        [(name, comma.join(values if to_call else filter(None, values))) for name, values in members.items()]
    )
