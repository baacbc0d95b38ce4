"""Faults of the peer, each with the error code that RFC 9113 §7 gives it."""

from enum import IntEnum


class ErrorCode(IntEnum):
    """Why a stream or a connection ends (RFC 9113 §7)."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class H2Error(Exception):
    """The peer broke a rule or went over a limit.

    Args:
        code: What the peer is told.
        detail: What it did, for people.
    """

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class H2ConnectionError(H2Error):
    """A connection error (RFC 9113 §5.4.1): GOAWAY, and the connection is closed."""


class H2StreamError(H2Error):
    """A stream error (RFC 9113 §5.4.2): RST_STREAM, and the connection goes on."""
