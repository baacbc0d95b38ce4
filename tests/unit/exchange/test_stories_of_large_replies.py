"""Stories of replies with large bodies: piece by piece, and never a part for the whole."""

from dataclasses import replace

from sidecar.exchange.core import LARGE_BODY_MS
from sidecar.exchange.effects import (
    BeginReply,
    BreakOff,
    Complete,
    Effect,
    ExtendTimeout,
    FetchPiece,
    LargeReply,
    Reply,
    ReplyAtOnce,
    ReplyPiece,
    ReplyTrailers,
)
from sidecar.exchange.events import (
    InFlight,
    OwnerGone,
    PieceFetched,
    PieceLost,
    Recorded,
    RenewalDue,
    RenewalFailed,
    Renewed,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseTrailers,
    Settled,
    SettlingFailed,
    WaitFailed,
)
from sidecar.exchange.states import State
from sidecar.idempotency.body import PIECE_BYTES, HeldBody
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.policy import BodyMode, FingerprintSpec
from tests.unit.exchange.scenes import (
    CLAIMED,
    DETACHED,
    ENDED,
    GRPC,
    GRPC_WITH_KEY,
    KEPT,
    LARGE,
    LAST_PIECE,
    PIECE,
    POLICY,
    UPSTREAM,
    WAITING,
    Story,
    Teller,
    answer,
    assert_refused,
    executed,
    fingerprint,
    framed,
    head,
    record_of,
    recorded,
)

OF_HEAD = fingerprint(head(body=False))
OF_PIECES = fingerprint(head(), b"x", b"yz")
FIRST, SECOND, THIRD = PieceFetched(b"11111111"), PieceFetched(b"22222222"), PieceFetched(b"3333")
LOST = PieceLost()
COOKIES: Fields = (("set-cookie", b"a=1"), ("set-cookie", b"b=2"))
HELD = HeldBody((b"a" * PIECE_BYTES, b"b" * PIECE_BYTES, b"c"))
ROOMY = replace(DETACHED, max_response_body=HELD.size)


def replying(tell: Teller, *, headers: Fields = (("etag", b"x"),), trailers: Fields = ()) -> Story:
    """A duplicate without a body whose record is large; its first piece has been asked for."""
    kept = recorded(LARGE, of=OF_HEAD, headers=headers, trailers=trailers)
    return tell().after(head(body=False), kept)


def large_reply(*, headers: Fields = (("etag", b"x"),), trailers: Fields = ()) -> LargeReply:
    """The replay of that record."""
    marked = (*headers, ("idempotent-replayed", b"true"))
    return LargeReply(201, marked, LARGE, "idempotency_replayed", trailers)


def given(story: Story) -> list[Effect]:
    """What of a reply the client has."""
    kinds = Reply | BeginReply | ReplyPiece | ReplyTrailers | ReplyAtOnce
    return [effect for effect in story.seen if isinstance(effect, kinds)]


# --- A replay


def test_a_large_record_is_replayed_piece_by_piece_and_nothing_is_said_before_the_first_is_there(
    tell: Teller,
) -> None:
    story = tell().after(head(body=False))

    assert story.on(recorded(LARGE, of=OF_HEAD)) == (FetchPiece(LARGE, 0),)
    assert story.state() is State.REPLYING
    assert story.on(FIRST) == (
        BeginReply(large_reply()),
        story.count("replayed"),
        ReplyPiece(b"11111111", ends=False),
        FetchPiece(LARGE, 1),
    )
    assert story.on(SECOND) == (ReplyPiece(b"22222222", ends=False), FetchPiece(LARGE, 2))
    assert story.state() is State.REPLYING
    assert story.on(THIRD) == (ReplyPiece(b"3333", ends=True),)
    assert story.state() is State.ANSWERED


def test_trailers_end_a_large_replay(tell: Teller) -> None:
    trailers = (("checksum", b"7"),)
    story = replying(tell, trailers=trailers).after(FIRST, SECOND)

    assert story.on(THIRD) == (ReplyPiece(b"3333", ends=False), ReplyTrailers(trailers, to_call=False))
    assert story.state() is State.ANSWERED


def test_a_duplicate_with_a_body_is_compared_before_any_piece_is_asked_for(tell: Teller) -> None:
    story = tell().after(head(), recorded(LARGE, of=OF_PIECES), PIECE)

    assert FetchPiece(LARGE, 0) not in story.seen
    assert story.on(LAST_PIECE) == (FetchPiece(LARGE, 0),)
    assert story.state() is State.REPLYING


