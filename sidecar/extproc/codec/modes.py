"""What Envoy is asked to show of the rest of an exchange: processing modes, sent as overrides.

BUFFERED is not among them: by override it hangs on HTTP/1.1 above about 1 MiB (docs/decisions/0004).
"""

from sidecar.extproc.wire import ext_proc_pb2 as pb

_SEND, _SKIP = pb.ProcessingMode.SEND, pb.ProcessingMode.SKIP
_NONE, _STREAMED = pb.ProcessingMode.NONE, pb.ProcessingMode.STREAMED
_FULL_DUPLEX = pb.ProcessingMode.FULL_DUPLEX_STREAMED


def _mode(
    request_body: pb.ProcessingMode.BodySendMode, response: pb.ProcessingMode.BodySendMode
) -> pb.ProcessingMode:
    """Trailers are always sent with a body: a body that has trailers never shows `end_of_stream`."""
    return pb.ProcessingMode(
        response_header_mode=_SKIP if response == _NONE else _SEND,
        request_body_mode=request_body,
        response_body_mode=response,
        request_trailer_mode=_SKIP if request_body == _NONE else _SEND,
        response_trailer_mode=_SKIP if response == _NONE else _SEND,
    )


WATCH = _mode(_STREAMED, _STREAMED)
"""Show the request and the response as they pass."""
WATCH_RESPONSE = _mode(_NONE, _STREAMED)
"""Show the response as it passes; the request has no body."""
READ_BODY = _mode(_FULL_DUPLEX, _NONE)
"""Show the request body while its head is held; nothing of it will be forwarded."""
HOLD_BODY = _mode(_FULL_DUPLEX, _STREAMED)
"""The same, but it may be forwarded, and then its response is shown."""
LOOK_AWAY = _mode(_NONE, _NONE)
"""Show nothing more."""
