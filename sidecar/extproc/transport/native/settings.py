"""SETTINGS (RFC 9113 §6.5): what the server announces, and what it makes of the client's."""

from typing import TYPE_CHECKING

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError

if TYPE_CHECKING:
    from sidecar.extproc.transport.native.calls import Calls
    from sidecar.extproc.transport.native.limits import Limits
    from sidecar.extproc.transport.native.sending import Outlet


def announced(limits: "Limits") -> bytes:
    """The server's SETTINGS frame; for the table's size see `hpack_cache`."""
    return frames.settings_frame(
        {
            frames.HEADER_TABLE_SIZE: 0,
            frames.MAX_CONCURRENT_STREAMS: limits.concurrent_streams,
            frames.INITIAL_WINDOW_SIZE: limits.stream_window,
            frames.MAX_FRAME_SIZE: limits.frame_size,
            frames.MAX_HEADER_LIST_SIZE: limits.header_list_size,
        }
    )


def apply(payload: bytes, outlet: "Outlet", calls: "Calls") -> None:
    """Take the client's settings over.

    A frame may change one setting a thousand times, and a changed window touches every stream; only the last
    value has an effect once the frame has been read (RFC 9113 §6.5.3), so only that is applied.

    Raises:
        H2ConnectionError: A value that is not allowed, with the code that RFC 9113 §6.5.2 gives it, or a
            window that gets too large by it.
    """
    settings: dict[int, int] = {}
    for name, value in frames.read_settings(payload):
        _check(name, value)
        settings[name] = value
    outlet.max_frame_size = settings.get(frames.MAX_FRAME_SIZE, outlet.max_frame_size)
    window = settings.get(frames.INITIAL_WINDOW_SIZE, outlet.stream_window)
    if window != outlet.stream_window:
        increment, outlet.stream_window = window - outlet.stream_window, window
        calls.widen_all(increment)


def _check(name: int, value: int) -> None:
    if name == frames.ENABLE_PUSH and value not in (0, 1):
        raise H2ConnectionError(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH {value}; allowed: 0 or 1")
    if name == frames.INITIAL_WINDOW_SIZE and value > frames.GREATEST_WINDOW:
        raise H2ConnectionError(
            ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {value}; allowed: up to 2^31-1"
        )
    if name == frames.MAX_FRAME_SIZE and not (
        frames.LEAST_MAX_FRAME_SIZE <= value <= frames.GREATEST_MAX_FRAME_SIZE
    ):
        raise H2ConnectionError(
            ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value}; allowed: 16384 to 16777215"
        )