def test_a_duplicate_that_ends_with_trailers_is_given_the_large_record_too(tell: Teller) -> None:
    of = fingerprint(head(), b"x")
    story = tell().after(head(), recorded(LARGE, of=of), PIECE)

    assert story.on(RequestTrailers()) == (FetchPiece(LARGE, 0),)


def test_another_payload_is_refused_without_reading_the_large_record(tell: Teller) -> None:
    story = tell().after(head(), recorded(LARGE, of=OF_HEAD), LAST_PIECE)

    assert_refused(story, 422, "key-reused")
    assert FetchPiece(LARGE, 0) not in story.seen


def test_a_gRPC_call_is_always_given_again_as_a_stream(tell: Teller) -> None:  # noqa: N802 - gRPC's own spelling
    message = framed(b"in")
    begun = head(GRPC_WITH_KEY, target="/shop.Orders/Place")
    trailers = (("grpc-status", b"0"),)
    kept = recorded(LARGE, of=fingerprint(begun, message), headers=(*GRPC, *COOKIES), trailers=trailers)
    story = tell().after(begun, kept, RequestBody(message, end_of_stream=True), FIRST, SECOND, THIRD)

    begin, *pieces, end = given(story)
    assert isinstance(begin, BeginReply)
    assert begin.reply.to_call
    assert len(pieces) == 3
    assert end == ReplyTrailers(trailers, to_call=True)


def test_a_reply_that_a_stream_would_take_fields_from_is_given_at_once_when_all_of_it_is_there(
    tell: Teller,
) -> None:
    story = replying(tell, headers=COOKIES)

    assert story.on(FIRST) == (FetchPiece(LARGE, 1),)
    assert story.on(SECOND) == (FetchPiece(LARGE, 2),)
    whole = HeldBody((FIRST.data, SECOND.data, THIRD.data))
    assert story.on(THIRD) == (ReplyAtOnce(large_reply(headers=COOKIES), whole), story.count("replayed"))
    assert story.state() is State.ANSWERED


def test_envoy_is_asked_to_wait_while_all_of_a_reply_is_gathered_before_its_head_is_answered(
    tell: Teller,
) -> None:
    unread = replace(POLICY, fingerprint=FingerprintSpec(body=BodyMode.NONE))
    of_no_body = fingerprint(head(), policy=unread)
    for story, of in (
        (tell().after(head(body=False)), OF_HEAD),
        (tell(unread).after(head()), of_no_body),
    ):
        record = recorded(LARGE, of=of, headers=COOKIES)
        assert story.on(record) == (ExtendTimeout(LARGE_BODY_MS), FetchPiece(LARGE, 0))


def test_where_the_body_was_read_or_a_wait_was_granted_envoy_waits_as_it_is(tell: Teller) -> None:
    story = tell().after(head(), recorded(LARGE, of=OF_PIECES, headers=COOKIES))
    assert story.after(RequestBody(b"x", end_of_stream=False)).on(RequestBody(b"yz", end_of_stream=True)) == (
        FetchPiece(LARGE, 0),
    )

    waited = tell(WAITING).after(head(body=False), InFlight(1), OwnerGone())
    assert waited.on(recorded(LARGE, of=OF_HEAD, headers=COOKIES)) == (FetchPiece(LARGE, 0),)


# --- A piece that is not to be had


def test_without_the_first_piece_the_client_is_refused(tell: Teller) -> None:
    for story in (replying(tell), replying(tell, headers=COOKIES)):
        story.on(LOST)

        assert_refused(story, 503, "store-unavailable")
        assert story.count("replayed") not in story.seen


def test_a_reply_that_is_gathered_is_refused_whichever_piece_is_lost(tell: Teller) -> None:
    story = replying(tell, headers=COOKIES).after(FIRST, SECOND, LOST)

    assert_refused(story, 503, "store-unavailable")


def test_a_reply_that_has_begun_is_broken_off_and_not_ended(tell: Teller) -> None:
    for pieces in ((FIRST,), (FIRST, SECOND)):
        story = replying(tell).after(*pieces)

        assert story.on(LOST) == (BreakOff("a piece of the recorded response could not be read"),)
        assert story.state() is State.ANSWERED
        assert [piece.ends for piece in given(story) if isinstance(piece, ReplyPiece)] == [False] * len(
            pieces
        )
        assert story.on(ENDED) == ()
        assert story.state() is State.CLOSED


def test_a_piece_that_comes_after_the_client_has_left_is_nobodys(tell: Teller) -> None:
    for late in (SECOND, LOST):
        story = replying(tell).after(FIRST, ENDED)

        assert story.state() is State.CLOSED
        assert story.on(late) == ()


