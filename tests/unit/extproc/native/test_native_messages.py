"""gRPC's messages in DATA: whole, in pieces, several in one, refused."""

import pytest

from sidecar.extproc.transport.native.grpc_messages import MessageReader
from sidecar.extproc.transport.native.responses import Status
from tests.unit.extproc.native.h2_scene import framed


def taken(reader: MessageReader) -> list[bytes]:
    """Everything that can be taken now."""
    return list(iter(reader.take, None))


def test_a_piece_that_is_a_message_is_taken_whole() -> None:
    reader = MessageReader(100)

    assert reader.whole(framed(b"one")) == b"one"
    assert reader.whole(framed(b"")) == b""
    assert reader.held == 0


@pytest.mark.parametrize(
    "piece",
    [
        b"",
        framed(b"one")[:-1],
        framed(b"one") + b"\0",
        framed(b"one", compressed=1),
        framed(b"x" * 101),
        b"\0\0",
    ],
)
def test_a_piece_that_is_not_just_a_message_is_not(piece: bytes) -> None:
    assert MessageReader(100).whole(piece) is None


def test_a_piece_after_a_beginning_is_not_a_message_whatever_it_looks_like() -> None:
    reader = MessageReader(100)
    reader.feed(framed(framed(b"inner"))[:5])

    assert reader.whole(framed(b"inner")) is None
    reader.feed(framed(b"inner"))
    assert taken(reader) == [framed(b"inner")]


@pytest.mark.parametrize("size", range(1, 20))
def test_messages_are_taken_one_by_one_however_they_are_cut(size: int) -> None:
    reader, sent, got = MessageReader(100), framed(b"one") + framed(b"") + framed(b"three"), []

    for at in range(0, len(sent), size):
        reader.feed(sent[at : at + size])
        got += taken(reader)

    assert got == [b"one", b"", b"three"]
    assert (reader.held, reader.size) == (0, 0)


def test_what_is_not_taken_stays() -> None:
    reader = MessageReader(100)
    reader.feed(framed(b"one") + framed(b"two"))

    assert reader.take() == b"one"
    assert reader.held == len(framed(b"two"))
    reader.feed(framed(b"three"))
    assert taken(reader) == [b"two", b"three"]


def test_the_size_of_a_message_shows_with_its_prefix() -> None:
    reader = MessageReader(100)

    reader.feed(framed(b"x" * 90)[:4])
    assert reader.size == 0
    reader.feed(framed(b"x" * 90)[4:10])
    assert (reader.size, reader.held) == (95, 10)


@pytest.mark.parametrize(
    ("message", "encoding", "status", "says"),
    [
        (framed(b"x" * 101), b"identity", Status.RESOURCE_EXHAUSTED, "101 bytes; allowed: at most 100"),
        (
            framed(b"z", compressed=1),
            b"gzip",
            Status.UNIMPLEMENTED,
            "gzip is not supported; allowed: identity",
        ),
        (framed(b"z", compressed=1), b"identity", Status.INTERNAL, "compressed-flag 1"),
        (framed(b"z", compressed=7), b"gzip", Status.INTERNAL, "compressed-flag 7"),
    ],
)
def test_a_message_that_cannot_be_taken_is_a_fault_by_its_prefix_after_those_before_it(
    message: bytes, encoding: bytes, status: Status, says: str
) -> None:
    reader = MessageReader(100, encoding)
    reader.feed(framed(b"good") + message[:5])

    assert taken(reader) == [b"good"]
    assert reader.fault is not None
    assert reader.fault[0] is status
    assert says in reader.fault[1]


def test_nothing_is_read_after_a_fault() -> None:
    reader = MessageReader(100)
    reader.feed(framed(b"z", compressed=1))
    assert reader.take() is None

    reader.feed(framed(b"good"))
    assert reader.whole(framed(b"good")) is None
    assert (taken(reader), reader.held) == ([], 0)
