"""Any bytes, however they are split, are frames or a connection error, in bounded memory."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError
from sidecar.extproc.transport.native.frames import Frame, FrameReader, frame

MAX_LENGTH = 64
ANY_FRAME = st.builds(
    frame, st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary(max_size=MAX_LENGTH)
)
TOO_LONG = st.builds(frame, st.integers(0, 255), st.just(0), st.just(1), st.binary(min_size=65, max_size=99))
STREAMS = st.lists(ANY_FRAME | ANY_FRAME | ANY_FRAME | TOO_LONG | st.binary(max_size=20), max_size=12).map(
    b"".join
)
CUTS = st.lists(st.integers(0, 400), max_size=12)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The same bytes, cut at these places."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def read(parts: list[bytes]) -> tuple[list[Frame], ErrorCode | None]:
    """What a reader makes of these pieces, one after the other."""
    reader, frames = FrameReader(MAX_LENGTH), []
    for part in parts:
        try:
            for one in reader.read(part):
                frames.append(one)  # noqa: PERF402 - those before the error are kept
        except H2ConnectionError as error:
            return frames, error.code
        assert reader.held < 9 + MAX_LENGTH
    return frames, None


@given(STREAMS, CUTS)
def test_the_result_is_the_same_whatever_the_split(data: bytes, cuts: list[int]) -> None:
    assert read(pieces(data, cuts)) == read([data])


@given(STREAMS)
def test_bytes_one_by_one_are_no_different(data: bytes) -> None:
    assert read([data[at : at + 1] for at in range(len(data))]) == read([data])


@given(st.lists(ANY_FRAME, max_size=12), CUTS)
def test_what_was_written_is_read_back(written: list[bytes], cuts: list[int]) -> None:
    frames, error = read(pieces(b"".join(written), cuts))

    assert [frame(*one) for one in frames] == written
    assert error is None


@given(STREAMS)
def test_an_error_is_only_ever_about_a_frames_size(data: bytes) -> None:
    frames, error = read([data])

    used = sum(9 + len(payload) for _, _, _, payload in frames)
    announced = int.from_bytes(data[used : used + 3], "big") if len(data) - used >= 9 else 0
    assert error == (ErrorCode.FRAME_SIZE_ERROR if announced > MAX_LENGTH else None)