def test_what_was_asked_before_the_reply_began_does_not_disturb_it(tell: Teller) -> None:
    story = replying(tell)

    for late in (
        *(Settled(held=True), SettlingFailed(), OwnerGone(), WaitFailed()),
        *(RenewalDue(), Renewed(held=True), RenewalFailed()),
    ):
        assert story.on(late) == ()
    assert story.on(FIRST)[0] == BeginReply(large_reply())


def test_what_envoy_still_shows_of_the_request_does_not_disturb_it(tell: Teller) -> None:
    story = replying(tell)

    for message in (
        *(RequestBody(b"", end_of_stream=True), RequestTrailers()),
        *(ResponseBody(b"x", end_of_stream=True), ResponseTrailers(())),
    ):
        assert story.on(message) == ()
    assert story.state() is State.REPLYING


def test_whoever_waited_for_the_owner_is_given_the_large_record(tell: Teller) -> None:
    story = tell(WAITING).after(head(body=False), InFlight(1), OwnerGone(), recorded(LARGE, of=OF_HEAD))

    assert story.on(FIRST)[0] == BeginReply(large_reply())


# --- A large response that is recorded as it passes


def test_envoy_is_asked_to_wait_while_the_pieces_of_a_large_response_are_written(tell: Teller) -> None:
    policy = replace(POLICY, max_response_body=HELD.size)
    story = tell(policy).after(head(body=False), CLAIMED, answer())
    for piece in HELD.pieces:
        story.on(ResponseBody(piece, end_of_stream=False))

    patience, complete = story.on(ResponseBody(b"", end_of_stream=True))
    assert patience == ExtendTimeout(LARGE_BODY_MS)
    assert isinstance(complete, Complete)
    assert complete.record.body == HELD


# --- The answer to a detached execution


def test_the_large_answer_to_a_detached_execution_is_kept_and_then_given_from_memory(tell: Teller) -> None:
    story = tell(ROOMY).after(head(body=False), CLAIMED)

    (complete,) = story.on(executed(body=HELD))
    assert isinstance(complete, Complete)
    assert complete.record.body == HELD
    assert story.state() is State.SETTLING
    assert story.on(KEPT) == (story.outcome(Outcome.RECORD, "status"), FetchPiece(HELD, 0))
    assert story.state() is State.REPLYING
    reply = LargeReply(201, (("etag", b"x"),), HELD, "idempotency_executed")
    assert story.on(PieceFetched(HELD.pieces[0])) == (
        BeginReply(reply),
        ReplyPiece(HELD.pieces[0], ends=False),
        FetchPiece(HELD, 1),
    )
    story.after(PieceFetched(HELD.pieces[1]))
    assert story.on(PieceFetched(HELD.pieces[2])) == (ReplyPiece(b"c", ends=True),)


def test_its_pieces_are_the_records_own_and_no_copies(tell: Teller) -> None:
    record = record_of(*tell(ROOMY).after(head(body=False), CLAIMED).on(executed(body=HELD)))

    assert isinstance(record.body, HeldBody)
    assert [id(piece) for piece in record.body.pieces[:-1]] == [id(piece) for piece in HELD.pieces[:-1]]


def test_a_large_answer_that_could_not_be_kept_is_given_all_the_same(tell: Teller) -> None:
    story = tell(ROOMY).after(head(body=False), CLAIMED, executed(body=HELD))

    assert story.on(SettlingFailed()) == (story.outcome(Outcome.UNKNOWN, "not-kept"), FetchPiece(HELD, 0))
    assert story.state() is State.REPLYING


def test_a_large_answer_whose_client_has_left_is_only_kept(tell: Teller) -> None:
    story = tell(ROOMY).after(head(body=False), CLAIMED, executed(body=HELD), ENDED)

    assert story.on(KEPT) == (story.outcome(Outcome.RECORD, "status"),)
    assert story.state() is State.CLOSED
    assert not given(story)


def test_a_large_response_that_passes_inline_is_captured_in_pieces(tell: Teller) -> None:
    policy = replace(ROOMY, execution=WAITING.execution)
    story = tell(policy).after(head(body=False), CLAIMED, answer(200, origin=UPSTREAM))
    sent = b"".join(HELD.pieces)
    for start in range(0, len(sent), 100_000):
        story.on(ResponseBody(sent[start : start + 100_000], end_of_stream=False))

    record = record_of(*story.on(ResponseBody(b"", end_of_stream=True)))

    assert record.body == HELD
    assert Recorded(record).record.replayable
