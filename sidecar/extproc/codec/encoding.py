"""Answers as Envoy's messages. An answer must have its oneof set; an empty message inside is enough.

Answers that never vary are serialised once.
"""

from collections.abc import Iterator

from sidecar.exchange.core import ATTEMPT
from sidecar.exchange.effects import (
    Answer,
    ExtendTimeout,
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
    Reply,
)
from sidecar.extproc.codec import modes
from sidecar.extproc.codec.replies import encode_reply, header_option, pieces
from sidecar.extproc.wire import ext_proc_pb2 as pb


def encode(answer: Answer) -> tuple[bytes, ...]:
    """The serialised ProcessingResponses that say this, in order."""
    if isinstance(answer, Reply):
        return encode_reply(answer)
    if isinstance(answer, ForwardHeld):
        return tuple(message.SerializeToString() for message in _forward_held(answer))
    constant = _CONSTANT.get(answer)
    return (_varying(answer).SerializeToString() if constant is None else constant,)


def _varying(answer: Answer) -> pb.ProcessingResponse:
    match answer:
        case ForwardRequest(attempt=attempt, has_body=has_body):
            mode = modes.WATCH if has_body else modes.WATCH_RESPONSE
            return pb.ProcessingResponse(request_headers=_forwarded(attempt), mode_override=mode)
        case PassRequest(remove=remove):
            return pb.ProcessingResponse(request_headers=_passed(remove))
        case PassResponseHeaders(more=more, remove=remove):
            mode_after = None if more else modes.LOOK_AWAY
            return pb.ProcessingResponse(response_headers=_passed(remove), mode_override=mode_after)
        case ExtendTimeout(timeout_ms=timeout_ms):
            seconds, rest_ms = divmod(timeout_ms, 1000)
            timeout = {"seconds": seconds, "nanos": rest_ms * 1_000_000}
            return pb.ProcessingResponse(override_message_timeout=timeout)
        case _:
            raise TypeError(f"no message for {answer!r}")


def _forward_held(answer: ForwardHeld) -> Iterator[pb.ProcessingResponse]:
    """The head, then the body echoed: Envoy has given it away (full duplex)."""
    yield pb.ProcessingResponse(request_headers=_forwarded(answer.attempt))
    for piece in pieces(answer.body, ends=not answer.has_trailers):
        echo = pb.CommonResponse(body_mutation=pb.BodyMutation(streamed_response=piece))
        yield pb.ProcessingResponse(request_body=pb.BodyResponse(response=echo))
    if answer.has_trailers:
        yield pb.ProcessingResponse(request_trailers=pb.TrailersResponse())


def _forwarded(attempt: int) -> pb.HeadersResponse:
    own = header_option(ATTEMPT, str(attempt).encode(), append=False)
    mutation = pb.HeaderMutation(set_headers=[own])
    return pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation))


def _passed(remove: tuple[str, ...]) -> pb.HeadersResponse:
    if not remove:
        return pb.HeadersResponse()
    mutation = pb.HeaderMutation(remove_headers=remove)
    return pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation))


_FREQUENT: tuple[Answer, ...] = (
    PassRequest(),
    ForwardRequest(1, has_body=True),
    ForwardRequest(1, has_body=False),
    PassResponseHeaders(more=True),
    PassResponseHeaders(more=False),
)
_CONSTANT: dict[Answer, bytes] = {answer: _varying(answer).SerializeToString() for answer in _FREQUENT} | {
    answer: message.SerializeToString()
    for answer, message in (
        (ReadRequestBody(), pb.ProcessingResponse(mode_override=modes.READ_BODY)),
        (HoldRequest(), pb.ProcessingResponse(mode_override=modes.HOLD_BODY)),
        (PassRequestBody(), pb.ProcessingResponse(request_body=pb.BodyResponse())),
        (PassRequestTrailers(), pb.ProcessingResponse(request_trailers=pb.TrailersResponse())),
        (PassResponseBody(), pb.ProcessingResponse(response_body=pb.BodyResponse())),
        (PassResponseTrailers(), pb.ProcessingResponse(response_trailers=pb.TrailersResponse())),
    )
}
