"""gRPC's messages in the DATA of a stream (the gRPC-over-HTTP/2 spec, Length-Prefixed-Message).

Five bytes precede each message: whether it is compressed, and its length. DATA frames may cut it anywhere.
"""

import struct
from typing import Final

from sidecar.extproc.transport.native.responses import Status

PREFIX: Final = 5
_unpack_prefix: Final = struct.Struct(">BI").unpack_from


class MessageReader:
    """DATA in, messages out, one at a time: what is not taken stays as it came.

    However the data is cut, the messages and the fault are the same.

    Args:
        max_message: The longest message taken, in bytes.
        encoding: The stream's grpc-encoding, which says what a compressed message is compressed with.
    """

    __slots__ = ("_data", "_encoding", "_max_message", "fault")

    def __init__(self, max_message: int, encoding: bytes = b"identity") -> None:
        self._max_message = max_message
        self._encoding = encoding
        self._data = bytearray()
        self.fault: tuple[Status, str] | None = None
        """What the stream must end with, for a message that cannot be taken; none comes after it."""

    @property
    def held(self) -> int:
        """Bytes that came and were not taken."""
        return len(self._data)

    @property
    def size(self) -> int:
        """Bytes of the message whose beginning is held, prefix included; 0 where that does not show yet."""
        data = self._data
        return PREFIX + int.from_bytes(data[1:PREFIX], "big") if len(data) >= PREFIX else 0

    def whole(self, data: bytes) -> bytes | None:
        """The message that this piece of DATA is, neither more nor less; None where it is not so simple.

        A piece that was not taken this way has to be fed.
        """
        if len(data) < PREFIX or self._data or self.fault is not None:
            return None
        compressed, size = _unpack_prefix(data)
        if compressed or size != len(data) - PREFIX or size > self._max_message:
            return None
        return data[PREFIX:]

    def feed(self, data: bytes) -> None:
        """More DATA came."""
        if self.fault is None:
            self._data += data

    def take(self) -> bytes | None:
        """The next message; None where it is not complete, or cannot be taken (see `fault`)."""
        size = self.size
        if size == 0 or self._refused(self._data[0], size - PREFIX) or size > len(self._data):
            return None
        message = bytes(memoryview(self._data)[PREFIX:size])
        del self._data[:size]
        return message

    def discard(self) -> None:
        """Nothing of it will be taken."""
        self._data.clear()

    def _refused(self, compressed: int, length: int) -> bool:
        """Whether the message that begins here cannot be taken: known by its prefix, before it comes."""
        if compressed:
            self.fault = self._compressed(compressed)
        elif length > self._max_message:
            self.fault = (
                Status.RESOURCE_EXHAUSTED,
                f"a message of {length} bytes; allowed: at most {self._max_message}",
            )
        else:
            return False
        self._data.clear()
        return True

    def _compressed(self, flag: int) -> tuple[Status, str]:
        """As gRPC's compression spec has it."""
        encoding = self._encoding.decode("latin-1")
        if flag != 1 or encoding == "identity":
            return Status.INTERNAL, f"compressed-flag {flag} with grpc-encoding {encoding}"
        return Status.UNIMPLEMENTED, f"grpc-encoding {encoding} is not supported; allowed: identity"
