"""HTTP/2 frames (RFC 9113 §4, §6): a reader of any stream of bytes, and writers of what the server sends."""

import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError

# Types (RFC 9113 §6). Plain integers: they are compared for every frame.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

# Flags (RFC 9113 §6).
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

# Settings (RFC 9113 §6.5.2).
HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

HEADER_LENGTH: Final = 9
LEAST_MAX_FRAME_SIZE: Final = 16_384
"""SETTINGS_MAX_FRAME_SIZE where nothing else was said, and the least it can be."""
GREATEST_MAX_FRAME_SIZE: Final = 2**24 - 1
DEFAULT_WINDOW: Final = 65_535
"""Flow-control windows where nothing else was said (RFC 9113 §6.9.2)."""
GREATEST_WINDOW: Final = 2**31 - 1
GREATEST_STREAM_ID: Final = 2**31 - 1

Frame: TypeAlias = tuple[int, int, int, bytes]
"""Type, flags, stream identifier, payload."""

_MAX_DETAIL: Final = 256
_HEADER: Final = struct.Struct(">IBI")
"""A frame's header: length and type share the first word, for there is no integer of 24 bits."""
_message_head: Final = struct.Struct(">IBIBI").pack
"""The header of a DATA frame and the prefix of the gRPC message that fills it."""
_SETTING: Final = struct.Struct(">HI")
_WORD: Final = struct.Struct(">I")


class FrameReader:
    """Bytes in, frames out.

    However the bytes are split, the frames and the fault are the same. At most one frame is held.

    Args:
        max_frame_size: The longest payload taken, in bytes (SETTINGS_MAX_FRAME_SIZE).
    """

    __slots__ = ("_max_length", "_missing", "_rest")

    def __init__(self, max_frame_size: int = LEAST_MAX_FRAME_SIZE) -> None:
        self._max_length = max_frame_size
        self._rest = bytearray()
        self._missing = 0

    @property
    def held(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._rest)

    def read(self, data: bytes) -> Iterator[Frame]:
        """Every frame that is now complete, in order.

        Raises:
            H2ConnectionError: A frame announces a longer payload than is allowed: FRAME_SIZE_ERROR (RFC 9113
                §4.2). It comes after the frames before it, and as soon as the header of the frame is there.
        """
        return self._continued(data) if self._rest else self._whole(data, 0)

    def _continued(self, data: bytes) -> Iterator[Frame]:
        """The same where a frame has begun: no more than that frame is copied."""
        rest, taken = self._rest, 0
        while rest:  # twice where its header was not complete
            until = taken + self._missing
            rest += data[taken:until]
            if until > len(data):
                self._missing = until - len(data)
                return
            begun, taken = bytes(rest), until
            rest.clear()
            yield from self._whole(begun, 0)
        yield from self._whole(data, taken)

    def _whole(self, data: bytes, start: int) -> Iterator[Frame]:
        """The frames from there on; what is left at the end is kept."""
        end, missing, max_length = len(data), 0, self._max_length
        while (payload := start + HEADER_LENGTH) <= end:
            length_and_type, flags, stream_id = _HEADER.unpack_from(data, start)
            length = length_and_type >> 8
            if length > max_length:
                raise H2ConnectionError(
                    ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes; allowed: at most {max_length}"
                )
            after = payload + length
            if after > end:
                missing = after - end
                break
            yield length_and_type & 0xFF, flags, stream_id & GREATEST_STREAM_ID, data[payload:after]
            start = after
        if start < end:
            self._rest += data[start:]
            self._missing = missing or start + HEADER_LENGTH - end


def frame(kind: int, flags: int, stream_id: int, payload: bytes | memoryview = b"") -> bytes:
    """Any frame."""
    return _HEADER.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def message_frame(stream_id: int, message: bytes) -> bytes:
    """A DATA frame filled by one uncompressed gRPC message."""
    size = len(message)
    return _message_head((size + 5) << 8, 0, stream_id, 0, size) + message


def headers_frame(stream_id: int, block: bytes, *, end_stream: bool = False) -> bytes:
    """A HEADERS frame that holds its whole field block."""
    flags = END_HEADERS | END_STREAM if end_stream else END_HEADERS
    return _HEADER.pack(len(block) << 8 | HEADERS, flags, stream_id) + block


def settings_frame(settings: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*setting) for setting in settings.items()))


def reset_frame(stream_id: int, code: ErrorCode) -> bytes:
    """A RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, _WORD.pack(code))


def window_frame(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame: of a stream, or of the connection (0)."""
    return frame(WINDOW_UPDATE, 0, stream_id, _WORD.pack(increment))


def goaway_frame(last_stream_id: int, code: ErrorCode, detail: str = "") -> bytes:
    """A GOAWAY frame; `detail` is for people who look at the other end, and cut short for them."""
    payload = _WORD.pack(last_stream_id) + _WORD.pack(code) + detail.encode()[:_MAX_DETAIL]
    return frame(GOAWAY, 0, 0, payload)


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The parameters in a SETTINGS frame, in order.

    Raises:
        H2ConnectionError: The length is not a multiple of six: FRAME_SIZE_ERROR (RFC 9113 §6.5).
    """
    if len(payload) % _SETTING.size:
        raise H2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a SETTINGS frame of a broken length")
    return list(_SETTING.iter_unpack(payload))


def read_word(payload: bytes, name: str) -> int:
    """The one number of 31 bits in a WINDOW_UPDATE or RST_STREAM frame.

    Raises:
        H2ConnectionError: The frame is not four bytes long: FRAME_SIZE_ERROR (RFC 9113 §6.4, §6.9).
    """
    if len(payload) != _WORD.size:
        raise H2ConnectionError(
            ErrorCode.FRAME_SIZE_ERROR, f"a {name} frame of {len(payload)} bytes; allowed: 4"
        )
    return int(_WORD.unpack(payload)[0])


def without_padding(payload: bytes) -> bytes:
    """What a PADDED frame holds.

    Raises:
        H2ConnectionError: The padding is as long as the payload or longer: PROTOCOL_ERROR (RFC 9113 §6.1).
            A frame without room for the pad length: FRAME_SIZE_ERROR.
    """
    if not payload:
        raise H2ConnectionError(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without its pad length")
    padding = payload[0]
    if padding >= len(payload):
        raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "a frame of nothing but padding, and more of it")
    return payload[1 : len(payload) - padding]
