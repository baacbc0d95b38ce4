"""Replies: what the client is answered without, or instead of, the upstream (docs/decisions/0007)."""

from collections.abc import Iterable, Iterator

from sidecar.exchange.effects import Reply
from sidecar.extproc.codec.modes import LOOK_AWAY
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.fields import Fields, first, values

MAX_STREAMED_PIECE = 62_000
"""Bytes of body in one streamed message; Envoy takes no larger ones."""


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
        options.append(header_option(name, value, append=name in seen))
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
        mode_override=LOOK_AWAY,
    ).SerializeToString()
    for piece in pieces(reply.body, ends=not reply.trailers) if reply.body else ():
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
