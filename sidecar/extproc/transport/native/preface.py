"""What a client's connection begins with (RFC 9113 §3.4), and what is said to those that speak otherwise."""

from typing import Final

from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

_TEXT: Final = b"This port speaks gRPC over HTTP/2 with prior knowledge.\n"
HTTP_1_ANSWER: Final = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\nconnection: close\r\ncontent-type: text/plain\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_TEXT), _TEXT)
)


class HttpOneRequestError(Exception):
    """The peer has begun a request of HTTP/1."""


class PrefaceReader:
    """Takes the preface off a connection's beginning. However the bytes are split, the result is the same."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen = 0

    @property
    def complete(self) -> bool:
        """Whether all of the preface has come."""
        return self._seen == len(PREFACE)

    def read(self, data: bytes) -> bytes:
        """What comes after the preface.

        Raises:
            HttpOneRequestError: What came instead is the beginning of a request line: only capital letters.
            H2ConnectionError: It is anything else: PROTOCOL_ERROR.
        """
        wanted = PREFACE[self._seen : self._seen + len(data)]
        if data.startswith(wanted):
            self._seen += len(wanted)
            return data[len(wanted) :]
        agreed = next(
            at for at, (ours, theirs) in enumerate(zip(wanted, data, strict=False)) if ours != theirs
        )
        if self._seen + agreed < len(b"PRI") and data[agreed : agreed + 1].isupper():
            raise HttpOneRequestError
        raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "not the preface of HTTP/2")
