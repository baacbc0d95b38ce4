"""Stories of gRPC streams with a key: nothing of them waits for their end, and they are not given again."""

from sidecar.exchange.effects import (
    Complete,
    MarkUnknown,
    NoteFingerprint,
    PassRequestBody,
    PassResponseBody,
    PassResponseTrailers,
    Release,
    RenewLater,
    Reply,
)
from sidecar.exchange.events import (
    Event,
    Noted,
    NotingFailed,
    Recorded,
    RequestBody,
    ResponseBody,
    ResponseTrailers,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.outcome import Outcome
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    GRPC,
    GRPC_WITH_KEY,
    KEPT,
    MORE_COMES,
    RETRYING,
    Story,
    Teller,
    answer,
    fingerprint,
    framed,
    head,
    record_of,
    taken_over,
    the_reply,
)

CALL = head(GRPC_WITH_KEY)
FIRST, SECOND = (RequestBody(framed(data), end_of_stream=False) for data in (b"a", b"b"))
LAST = RequestBody(b"", end_of_stream=True)
RESPONSE = answer(200, GRPC)
ONE, TWO = (ResponseBody(framed(data), end_of_stream=False) for data in (b"1", b"2"))
OK: Fields = (("grpc-status", b"0"),)
ENDS = ResponseTrailers(OK)
OF_FIRST = fingerprint(CALL, FIRST.data)
NOTED = Noted(held=True)


def assert_not_given_again(story: Story) -> None:
    """What ends is recorded with nothing to compare with: a duplicate is refused on its head."""
    record = record_of(*story.on(ENDS))
    assert (record.fingerprint, record.replayable, record.body) == (None, False, b"")
    assert (record.status, record.trailers) == (200, OK)
    assert story.on(KEPT) == (PassResponseTrailers(), story.outcome(Outcome.RECORD, "grpc-status"))


STREAMS: dict[str, tuple[Event, ...]] = {
    "client": (FIRST, SECOND, LAST, RESPONSE, ONE),
    "client, at once": (RequestBody(framed(b"a", b"b"), end_of_stream=True), RESPONSE, ONE),
    "server": (FIRST, LAST, RESPONSE, ONE, TWO),
    "server, at once": (FIRST, LAST, RESPONSE, ResponseBody(framed(b"1", b"2"), end_of_stream=False)),
    "turn by turn": (FIRST, RESPONSE, ONE, SECOND, TWO, LAST),
    "answered before its end": (FIRST, RESPONSE, ONE, LAST),
    "the server ends first": (FIRST, RESPONSE, ONE),
    "the server begins": (RESPONSE, FIRST, ONE, LAST),
    "no message": (RESPONSE, LAST),
}


def test_a_stream_passes_piece_by_piece_and_is_not_given_again(tell: Teller) -> None:
    passes = {RequestBody: PassRequestBody(), ResponseBody: PassResponseBody()}
    for events in STREAMS.values():
        story = tell().after(CALL, CLAIMED)

        for event in events:
            assert story.on(event) == (passes.get(type(event), MORE_COMES),)

        assert_not_given_again(story)


def test_a_stream_is_refused_to_duplicates_on_their_head(tell: Teller) -> None:
    story = tell().after(CALL, CLAIMED, FIRST, RESPONSE, ONE, SECOND)
    (complete,) = story.on(ENDS)
    assert isinstance(complete, Complete)

    duplicate = tell().after(CALL, Recorded(complete.record))

    assert duplicate.state() is State.ANSWERED
    assert the_reply(duplicate).body.startswith(b"urn:idempotency:response-not-stored")


def test_what_a_stream_sends_is_let_go_of_as_soon_as_it_is_one(tell: Teller) -> None:
    story = tell().after(CALL, CLAIMED, FIRST, LAST, RESPONSE, ONE)
    kept = story.exchange._capture._kept
    assert kept is not None
    assert bytes(kept) == ONE.data

    story.on(TWO)

    now_kept = story.exchange._capture._kept
    assert now_kept is None


def test_a_stream_that_breaks_off_is_unknown_and_compared_with_nothing(tell: Teller) -> None:
    for events, reason in (
        ((FIRST,), UnknownReason.LOST_BEFORE_RESPONSE),
        ((FIRST, SECOND, LAST), UnknownReason.LOST_BEFORE_RESPONSE),
        ((FIRST, RESPONSE, ONE), UnknownReason.LOST_MID_RESPONSE),
        ((RESPONSE, ONE), UnknownReason.LOST_MID_RESPONSE),
    ):
        story = tell().after(CALL, CLAIMED, *events)

        assert story.on(ENDED) == (MarkUnknown(story.held(), reason, UNCOMPARABLE),)


