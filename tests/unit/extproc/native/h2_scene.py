"""A connection without a socket: a client that says exactly what a test wants, and what it is answered.

The client's side is written and read by hyperframe and hpack, not by what is under test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from sidecar.extproc.transport.native.connection import Connection
from sidecar.extproc.transport.native.faults import ErrorCode
from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.preface import PREFACE
from sidecar.extproc.transport.native.stream import NativeStream
from sidecar.extproc.transport.port import PROCESS, Handler

Fields: TypeAlias = list[tuple[str, str]]
Answer: TypeAlias = Callable[[NativeStream, bytes], None]

CALL: Fields = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PROCESS),
    (":authority", "sidecar"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
]
OPEN_WINDOWS = {4: 2**31 - 1}


def call_fields(**changed: str | None) -> Fields:
    """The fields of a call, some of them changed, added or (None) left out; `_` stands for `-`."""
    fields = dict(CALL)
    for name, value in changed.items():
        known = name.replace("_", "-")
        known = f":{known}" if f":{known}" in fields else known
        if value is None:
            del fields[known]
        else:
            fields[known] = value
    return list(fields.items())


def framed(message: bytes, *, compressed: int = 0) -> bytes:
    """A gRPC message with its prefix."""
    return bytes([compressed]) + len(message).to_bytes(4, "big") + message


@dataclass
class FakeTimer:
    due: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class FakeHost:
    """The owner of no socket, with a clock that stands still."""

    now: float = 0.0
    wakes: int = 0
    timers: list[FakeTimer] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> FakeTimer:
        self.timers.append(FakeTimer(self.now + delay_s, callback))
        return self.timers[-1]

    def wake(self) -> None:
        self.wakes += 1

    def report(self, error: Exception) -> None:
        self.errors.append(error)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and call what is due."""
        self.now += seconds
        due = [timer for timer in self.timers if timer.due <= self.now]
        self.timers = [timer for timer in self.timers if timer.due > self.now]
        for timer in due:
            if not timer.cancelled:
                timer.callback()


@dataclass
class Told:
    """A handler that notes what it is told."""

    stream: NativeStream
    answer: Answer
    messages: list[bytes] = field(default_factory=list)
    ends: int = 0
    inside: bool = False
    reentered: bool = False

    def on_message(self, message: bytes) -> None:
        self.reentered |= self.inside
        self.inside = True
        self.messages.append(message)
        try:
            self.answer(self.stream, message)
        finally:
            self.inside = False

    def on_end(self) -> None:
        self.reentered |= self.inside
        self.ends += 1


def echo(stream: NativeStream, message: bytes) -> None:
    stream.send(b"re:" + message)


def silent(stream: NativeStream, message: bytes) -> None:
    del stream, message


class Scene:
    """A connection, the handlers of its calls in the order of their beginning, and its client."""

    def __init__(
        self,
        answer: Answer = echo,
        limits: Limits | None = None,
        routes: Mapping[bytes, Callable[[NativeStream], Handler]] | None = None,
    ) -> None:
        self.host = FakeHost()
        self.told: list[Told] = []
        self._answer = answer
        self.connection = Connection(
            routes or {PROCESS.encode(): self._accept}, self.host, limits or Limits()
        )
        self.encoder = Encoder()
        self.decoder = Decoder()

    def _accept(self, stream: NativeStream) -> Told:
        self.told.append(Told(stream, self._answer))
        return self.told[-1]

    # --- What the client sends

    def feed(self, *data: bytes | Frame) -> list[Frame]:
        """Send frames, or raw bytes, all at once; the frames that come back."""
        sent = b"".join(part if isinstance(part, bytes) else part.serialize() for part in data)
        self.connection.receive_data(sent)
        return self.taken()

    def taken(self) -> list[Frame]:
        """The frames that the server wants to send now."""
        return parsed(self.connection.data_to_send())

    def greet(self, settings: Mapping[int, int] = OPEN_WINDOWS, *, window: int = 2**31 - 1) -> "Scene":
        """The preface, these settings, a window for the connection, the server's settings acknowledged."""
        parts: list[bytes | Frame] = [PREFACE, SettingsFrame(0, settings=dict(settings))]
        if window > 65_535:
            parts.append(WindowUpdateFrame(0, window_increment=window - 65_535))
        self.feed(*parts, SettingsFrame(0, flags=["ACK"]))
        self.encoder.header_table_size = 0
        return self

    def headers(self, stream_id: int, fields: Fields | None = None, *, end: bool = False) -> HeadersFrame:
        """The HEADERS of a call."""
        block = self.encoder.encode(CALL if fields is None else fields)
        return HeadersFrame(stream_id, block, flags=["END_HEADERS", *(["END_STREAM"] if end else [])])

    def call(self, stream_id: int, *messages: bytes, end: bool = False) -> list[Frame]:
        """Open a stream and send messages on it, each in a frame; the frames that come back."""
        parts = [data(stream_id, framed(message)) for message in messages]
        if end:
            parts.append(data(stream_id, b"", end=True))
        return self.feed(self.headers(stream_id), *parts)

    # --- What it is answered

    def fields(self, frame: Frame) -> dict[str, str]:
        """The fields in a HEADERS frame."""
        assert isinstance(frame, HeadersFrame)
        return {str(name): str(value) for name, value in self.decoder.decode(frame.data)}

    def status(self, frames: list[Frame]) -> tuple[str, str]:
        """The grpc-status and grpc-message that these frames end their stream with."""
        ends = [frame for frame in frames if isinstance(frame, HeadersFrame)]
        fields = {name: value for frame in ends for name, value in self.fields(frame).items()}
        assert "END_STREAM" in ends[-1].flags
        return fields["grpc-status"], fields.get("grpc-message", "")


def parsed(data: bytes) -> list[Frame]:
    """Frames as hyperframe reads them."""
    frames = []
    while data:
        frame, length = Frame.parse_frame_header(memoryview(data[:9]))
        frame.parse_body(memoryview(data[9 : 9 + length]))
        frames.append(frame)
        data = data[9 + length :]
    return frames


def data(stream_id: int, content: bytes, *, end: bool = False) -> DataFrame:
    return DataFrame(stream_id, content, flags=["END_STREAM"] if end else [])


def reset(stream_id: int, code: ErrorCode = ErrorCode.CANCEL) -> RstStreamFrame:
    return RstStreamFrame(stream_id, error_code=code)


def raw(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """A frame of any kind, however wrong."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def window(stream_id: int, increment: int) -> WindowUpdateFrame:
    return WindowUpdateFrame(stream_id, window_increment=increment)


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> PingFrame:
    return PingFrame(0, payload, flags=["ACK"] if ack else [])


def content(frames: list[Frame], stream_id: int) -> bytes:
    """What the DATA frames of a stream hold together."""
    return b"".join(
        frame.data for frame in frames if isinstance(frame, DataFrame) and frame.stream_id == stream_id
    )


def goaways(frames: list[Frame]) -> list[tuple[int, int]]:
    """Last stream and error code of each GOAWAY."""
    return [(frame.last_stream_id, frame.error_code) for frame in frames if isinstance(frame, GoAwayFrame)]


def resets(frames: list[Frame]) -> list[tuple[int, int]]:
    """Stream and error code of each RST_STREAM."""
    return [(frame.stream_id, frame.error_code) for frame in frames if isinstance(frame, RstStreamFrame)]


def windows(frames: list[Frame]) -> list[tuple[int, int]]:
    """Stream and increment of each WINDOW_UPDATE."""
    return [
        (frame.stream_id, frame.window_increment) for frame in frames if isinstance(frame, WindowUpdateFrame)
    ]
