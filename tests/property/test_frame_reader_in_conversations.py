"""Whatever a peer sends, in whatever pieces: the connection answers or gives up, and never raises.

Three sources: bytes of no sense, frames of some, and good conversations with mistakes in them.
"""

from dataclasses import dataclass, field

from hpack import Encoder
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, composite

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.preface import PREFACE
from sidecar.extproc.transport.native.stream import NativeStream
from tests.property.test_frame_reader import CUTS, pieces
from tests.unit.extproc.native.h2_scene import CALL, Scene, call_fields, framed

LIMITS = Limits(concurrent_streams=4, message_size=300, queued_answers=50, unsent=5000, cached_blocks=2)
GREETING = PREFACE + frames.settings_frame({}) + frames.frame(frames.SETTINGS, frames.ACK, 0)
STREAM_IDS = st.sampled_from([0, 1, 1, 1, 3, 3, 5, 2, 2**31 - 1])


def blocks() -> list[bytes]:
    """Field blocks: of a client that has turned its table off, and not quite that."""
    encoder = Encoder()
    encoder.header_table_size = 0
    first = encoder.encode(CALL)
    later = [
        CALL,
        call_fields(path="/none"),
        call_fields(te="gzip"),
        call_fields(grpc_timeout="1S"),
        [("x", "y")],
    ]
    return [first, *(encoder.encode(fields) for fields in later), b"", b"\xbe", b"\x20", b"\x3f\xe1\x1f"]


PAYLOADS = st.one_of(
    st.binary(max_size=24),
    st.sampled_from(blocks()),
    st.sampled_from(
        [framed(b"one"), framed(b"x" * 299), framed(b"x" * 301)[:40], framed(b"z", compressed=1)]
    ),
    st.sampled_from(
        [bytes(4), b"\0\0\0\1", b"\x7f\xff\xff\xff", bytes(8), b"\0\4\0\0\0\3", b"\0\4\x7f\xff\xff\xff"]
    ),
)
SOME_FRAME = st.builds(frames.frame, st.integers(0, 10), st.integers(0, 0x2D), STREAM_IDS, PAYLOADS)


@composite
def conversations(draw: DrawFn) -> bytes:
    """What a well-behaved client sends in some calls, one frame after the other."""
    encoder, parts = Encoder(), [GREETING]
    encoder.header_table_size = 0
    for stream_id in range(1, 2 * draw(st.integers(1, 5)), 2):
        parts.append(frames.headers_frame(stream_id, encoder.encode(CALL)))
        sent = b"".join(framed(message) for message in draw(st.lists(st.binary(max_size=30), max_size=4)))
        for part in pieces(sent, draw(st.lists(st.integers(0, 60), max_size=3))):
            parts.append(frames.frame(frames.DATA, 0, stream_id, part))  # noqa: PERF401 - nothing is gained
        if draw(st.booleans()):
            parts.append(frames.frame(frames.WINDOW_UPDATE, 0, stream_id, b"\0\0\1\0"))
        ends = [
            b"",
            frames.frame(frames.DATA, 1, stream_id),
            frames.frame(frames.RST_STREAM, 0, stream_id, bytes(4)),
        ]
        parts.append(draw(st.sampled_from(ends)))
    return b"".join(parts)


@composite
def mistakes(draw: DrawFn) -> bytes:
    """A good conversation in which bytes were changed, lost, doubled or added."""
    data = bytearray(draw(conversations()))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        end = at + draw(st.integers(0, 12))
        match draw(st.sampled_from(["change", "lose", "double", "add", "frame"])):
            case "change":
                data[at:end] = draw(st.binary(min_size=len(data[at:end]), max_size=len(data[at:end])))
            case "lose":
                del data[at:end]
            case "double":
                data[at:at] = data[at:end]
            case "add":
                data[at:at] = draw(st.binary(max_size=12))
            case _:
                data[at:at] = draw(SOME_FRAME)
    return bytes(data)


ANYTHING = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=200).map(GREETING.__add__),
    st.lists(SOME_FRAME, max_size=20).map(lambda sent: GREETING + b"".join(sent)),
    conversations(),
    mistakes(),
)


@dataclass
class Outcome:
    """All that can be seen of a connection."""

    sent: bytes = b""
    closing: bool = False
    told: list[tuple[list[bytes], int]] = field(default_factory=list)


def answer(stream: NativeStream, message: bytes) -> None:
    """As messages say: one bug, one failure, several answers."""
    if message.startswith(b"\0"):
        raise LookupError("a bug")
    if message.startswith(b"\1"):
        stream.fail("no")
    for _ in range(len(message) % 3):
        stream.send(message)


def converse(parts: list[bytes]) -> Outcome:
    """Feed a connection, hold it to its bounds all the while, and lose it at the end."""
    scene, outcome = Scene(answer, LIMITS), Outcome()
    for part in parts:
        scene.connection.receive_data(part)
        outcome.sent += scene.connection.data_to_send()
        _check_bounds(scene)
    outcome.closing = scene.connection.closing
    scene.connection.lost()
    outcome.told = [(told.messages, told.ends) for told in scene.told]
    assert not any(told.reentered for told in scene.told)
    assert {type(error) for error in scene.host.errors} <= {LookupError}
    return outcome


def _check_bounds(scene: Scene) -> None:
    calls = scene.connection._calls
    assert len(calls) <= LIMITS.concurrent_streams
    assert scene.connection._reader.held < 9 + LIMITS.frame_size
    assert scene.connection._outlet.queued <= LIMITS.unsent
    assert calls.blocks.cached <= LIMITS.cached_blocks
    for stream in calls.live.values():
        assert stream._reader.held + stream._receive_window <= LIMITS.stream_window
        assert stream._queued <= LIMITS.queued_answers + 2 * (LIMITS.message_size + 5)


@given(ANYTHING, CUTS)
@example(GREETING[:10], [3])
def test_nothing_raises_everything_stays_bounded_and_the_split_makes_no_difference(
    data: bytes, cuts: list[int]
) -> None:
    whole = converse([data])

    assert converse(pieces(data, cuts)) == whole
    assert all(ends == 1 for _, ends in whole.told)


@given(conversations(), CUTS)
def test_a_good_conversation_is_never_given_up(data: bytes, cuts: list[int]) -> None:
    outcome = converse(pieces(data, cuts))

    assert not outcome.closing


@given(st.lists(SOME_FRAME, max_size=20), CUTS)
def test_what_is_sent_back_is_always_frames(sent: list[bytes], cuts: list[int]) -> None:
    outcome = converse(pieces(GREETING + b"".join(sent), cuts))

    reader = frames.FrameReader()
    kinds = [kind for kind, _, _, _ in reader.read(outcome.sent)]
    assert reader.held == 0
    assert kinds[0] == frames.SETTINGS
    assert (frames.GOAWAY in kinds) == outcome.closing
