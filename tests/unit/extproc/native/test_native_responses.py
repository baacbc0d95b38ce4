"""What is answered, as another implementation of HPACK reads it."""

import pytest
from hpack import Decoder

from sidecar.extproc.transport.native import responses
from sidecar.extproc.transport.native.responses import (
    Status,
    http_error,
    percent_encoded,
    trailers,
    trailers_only,
)


def decoded(block: bytes) -> list[tuple[str, str]]:
    return [(str(name), str(value)) for name, value in Decoder().decode(block)]


def test_the_head_of_a_response() -> None:
    assert decoded(responses.RESPONSE) == [(":status", "200"), ("content-type", "application/grpc")]


def test_blocks_change_no_table() -> None:
    decoder = Decoder()
    for block in (
        responses.RESPONSE,
        responses.OK_TRAILERS,
        trailers_only(Status.UNIMPLEMENTED, "x"),
        http_error(415),
    ):
        decoder.decode(block)

    assert len(decoder.header_table.dynamic_entries) == 0


def test_the_first_block_turns_the_table_off_so_that_no_client_can_demand_less() -> None:
    decoder = Decoder()
    decoder.max_allowed_table_size = 0

    fields = decoder.decode(responses.TABLE_OFF + responses.RESPONSE)
    assert len(list(fields)) == 2
    decoder.decode(responses.RESPONSE)
    assert decoder.header_table_size == 0


def test_an_end_that_is_well_says_nothing_else() -> None:
    assert decoded(responses.OK_TRAILERS) == [("grpc-status", "0")]


def test_an_end_that_is_not_says_why() -> None:
    assert decoded(trailers(Status.INTERNAL, "no store")) == [
        ("grpc-status", "13"),
        ("grpc-message", "no store"),
    ]


def test_trailers_only_are_head_and_end_in_one() -> None:
    assert decoded(trailers_only(Status.NOT_FOUND, "which?"))[:2] == decoded(responses.RESPONSE)


@pytest.mark.parametrize(
    ("detail", "encoded"),
    [
        ("plain text, ~!", b"plain text, ~!"),
        ("100%", b"100%25"),
        ("a\r\nb\0", b"a%0D%0Ab%00"),
        ("für", b"f%C3%BCr"),
        ("\udc80", b"?"),
    ],
)
def test_messages_are_percent_encoded(detail: str, encoded: bytes) -> None:
    assert percent_encoded(detail) == encoded


def test_a_message_is_cut_so_that_it_fits_a_frame() -> None:
    assert len(trailers(Status.INTERNAL, "\U0001f600" * 100_000)) < 16_384


def test_an_http_error_has_no_status_of_grpc() -> None:
    assert decoded(http_error(415)) == [(":status", "415")]
    assert decoded(http_error(405)) == [(":status", "405"), ("allow", "POST")]
