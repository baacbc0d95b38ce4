"""A field block in its pieces: HEADERS and the CONTINUATION frames after it (RFC 9113 §4.3, §6.10)."""

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError
from sidecar.extproc.transport.native.limits import Limits

_PRIORITY_FIELDS = 5


class FieldBlock:
    """The field block that a HEADERS frame begins.

    Raises:
        H2ConnectionError: The frame's padding or its length is wrong, or the block is longer than is allowed.
    """

    __slots__ = ("_continuations", "_limits", "_pieces", "complete", "end_stream", "stream_id")

    def __init__(self, limits: Limits, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "HEADERS on no stream")
        if flags & frames.PADDED:
            payload = frames.without_padding(payload)
        if flags & frames.HAS_PRIORITY:
            if len(payload) < _PRIORITY_FIELDS:
                raise H2ConnectionError(
                    ErrorCode.FRAME_SIZE_ERROR, "HEADERS without the priority it announces"
                )
            payload = payload[_PRIORITY_FIELDS:]
        self._limits = limits
        self._pieces = payload
        self._continuations = 0
        self.stream_id = stream_id
        self.end_stream = bool(flags & frames.END_STREAM)
        self.complete = bool(flags & frames.END_HEADERS)
        self._check_size()

    @property
    def content(self) -> bytes:
        """What has come of the block."""
        return self._pieces

    def go_on(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """The frame after it, which must be the block's next piece.

        Raises:
            H2ConnectionError: It is another frame: PROTOCOL_ERROR (RFC 9113 §6.10); or the pieces are too
                many or too long together: ENHANCE_YOUR_CALM (§10.5.1).
        """
        if kind != frames.CONTINUATION or stream_id != self.stream_id:
            raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, "another frame in the middle of a field block")
        self._continuations += 1
        if self._continuations > self._limits.continuations:
            raise H2ConnectionError(ErrorCode.ENHANCE_YOUR_CALM, "a field block in too many pieces")
        self._pieces += payload
        self.complete = bool(flags & frames.END_HEADERS)
        self._check_size()

    def _check_size(self) -> None:
        if len(self._pieces) > self._limits.header_block_size:
            raise H2ConnectionError(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"a field block of more than {self._limits.header_block_size} bytes",
            )
