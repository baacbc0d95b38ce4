"""The capture of a response: what it keeps, what it lets go of, when it is whole."""

from dataclasses import replace

import pytest

from sidecar.exchange.capture import Capture
from sidecar.idempotency.body import PIECE_BYTES, HeldBody
from sidecar.idempotency.fields import Fields
from tests.unit.exchange.scenes import POLICY, answer

OF = b"f" * 32


def capture(
    *pieces: bytes, fields: Fields = (), limit: int = 8, status: int = 200, of_call: bool = False
) -> Capture:
    capturing = Capture(answer(status, fields), replace(POLICY, max_response_body=limit), of_call=of_call)
    for piece in pieces:
        capturing.feed(piece)
    return capturing


@pytest.mark.parametrize("pieces", [(), (b"",), (b"12345678",), (b"1234", b"", b"5678"), (b"1",) * 8])
def test_a_body_within_the_limit_is_kept_whole(pieces: tuple[bytes, ...]) -> None:
    record = capture(*pieces).record(OF)

    assert (record.body, record.replayable, record.fingerprint) == (b"".join(pieces), True, OF)


@pytest.mark.parametrize(
    "pieces", [(b"123456789",), (b"12345678", b"9"), (b"1234", b"56789", b""), (b"1",) * 9]
)
def test_a_body_beyond_the_limit_is_not_kept_at_all(pieces: tuple[bytes, ...]) -> None:
    record = capture(*pieces).record(OF)

    assert (record.body, record.replayable, record.fingerprint) == (b"", False, OF)


def test_a_limit_of_nothing_keeps_empty_responses_only() -> None:
    assert capture(limit=0).record(OF).replayable
    assert not capture(b"x", limit=0).record(OF).replayable


def test_a_capture_that_was_let_go_of_does_not_begin_again() -> None:
    capturing = capture(b"123456789")

    capturing.feed(b"x")

    assert not capturing.record(OF).replayable


def test_without_a_fingerprint_there_is_nothing_to_replay() -> None:
    record = capture(b"done").record(None)

    assert (record.body, record.replayable, record.fingerprint) == (b"", False, None)


def test_header_and_trailer_fields_are_filtered_alike() -> None:
    fields: Fields = (("etag", b"x"), ("date", b"now"), ("set-cookie", b"a=1"))

    record = capture(fields=fields).record(OF, trailers=fields)

    assert record.headers == record.trailers == (("etag", b"x"),)


COOKIES: Fields = (("set-cookie", b"a=1"), ("set-cookie", b"b=2"))
SUM: Fields = (("sum", b"1"),)


@pytest.mark.parametrize(
    ("headers", "trailers", "replayable"),
    [
        (COOKIES, SUM, False),
        (COOKIES, (), True),
        (COOKIES, (("date", b"now"),), True),
        (COOKIES[:1], SUM, True),
        ((), (*COOKIES, *SUM), True),
    ],
)
def test_what_envoy_could_not_give_again_without_loss_is_not_replayable(
    headers: Fields, trailers: Fields, replayable: bool
) -> None:
    # A streamed reply has trailers but keeps one field of a name; an immediate one has no trailers.
    keeping = replace(POLICY, exclude_response_headers=frozenset())
    capturing = Capture(answer(200, headers), keeping)
    capturing.feed(b"done")

    record = capturing.record(OF, trailers)

    assert (record.replayable, record.body) == (replayable, b"done" if replayable else b"")
    assert record.headers == headers


def test_cookies_that_the_policy_does_not_keep_do_not_stand_in_the_way_of_trailers() -> None:
    record = capture(b"done", fields=COOKIES).record(OF, SUM)

    assert (record.replayable, record.headers, record.trailers) == (True, (), SUM)


def test_a_body_that_was_let_go_of_is_not_replayable_however_small_it_is() -> None:
    capturing = capture(b"done")

    capturing.let_go()

    assert (capturing.record(OF).replayable, capturing.record(OF).body) == (False, b"")


@pytest.mark.parametrize(
    ("fields", "pieces", "whole"),
    [
        ((), (b"12",), False),
        ((("content-length", b"2"),), (), False),
        ((("content-length", b"2"),), (b"1",), False),
        ((("content-length", b"2"),), (b"1", b"2"), True),
        ((("content-length", b"2"),), (b"123",), True),
        ((("content-length", b"0"),), (), True),
        ((("content-length", b"20"),), (b"1",) * 20, True),
        ((("content-length", b"2"), ("trailer", b"sum")), (b"12",), False),
        ((("content-length", b"two"),), (b"12",), False),
    ],
)
def test_a_body_is_whole_when_its_announced_length_has_come(
    fields: Fields, pieces: tuple[bytes, ...], whole: bool
) -> None:
    assert capture(*pieces, fields=fields).has_whole_body is whole


@pytest.mark.parametrize(
    ("metadata", "trailers", "replayable"),
    [
        ((), (), True),
        ((("x", b"1"), ("x", b"2")), (("x", b"1"), ("x", b"2")), True),
        ((("x-bin", b"1"), ("y-bin", b"2")), (("x-bin", b"1"),), True),
        ((("x-bin", b"1"), ("x-bin", b"2")), (), False),
        ((), (("x-bin", b"1"), ("x-bin", b"1")), False),
    ],
)
def test_of_a_grpc_call_repeated_binary_metadata_cannot_be_given_again(
    metadata: Fields, trailers: Fields, replayable: bool
) -> None:
    assert capture(fields=metadata, of_call=True).record(OF, trailers).replayable is replayable
    assert capture(fields=metadata).record(OF, trailers).replayable


def test_a_grpc_call_is_whole_only_with_its_trailers_and_a_page_in_its_place_with_its_length() -> None:
    length: Fields = (("content-length", b"2"),)

    assert not capture(b"12", fields=length, of_call=True).has_whole_body
    assert capture(b"12", fields=length, of_call=True, status=404).has_whole_body


# --- Large bodies

LARGE = HeldBody((b"a" * PIECE_BYTES, b"b" * PIECE_BYTES, b"c" * 10))


@pytest.mark.parametrize("chunk", [16_384, 1_000_000], ids=["small chunks", "one chunk"])
def test_a_large_body_is_kept_in_pieces_whatever_it_came_in(chunk: int) -> None:
    sent = b"".join(LARGE.pieces)
    chunks = [sent[start : start + chunk] for start in range(0, len(sent), chunk)]

    record = capture(*chunks, limit=len(sent)).record(OF)

    assert (record.body, record.replayable) == (LARGE, True)


def test_a_large_body_beyond_the_limit_is_let_go_of_with_its_pieces() -> None:
    sent = b"".join(LARGE.pieces)
    capturing = capture(sent, b"x", b"y", limit=len(sent))

    assert (capturing.record(OF).body, capturing.record(OF).replayable) == (b"", False)
    assert not capturing._pieces


def test_a_whole_large_body_is_taken_without_a_copy_of_its_pieces() -> None:
    capturing = capture(limit=LARGE.size)
    capturing.take(LARGE)

    body = capturing.record(OF).body

    assert isinstance(body, HeldBody)
    assert body == LARGE
    assert all(kept is given for kept, given in zip(body.pieces[:-1], LARGE.pieces[:-1], strict=True))


def test_a_whole_large_body_beyond_the_limit_is_not_kept() -> None:
    capturing = capture(limit=LARGE.size - 1)
    capturing.take(LARGE)

    assert not capturing.record(OF).replayable
