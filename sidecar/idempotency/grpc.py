"""What HTTP alone does not tell of a gRPC call: its status, and its messages (gRPC's PROTOCOL-HTTP2).

A body is a sequence of messages, each behind one byte of flags and its length in four; the outcome is the
`grpc-status` in the trailers, or in the head of a response that has nothing else ("trailers-only").
"""

from enum import IntEnum

from sidecar.idempotency.fields import Fields, first

STATUS = "grpc-status"
BINARY = "-bin"
"""How the name of a field ends whose value is base64."""

_CONTENT_TYPE = b"application/grpc"
_PREFIX_BYTES = 5


class GrpcStatus(IntEnum):
    """The statuses a call may end with, by the names that `outcomes` uses (`grpc:NAME`)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_BY_TEXT = {str(status.value).encode(): status for status in GrpcStatus}


def status_in(*sections: Fields) -> GrpcStatus | None:
    """The status in the first of these sections (trailers, head) that has one; None where none has.

    What is no number of gRPC's reads as UNKNOWN, as clients read it.
    """
    for fields in sections:
        text = first(fields, STATUS)
        if text is not None:
            return _BY_TEXT.get(text, GrpcStatus.UNKNOWN)
    return None


def is_grpc(content_type: bytes) -> bool:
    """Whether a content-type is gRPC's: `application/grpc`, or that and `+` and a format.

    Envoy decides by exactly this in which form it gives a reply of its own.
    """
    return content_type == _CONTENT_TYPE or content_type.startswith(_CONTENT_TYPE + b"+")


def may_be_grpc(content_type: bytes) -> bool:
    """Whether an upstream might take it for gRPC's: those, gRPC-Web's, parameters, other case."""
    return content_type.lower().startswith(_CONTENT_TYPE)


class MessageCounter:
    """Counts the messages of one direction as its body passes, however it is cut: none, one, several.

    It stops at the first byte of a second message, so its cost does not grow with what follows, and keeps
    nothing of a message.

    Attributes:
        has_one: The last byte of the first message has come.
        has_several: The first byte of a second one has come.
    """

    __slots__ = ("_left", "_prefix", "has_one", "has_several")

    def __init__(self) -> None:
        self.has_one = False
        self.has_several = False
        self._prefix = b""
        self._left = 0
        """How much of the first message is still to come, once its prefix is whole."""

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of the body."""
        if self.has_several or not data:
            return
        if self.has_one:
            self.has_several = True
            return
        missing = _PREFIX_BYTES - len(self._prefix)
        if missing:
            self._prefix += data[:missing]
            if len(data) < missing:
                return
            self._left = int.from_bytes(self._prefix[1:])
        beyond = len(data) - missing - self._left
        self._left = max(-beyond, 0)
        self.has_one, self.has_several = beyond >= 0, beyond > 0
