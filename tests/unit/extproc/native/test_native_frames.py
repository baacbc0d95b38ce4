"""Frames: read from any pieces of bytes, written as RFC 9113 has them."""

import pytest
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError
from sidecar.extproc.transport.native.frames import FrameReader
from tests.unit.extproc.native.h2_scene import framed, parsed, ping, raw

THREE = ping().serialize() + raw(frames.DATA, 1, 5, b"abc") + raw(frames.SETTINGS, 1, 0)
READ = [
    (frames.PING, 0, 0, b"12345678"),
    (frames.DATA, 1, 5, b"abc"),
    (frames.SETTINGS, 1, 0, b""),
]


def test_frames_that_come_together_are_read_together() -> None:
    reader = FrameReader()

    assert list(reader.read(THREE)) == READ
    assert reader.held == 0


@pytest.mark.parametrize("size", range(1, 30))
def test_frames_that_come_in_pieces_are_read_when_they_are_complete(size: int) -> None:
    reader = FrameReader()

    pieces = [THREE[at : at + size] for at in range(0, len(THREE), size)]

    assert [frame for piece in pieces for frame in reader.read(piece)] == READ
    assert reader.held == 0


def test_the_reserved_bit_of_the_stream_is_ignored() -> None:
    (frame,) = FrameReader().read(raw(frames.DATA, 0, 0x80000001))

    assert frame[2] == 1


def test_a_frame_that_is_too_long_is_refused_by_its_header_after_those_before_it() -> None:
    reading = FrameReader(16_384).read(ping().serialize() + raw(frames.DATA, 0, 1, bytes(16_385))[:9])

    assert next(reading) == READ[0]
    with pytest.raises(H2ConnectionError, match="a frame of 16385 bytes; allowed: at most 16384") as raised:
        next(reading)
    assert raised.value.code == ErrorCode.FRAME_SIZE_ERROR


def test_no_more_is_held_than_one_frame() -> None:
    reader, longest = FrameReader(16_384), raw(frames.DATA, 0, 1, bytes(16_384))

    for at in range(0, len(longest) - 1, 100):
        assert list(reader.read(longest[at : min(at + 100, len(longest) - 1)])) == []
        assert reader.held <= 9 + 16_384
    assert len(list(reader.read(longest[-1:] + longest * 3))) == 4


def test_what_is_written_is_what_another_implementation_reads() -> None:
    written = (
        frames.message_frame(5, b"message")
        + frames.headers_frame(5, b"\x88", end_stream=True)
        + frames.settings_frame({frames.HEADER_TABLE_SIZE: 0, frames.MAX_FRAME_SIZE: 16_384})
        + frames.reset_frame(7, ErrorCode.CANCEL)
        + frames.window_frame(0, 1000)
        + frames.goaway_frame(9, ErrorCode.ENHANCE_YOUR_CALM, "why")
    )

    message, head, settings, reset, window, goaway = parsed(written)

    assert isinstance(message, DataFrame)
    assert (message.stream_id, message.data, list(message.flags)) == (5, framed(b"message"), [])
    assert isinstance(head, HeadersFrame)
    assert (head.data, set(head.flags)) == (b"\x88", {"END_HEADERS", "END_STREAM"})
    assert isinstance(settings, SettingsFrame)
    assert settings.settings == {1: 0, 5: 16_384}
    assert isinstance(reset, RstStreamFrame)
    assert (reset.stream_id, reset.error_code) == (7, 8)
    assert isinstance(window, WindowUpdateFrame)
    assert (window.stream_id, window.window_increment) == (0, 1000)
    assert isinstance(goaway, GoAwayFrame)
    assert (goaway.last_stream_id, goaway.error_code, goaway.additional_data) == (9, 11, b"why")


def test_the_reason_of_a_goaway_is_cut_short() -> None:
    (goaway,) = parsed(frames.goaway_frame(0, ErrorCode.NO_ERROR, "x" * 100_000))

    assert isinstance(goaway, GoAwayFrame)
    assert len(goaway.additional_data) == 256


@pytest.mark.parametrize(("payload", "holds"), [(b"\0abc", b"abc"), (b"\2ab\0\0", b"ab"), (b"\2\0\0", b"")])
def test_padding_is_taken_off(payload: bytes, holds: bytes) -> None:
    assert frames.without_padding(payload) == holds


@pytest.mark.parametrize("payload", [b"\1", b"\4abc", b"\xff" * 255])
def test_padding_over_the_end_is_a_protocol_error(payload: bytes) -> None:
    with pytest.raises(H2ConnectionError) as raised:
        frames.without_padding(payload)

    assert raised.value.code == ErrorCode.PROTOCOL_ERROR
