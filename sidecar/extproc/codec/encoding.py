"""Answers as Envoy's messages. An answer must have its oneof set; an empty message inside is enough.

Answers that never vary are serialised once.
"""

from collections.abc import Callable, Iterator
from typing import Any

from sidecar.exchange.core import ATTEMPT
from sidecar.exchange.effects import (
    Answer,
    BeginReply,
    EchoRequestBody,
    EchoResponseBody,
    ExtendTimeout,
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    PassHeld,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
    Reply,
    ReplyAtOnce,
    ReplyPiece,
    ReplyTrailers,
    WatchRequest,
)
from sidecar.extproc.codec import modes
from sidecar.extproc.codec.replies import (
    encode_at_once,
    encode_piece,
    encode_reply,
    encode_reply_head,
    encode_trailers,
    header_option,
    pieces,
)
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.advertising import EXPIRES
from sidecar.idempotency.fields import Fields


def encode(answer: Answer) -> tuple[bytes, ...]:
    """The serialised ProcessingResponses that say this, in order."""
    constant = _CONSTANT.get(type(answer))
    if constant is not None:
        return constant
    encoder = _ENCODERS.get(type(answer))
    if encoder is None:
        raise TypeError(f"no message for {answer!r}")
    return encoder(answer)


def _forward_request(answer: ForwardRequest) -> tuple[bytes, ...]:
    if answer.attempt == 1:
        return _FIRST_ATTEMPT if answer.has_body else _FIRST_ATTEMPT_BODYLESS
    return _forwarding(answer.attempt, has_body=answer.has_body)


def _forwarding(attempt: int, *, has_body: bool) -> tuple[bytes, ...]:
    mode = modes.WATCH if has_body else modes.WATCH_RESPONSE
    return _alone(pb.ProcessingResponse(request_headers=_forwarded(attempt), mode_override=mode))


def _pass_request(answer: PassRequest) -> tuple[bytes, ...]:
    if not answer.remove:
        return _PASSED
    return _alone(pb.ProcessingResponse(request_headers=_passed(answer.remove)))


def _watch_request(answer: WatchRequest) -> tuple[bytes, ...]:
    return _WATCHED if answer.has_body else _WATCHED_BODYLESS


def _pass_held(answer: PassHeld) -> tuple[bytes, ...]:
    return _whole(_passed(answer.remove), answer.body, has_trailers=answer.has_trailers)


def _pass_response_headers(answer: PassResponseHeaders) -> tuple[bytes, ...]:
    if not answer.remove and not answer.advertised:
        return _SHOWN_ON if answer.more else _SHOWN_OFF
    return _response_headers(answer.remove, answer.advertised, more=answer.more)


def _response_headers(remove: tuple[str, ...], told: Fields, *, more: bool) -> tuple[bytes, ...]:
    head, mode_after = _passed(remove), None if more else modes.LOOK_AWAY
    # An upstream may have links of its own.
    options = [header_option(name, value, append=name != EXPIRES) for name, value in told]
    if options:
        head.response.header_mutation.set_headers.extend(options)
    return _alone(pb.ProcessingResponse(response_headers=head, mode_override=mode_after))


def _extend_timeout(answer: ExtendTimeout) -> tuple[bytes, ...]:
    seconds, rest_ms = divmod(answer.timeout_ms, 1000)
    timeout = {"seconds": seconds, "nanos": rest_ms * 1_000_000}
    return _alone(pb.ProcessingResponse(override_message_timeout=timeout))


def _alone(message: pb.ProcessingResponse) -> tuple[bytes, ...]:
    return (message.SerializeToString(),)


def _forward_held(answer: ForwardHeld) -> tuple[bytes, ...]:
    return _whole(_forwarded(answer.attempt), answer.body, has_trailers=answer.has_trailers)


