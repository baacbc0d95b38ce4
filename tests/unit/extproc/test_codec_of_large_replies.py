"""Large replies as messages: a head, pieces that Envoy takes, an end; or all of it at once."""

import pytest
from msgspec.structs import replace

from sidecar.exchange.effects import BeginReply, LargeReply, Reply, ReplyAtOnce, ReplyPiece, ReplyTrailers
from sidecar.extproc.codec.encoding import encode
from sidecar.extproc.codec.replies import MAX_STREAMED_PIECE
from sidecar.idempotency.body import PIECE_BYTES, HeldBody, KeptBody
from sidecar.idempotency.fields import Fields
from tests.unit.extproc.envoy_messages import answers, modes, the_answer

# Deprecated in Envoy's protocol, and the only one of the two that ext_proc honours.
pytestmark = pytest.mark.filterwarnings("ignore:HeaderValueOption.append is deprecated:DeprecationWarning")

KEPT = KeptBody("id", "owner", 600_000, PIECE_BYTES, (1, 2, 3), compressed=True)
HEADERS: Fields = (("content-type", b"text/csv"), ("link", b"<a>"), ("link", b"<b>"))
LARGE = LargeReply(200, HEADERS, KEPT, "idempotency_replayed")
TRAILERS: Fields = (("checksum", b"7"), ("checksum", b"8"))


def head_of(reply: LargeReply) -> tuple[list[tuple[str, bytes]], bool]:
    """The fields of the head that begins a reply, and whether it is the end already."""
    message = the_answer(BeginReply(reply))
    streamed = message.streamed_immediate_response
    assert modes(message) == ("NONE", "SKIP", "SKIP", "NONE", "SKIP")
    assert streamed is not None
    assert streamed.headers_response is not None
    assert streamed.headers_response.headers is not None
    fields = [(field.key, field.raw_value) for field in streamed.headers_response.headers.headers]
    return fields, streamed.headers_response.end_of_stream


def body_of(answer: ReplyPiece) -> list[tuple[bytes, bool]]:
    """The messages of a piece: their bytes, and whether they end the response."""
    found = []
    for message in answers(answer):
        assert message.streamed_immediate_response is not None
        piece = message.streamed_immediate_response.body_response
        assert piece is not None
        found.append((piece.body, piece.end_of_stream))
    return found


def test_a_large_reply_begins_with_a_head_that_tells_its_length_and_joins_its_fields() -> None:
    assert head_of(LARGE) == (
        [
            *((":status", b"200"), ("content-type", b"text/csv"), ("link", b"<a>, <b>")),
            ("content-length", b"600000"),
        ],
        False,
    )


def test_with_trailers_to_come_no_length_is_told() -> None:
    fields, ends = head_of(replace(LARGE, trailers=TRAILERS))

    assert "content-length" not in dict(fields)
    assert not ends


@pytest.mark.parametrize("ends", [True, False])
def test_a_piece_is_cut_into_messages_that_envoy_takes_and_only_the_last_may_end_the_reply(
    ends: bool,
) -> None:
    data = bytes(range(256)) * (PIECE_BYTES // 256)

    messages = body_of(ReplyPiece(data, ends=ends))

    assert b"".join(body for body, _ in messages) == data
    assert max(len(body) for body, _ in messages) <= MAX_STREAMED_PIECE
    assert [end for _, end in messages] == [False] * (len(messages) - 1) + [ends]


@pytest.mark.parametrize(("to_call", "joined"), [(False, b"7, 8"), (True, b"7,8")])
def test_trailers_end_a_large_reply(to_call: bool, joined: bytes) -> None:
    streamed = the_answer(ReplyTrailers(TRAILERS, to_call)).streamed_immediate_response

    assert streamed is not None
    assert streamed.trailers_response is not None
    assert [(field.key, field.raw_value) for field in streamed.trailers_response.headers] == [
        ("checksum", joined)
    ]


@pytest.mark.parametrize("sizes", [(1, 1), (100, 27), (PIECE_BYTES, PIECE_BYTES, 5)])
def test_a_large_reply_at_once_is_the_message_that_a_small_one_would_be(sizes: tuple[int, ...]) -> None:
    body = HeldBody(tuple(b"%d" % number * size for number, size in enumerate(sizes)))
    headers: Fields = (*HEADERS, ("set-cookie", b"a=1"), ("set-cookie", b"b=2"))

    at_once = answers(ReplyAtOnce(replace(LARGE, headers=headers), body))

    assert at_once == answers(Reply(200, headers, b"".join(body.pieces), "idempotency_replayed"))


def test_a_large_reply_is_no_answer_by_itself() -> None:
    with pytest.raises(TypeError, match="no message for"):
        encode(LARGE)  # type: ignore[arg-type]  # what the type forbids
