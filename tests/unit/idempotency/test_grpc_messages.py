"""What HTTP does not tell of a gRPC call: its status, and how many messages its bodies have."""

import itertools

import pytest

from sidecar.idempotency.fields import Fields
from sidecar.idempotency.grpc import GrpcStatus, MessageCounter, status_in


def framed(*messages: bytes) -> bytes:
    return b"".join(b"\x00" + len(message).to_bytes(4) + message for message in messages)


def counted(*pieces: bytes) -> tuple[bool, bool]:
    counter = MessageCounter()
    for piece in pieces:
        counter.feed(piece)
    return counter.has_one, counter.has_several


NONE, ONE, SEVERAL = (False, False), (True, False), (True, True)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b"", NONE),
        (b"\x00", NONE),
        (b"\x00\x00\x00\x00", NONE),
        (framed(b""), ONE),
        (b"\x00\x00\x00\x00\x01", NONE),
        (framed(b"x"), ONE),
        (b"\x01" + framed(b"compressed")[1:], ONE),
        (framed(b"x" * 300), ONE),
        (framed(b"x" * 300)[:-1], NONE),
        (framed(b"x") + b"\x00", SEVERAL),
        (framed(b"") + b"\x00", SEVERAL),
        (framed(b"", b""), SEVERAL),
        (framed(b"x", b"yz", b""), SEVERAL),
    ],
)
def test_messages_are_counted_by_their_prefixes_however_the_body_is_cut(
    body: bytes, count: tuple[bool, bool]
) -> None:
    assert counted(body) == count
    assert counted(*(bytes([byte]) for byte in body)) == count
    for cut, second in itertools.combinations_with_replacement(range(min(len(body), 20) + 1), 2):
        assert counted(body[:cut], body[cut:second], b"", body[second:]) == count


def test_a_message_as_long_as_its_prefix_can_say_is_counted_without_being_kept() -> None:
    counter = MessageCounter()
    counter.feed(b"\x00\xff\xff\xff\xff")
    piece = bytes(1 << 24)
    for _ in range(255):
        counter.feed(piece)

    assert not counter.has_one
    counter.feed(piece[:-1])
    assert (counter.has_one, counter.has_several) == ONE


def test_once_there_are_several_nothing_changes_any_more() -> None:
    assert counted(framed(b"a", b"b"), b"\xff" * 100, b"") == SEVERAL


def test_the_statuses_are_grpcs_own() -> None:
    assert [status.value for status in GrpcStatus] == list(range(17))
    assert (GrpcStatus.OK, GrpcStatus.ABORTED, GrpcStatus.UNAUTHENTICATED) == (0, 10, 16)


def status(value: bytes) -> Fields:
    return (("x", b"1"), ("grpc-status", value))


@pytest.mark.parametrize("known", GrpcStatus)
def test_a_status_is_read_from_its_number(known: GrpcStatus) -> None:
    assert status_in(status(str(known.value).encode())) is known


@pytest.mark.parametrize("text", [b"17", b"-1", b"", b"00", b"OK", b"1 ", b"\xff"])
def test_what_is_no_status_of_grpcs_reads_as_unknown(text: bytes) -> None:
    assert status_in(status(text)) is GrpcStatus.UNKNOWN


def test_the_first_section_that_has_a_status_counts() -> None:
    assert status_in() is None
    assert status_in((), (("x", b"0"),)) is None
    assert status_in(status(b"0"), status(b"5")) is GrpcStatus.OK
    assert status_in((), status(b"5")) is GrpcStatus.NOT_FOUND