def _whole(head: pb.HeadersResponse, body: bytes, *, has_trailers: bool) -> tuple[bytes, ...]:
    """The head, then the body echoed: Envoy has given it away (full duplex)."""
    messages = [pb.ProcessingResponse(request_headers=head)]
    messages += [pb.ProcessingResponse(request_body=piece) for piece in _echoed(body, ends=not has_trailers)]
    if has_trailers:
        messages.append(pb.ProcessingResponse(request_trailers=pb.TrailersResponse()))
    return tuple([message.SerializeToString() for message in messages])


def _echo_request(answer: EchoRequestBody) -> tuple[bytes, ...]:
    echoed = _echoed(answer.data, ends=answer.end_of_stream)
    return tuple(pb.ProcessingResponse(request_body=body).SerializeToString() for body in echoed)


def _echo_response(answer: EchoResponseBody) -> tuple[bytes, ...]:
    echoed = _echoed(answer.data, ends=answer.end_of_stream)
    return tuple(pb.ProcessingResponse(response_body=body).SerializeToString() for body in echoed)


def _echoed(data: bytes, *, ends: bool) -> Iterator[pb.BodyResponse]:
    """What was handed over, given back (full duplex)."""
    for piece in pieces(data, ends=ends):
        echo = pb.CommonResponse(body_mutation=pb.BodyMutation(streamed_response=piece))
        yield pb.BodyResponse(response=echo)


def _forwarded(attempt: int) -> pb.HeadersResponse:
    own = header_option(ATTEMPT, str(attempt).encode(), append=False)
    mutation = pb.HeaderMutation(set_headers=[own])
    return pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation))


def _passed(remove: tuple[str, ...]) -> pb.HeadersResponse:
    if not remove:
        return pb.HeadersResponse()
    mutation = pb.HeaderMutation(remove_headers=remove)
    return pb.HeadersResponse(response=pb.CommonResponse(header_mutation=mutation))


_PASSED = _alone(pb.ProcessingResponse(request_headers=_passed(())))
_WATCHED = _alone(pb.ProcessingResponse(request_headers=_passed(()), mode_override=modes.WATCH))
_WATCHED_BODYLESS = _alone(
    pb.ProcessingResponse(request_headers=_passed(()), mode_override=modes.WATCH_RESPONSE)
)
_FIRST_ATTEMPT = _forwarding(1, has_body=True)
_FIRST_ATTEMPT_BODYLESS = _forwarding(1, has_body=False)
_SHOWN_ON = _response_headers((), (), more=True)
_SHOWN_OFF = _response_headers((), (), more=False)
_CONSTANT: dict[type[Answer], tuple[bytes, ...]] = {
    ReadRequestBody: _alone(pb.ProcessingResponse(mode_override=modes.READ_BODY)),
    HoldRequest: _alone(pb.ProcessingResponse(mode_override=modes.HOLD_BODY)),
    PassRequestBody: _alone(pb.ProcessingResponse(request_body=pb.BodyResponse())),
    PassRequestTrailers: _alone(pb.ProcessingResponse(request_trailers=pb.TrailersResponse())),
    PassResponseBody: _alone(pb.ProcessingResponse(response_body=pb.BodyResponse())),
    PassResponseTrailers: _alone(pb.ProcessingResponse(response_trailers=pb.TrailersResponse())),
}
_ENCODERS: dict[type[Answer], Callable[[Any], tuple[bytes, ...]]] = {
    Reply: encode_reply,
    BeginReply: encode_reply_head,
    ReplyPiece: encode_piece,
    ReplyTrailers: encode_trailers,
    ReplyAtOnce: encode_at_once,
    PassRequest: _pass_request,
    ForwardRequest: _forward_request,
    ForwardHeld: _forward_held,
    PassHeld: _pass_held,
    WatchRequest: _watch_request,
    EchoRequestBody: _echo_request,
    EchoResponseBody: _echo_response,
    ExtendTimeout: _extend_timeout,
    PassResponseHeaders: _pass_response_headers,
}
