"""Bodies in full duplex: how the sidecar learns that they go so, and how it gives them back."""

import pytest
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode as BodyMode

from sidecar.exchange.effects import Answer, EchoRequestBody, EchoResponseBody
from sidecar.exchange.events import RequestHeaders
from sidecar.extproc.codec import UndecodableMessageError, decode
from sidecar.extproc.codec.replies import MAX_STREAMED_PIECE
from tests.unit.extproc.envoy_messages import answers, request_headers

NONE, STREAMED, DUPLEX = BodyMode.NONE, BodyMode.STREAMED, BodyMode.FULL_DUPLEX_STREAMED


@pytest.mark.parametrize(
    ("modes", "duplex"),
    [
        ((NONE, NONE), (False, False)),
        ((DUPLEX, DUPLEX), (True, True)),
        ((DUPLEX, STREAMED), (True, False)),
        ((STREAMED, STREAMED), (False, False)),
    ],
)
def test_the_head_of_a_request_says_how_the_filter_is_configured(
    modes: tuple[BodyMode, BodyMode], duplex: tuple[bool, bool]
) -> None:
    event = decode(request_headers(modes=modes))

    assert isinstance(event, RequestHeaders)
    assert (event.request_duplex, event.response_duplex) == duplex


@pytest.mark.parametrize(
    "modes", [(DUPLEX, NONE), (NONE, DUPLEX), (STREAMED, DUPLEX), (DUPLEX, BodyMode.BUFFERED)]
)
def test_a_filter_that_would_hide_a_part_of_every_exchange_is_refused(
    modes: tuple[BodyMode, BodyMode],
) -> None:
    with pytest.raises(UndecodableMessageError, match="allowed: what `idempotency-sidecar envoy-config`"):
        decode(request_headers(modes=modes))


def echoed(answer: Answer) -> list[tuple[str, bytes, bool]]:
    """The direction, the bytes and the end of each piece that is given back."""
    pieces = []
    for message in answers(answer):
        direction = "request" if message.request_body is not None else "response"
        body = message.request_body or message.response_body
        assert body is not None
        assert body.response is not None
        assert body.response.body_mutation is not None
        piece = body.response.body_mutation.streamed_response
        assert piece is not None
        pieces.append((direction, piece.body, piece.end_of_stream))
    return pieces


def test_a_piece_is_given_back_as_it_came() -> None:
    assert echoed(EchoRequestBody(b"x", end_of_stream=False)) == [("request", b"x", False)]
    assert echoed(EchoResponseBody(b"y", end_of_stream=True)) == [("response", b"y", True)]


def test_the_empty_end_of_a_body_is_given_back() -> None:
    assert echoed(EchoRequestBody(b"", end_of_stream=True)) == [("request", b"", True)]


def test_a_large_piece_is_given_back_in_messages_that_envoy_takes() -> None:
    whole, rest = b"a" * MAX_STREAMED_PIECE, b"b"

    assert echoed(EchoResponseBody(whole + rest, end_of_stream=True)) == [
        ("response", whole, False),
        ("response", rest, True),
    ]