def test_a_stream_that_ends_in_a_refusal_is_released_like_any_call(tell: Teller) -> None:
    story = tell().after(CALL, CLAIMED, FIRST, RESPONSE)

    assert story.on(ResponseTrailers((("grpc-status", b"14"),))) == (Release(story.held()),)


# --- Under `unknown: retry`: what a takeover could only wait for is noted as compared with nothing


def test_a_message_whose_request_goes_on_is_noted_as_compared_with_nothing_and_goes(tell: Teller) -> None:
    story = tell(RETRYING).after(CALL, CLAIMED)

    assert story.on(FIRST) == (NoteFingerprint(story.held(), UNCOMPARABLE), RenewLater(10_000))
    assert story.state() is State.NOTING
    assert story.on(NOTED) == (PassRequestBody(),)
    assert story.state() is State.AWAITING_RESPONSE


def test_messages_that_come_while_it_is_noted_wait_in_their_order(tell: Teller) -> None:
    for last in (SECOND, RequestBody(SECOND.data, end_of_stream=True)):
        story = tell(RETRYING).after(CALL, CLAIMED, FIRST, SECOND, last)

        assert story.on(NOTED) == (PassRequestBody(),) * 3
        assert story.on(ENDED) == (
            MarkUnknown(story.held(), UnknownReason.LOST_BEFORE_RESPONSE, UNCOMPARABLE),
        )


def test_several_messages_that_come_and_end_at_once_are_noted_as_compared_with_nothing(tell: Teller) -> None:
    story = tell(RETRYING).after(CALL, CLAIMED)

    noted = story.on(RequestBody(framed(b"a", b"b"), end_of_stream=True))

    assert noted[0] == NoteFingerprint(story.held(), UNCOMPARABLE)
    assert story.on(NOTED) == (PassRequestBody(),)


def test_a_request_that_ended_after_the_note_is_compared_by_its_record(tell: Teller) -> None:
    story = tell(RETRYING).after(CALL, CLAIMED, FIRST, NOTED, LAST, RESPONSE, ONE)

    record = record_of(*story.on(ENDS))

    assert (record.fingerprint, record.replayable) == (OF_FIRST, True)


def test_nothing_of_the_message_goes_where_the_note_is_not_kept(tell: Teller) -> None:
    for heard in (NotingFailed(), Noted(held=False)):
        story = tell(RETRYING).after(CALL, CLAIMED, FIRST)

        reply, dropped = story.on(heard)

        assert isinstance(reply, Reply)
        assert reply.grpc_status is not None
        assert dropped == Release(story.held())
        assert story.state() is State.ANSWERED


def test_an_answer_that_comes_while_the_message_is_noted_waits_for_the_note(tell: Teller) -> None:
    for heard in (NOTED, NotingFailed()):
        story = tell(RETRYING).after(CALL, CLAIMED, FIRST)

        assert story.on(RESPONSE) == ()
        assert story.on(heard) == (PassRequestBody(), MORE_COMES)
        assert story.state() is State.CAPTURING_EARLY
        assert story.on(SECOND) == (PassRequestBody(),)
        assert_not_given_again(story)


def test_an_answered_stream_that_breaks_off_is_compared_with_nothing_whatever_became_of_the_note(
    tell: Teller,
) -> None:
    for heard in (NOTED, NotingFailed()):
        story = tell(RETRYING).after(CALL, CLAIMED, FIRST, RESPONSE, heard)

        assert story.on(ENDED) == (MarkUnknown(story.held(), UnknownReason.LOST_MID_RESPONSE, UNCOMPARABLE),)


def test_a_client_that_leaves_while_its_message_is_noted_releases_what_was_never_sent(tell: Teller) -> None:
    for more in ((), (SECOND,), (LAST,)):
        story = tell(RETRYING).after(CALL, CLAIMED, FIRST, *more)

        assert story.on(ENDED) == (Release(story.held()),)


def test_a_takeover_of_what_is_compared_with_nothing_is_refused_on_its_head(tell: Teller) -> None:
    story = tell(RETRYING).after(CALL, taken_over(UNCOMPARABLE))

    assert story.state() is State.ANSWERED
    assert the_reply(story).body.startswith(b"urn:idempotency:outcome-unknown")
