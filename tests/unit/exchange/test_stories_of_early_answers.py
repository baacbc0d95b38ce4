"""Stories under `unknown: retry` of upstreams that answer before they were sent the whole request.

What follows of such a request may still make it whole. So the response waits until the store knows the
fingerprint, or that nobody can compare with this attempt, and so does the rest of the request.
"""

from sidecar.exchange.effects import (
    Complete,
    MarkUnknown,
    NoteFingerprint,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    Release,
    RenewLater,
    Reply,
)
from sidecar.exchange.events import (
    Event,
    Noted,
    NotingFailed,
    RenewalDue,
    Renewed,
    RequestBody,
    RequestTrailers,
    ResponseBody,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.outcome import Outcome
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    KEPT,
    LAST_PIECE,
    MORE_COMES,
    NO_MORE,
    PIECE,
    REFUSED,
    RETRYING,
    Story,
    Teller,
    answer,
    fingerprint,
    head,
    record_of,
    taken_over,
)

NOTED, NOT_OURS, UNNOTED = Noted(held=True), Noted(held=False), NotingFailed()
REST_OF_RESPONSE = ResponseBody(b"done", end_of_stream=True)
OF_PIECES = fingerprint(head(), b"x", b"yz")
LOST_MID_RESPONSE = UnknownReason.LOST_MID_RESPONSE


def answered_early(tell: Teller, *then: Event, status: int = 201) -> Story:
    """A request that was answered after its first piece, and what happened then."""
    return tell(RETRYING).after(head(), CLAIMED, PIECE, answer(status), *then)


def answered_unnoted(tell: Teller, *then: Event, status: int = 201) -> Story:
    """A request that was answered while its last piece was held, and what happened then."""
    return tell(RETRYING).after(head(), CLAIMED, PIECE, LAST_PIECE, answer(status), *then)


# --- Before the request has ended


def test_an_early_response_waits_until_it_is_noted_that_nobody_can_compare(tell: Teller) -> None:
    story = tell(RETRYING).after(head(), CLAIMED, PIECE)

    assert story.on(answer()) == (NoteFingerprint(story.held(), UNCOMPARABLE), RenewLater(10_000))
    assert story.state() is State.NOTING
    assert story.on(NOTED) == (MORE_COMES,)
    assert story.state() is State.CAPTURING_EARLY


def test_no_fingerprint_equals_the_one_that_says_that_nobody_can_compare(tell: Teller) -> None:
    for begun in (head(), head(body=False)):
        assert fingerprint(begun) != UNCOMPARABLE
        assert tell(RETRYING).after(begun, taken_over(UNCOMPARABLE)).state() is State.ANSWERED


def test_pieces_that_follow_an_early_response_wait_in_their_order(tell: Teller) -> None:
    ends: tuple[tuple[Event, object], ...] = (
        (LAST_PIECE, PassRequestBody()),
        (RequestTrailers(), PassRequestTrailers()),
    )
    for end, passed in ends:
        story = answered_early(tell)

        assert story.on(RequestBody(b"more", end_of_stream=False)) == ()
        assert story.on(end) == ()
        assert story.state() is State.NOTING
        assert story.on(NOTED) == (PassRequestBody(), passed, MORE_COMES)


def test_a_lease_is_renewed_while_an_early_response_waits(tell: Teller) -> None:
    story = answered_early(tell, RenewalDue(), Renewed(held=True))

    assert story.state() is State.NOTING
    assert story.on(NOTED) == (MORE_COMES,)


def test_a_request_that_goes_on_after_the_note_is_compared_by_its_own_fingerprint(tell: Teller) -> None:
    story = answered_early(tell, NOTED)

    assert story.on(LAST_PIECE) == (PassRequestBody(),)
    assert story.state() is State.CAPTURING
    assert record_of(*story.on(REST_OF_RESPONSE)).fingerprint == OF_PIECES


def test_a_request_that_ended_while_the_note_was_made_counts_as_never_seen_whole(tell: Teller) -> None:
    story = answered_early(tell, LAST_PIECE, NOTED)

    record = record_of(*story.on(REST_OF_RESPONSE))

    assert (record.fingerprint, record.replayable) == (None, False)
    assert story.on(KEPT)[0] == PassResponseBody()


def test_an_early_response_goes_whatever_the_store_says_for_the_upstream_has_it_in_hand(tell: Teller) -> None:
    for heard in (NOTED, NOT_OURS, UNNOTED):
        story = answered_early(tell, LAST_PIECE)

        assert story.on(heard) == (PassRequestBody(), MORE_COMES)
        assert story.state() is State.CAPTURING_EARLY
        assert not [effect for effect in story.seen if isinstance(effect, Reply)]


def test_an_early_response_without_a_body_is_recorded_after_the_note(tell: Teller) -> None:
    for heard in (NOTED, UNNOTED):
        story = tell(RETRYING).after(head(), CLAIMED, answer(204, body=False))

        (complete,) = story.on(heard)

        assert isinstance(complete, Complete)
        assert (complete.record.fingerprint, complete.record.replayable) == (None, False)
        assert story.state() is State.SETTLING
        assert story.on(LAST_PIECE) == (PassRequestBody(),)
        assert story.on(KEPT)[0] == NO_MORE


def test_an_early_answer_of_unknown_outcome_says_again_that_nobody_can_compare(tell: Teller) -> None:
    # The note may not have been kept, and the rest of the request passes from here on.
    for heard in (NOTED, UNNOTED):
        story = answered_early(tell, status=502)

        marked = MarkUnknown(story.held(), UnknownReason.UPSTREAM_STATUS, UNCOMPARABLE)
        assert story.on(heard) == (marked,)
        assert story.on(KEPT) == (NO_MORE, story.outcome(Outcome.UNKNOWN, "status"))


def test_an_early_response_that_stops_short_says_again_that_nobody_can_compare(tell: Teller) -> None:
    for heard in (NOTED, UNNOTED):
        story = answered_early(tell, LAST_PIECE, heard)

        assert story.on(ENDED) == (MarkUnknown(story.held(), LOST_MID_RESPONSE, UNCOMPARABLE),)


def test_an_early_answer_that_releases_the_key_releases_it_after_the_note(tell: Teller) -> None:
    for response in (answer(429), answer(503, origin=REFUSED)):
        story = tell(RETRYING).after(head(), CLAIMED, PIECE, response)

        assert story.on(NOTED) == (Release(story.held()),)
        assert story.on(KEPT)[0] == NO_MORE


def test_a_client_that_leaves_before_the_note_is_made_leaves_the_key_unknown(tell: Teller) -> None:
    for status in (201, 429, 502):
        for rest in ((), (LAST_PIECE,)):
            story = answered_early(tell, *rest, status=status)

            assert story.on(ENDED) == (MarkUnknown(story.held(), LOST_MID_RESPONSE, UNCOMPARABLE),)
            assert story.on(NOTED) == ()
            assert story.on(KEPT) == (story.outcome(Outcome.UNKNOWN, "lost-mid-response"),)
            assert story.state() is State.CLOSED


def test_a_takeover_from_an_attempt_that_was_never_sent_whole_is_noted_when_it_is_answered_early(
    tell: Teller,
) -> None:
    story = tell(RETRYING).after(head(), taken_over(None), PIECE)

    assert story.on(answer(429))[0] == NoteFingerprint(story.held(attempt=2), UNCOMPARABLE)
    marked = MarkUnknown(story.held(attempt=2), UnknownReason.EARLIER_ATTEMPT, UNCOMPARABLE)
    assert story.on(NOTED) == (marked,)


# --- While the last piece is held


def test_a_response_that_comes_while_the_fingerprint_is_noted_waits_behind_the_last_piece(
    tell: Teller,
) -> None:
    story = tell(RETRYING).after(head(), CLAIMED, PIECE, LAST_PIECE)

    assert story.on(answer()) == ()
    assert story.state() is State.NOTING
    assert story.on(NOTED) == (PassRequestBody(), MORE_COMES)
    assert story.state() is State.CAPTURING
    assert record_of(*story.on(REST_OF_RESPONSE)).fingerprint == OF_PIECES


def test_a_response_without_a_body_that_waited_for_the_note_is_held_until_it_is_recorded(
    tell: Teller,
) -> None:
    story = tell(RETRYING).after(head(), CLAIMED, PIECE, LAST_PIECE, answer(204, body=False))

    passed, complete = story.on(NOTED)

    assert passed == PassRequestBody()
    assert isinstance(complete, Complete)
    assert (complete.record.fingerprint, complete.record.replayable) == (OF_PIECES, True)
    assert story.state() is State.SETTLING
    assert story.on(KEPT)[0] == NO_MORE


def test_what_waits_goes_whatever_the_store_says_for_the_upstream_has_answered(tell: Teller) -> None:
    for heard in (NOT_OURS, UNNOTED):
        story = answered_unnoted(tell)

        assert story.on(heard) == (PassRequestBody(), MORE_COMES)
        assert story.state() is State.CAPTURING
        assert not [effect for effect in story.seen if isinstance(effect, Reply)]


def test_an_answer_of_unknown_outcome_that_waited_is_marked_with_the_fingerprint(tell: Teller) -> None:
    for heard in (NOTED, UNNOTED):
        story = answered_unnoted(tell, status=502)

        marked = MarkUnknown(story.held(), UnknownReason.UPSTREAM_STATUS, OF_PIECES)
        assert story.on(heard) == (PassRequestBody(), marked)
        assert story.on(KEPT)[0] == NO_MORE


def test_a_client_that_leaves_while_a_response_waits_for_the_note_leaves_the_key_unknown(
    tell: Teller,
) -> None:
    for late in (NOTED, NOT_OURS, UNNOTED):
        story = answered_unnoted(tell)

        assert story.on(ENDED) == (MarkUnknown(story.held(), LOST_MID_RESPONSE, OF_PIECES),)
        assert story.state() is State.SETTLING_ALONE
        assert story.on(late) == ()
        assert story.on(KEPT) == (story.outcome(Outcome.UNKNOWN, "lost-mid-response"),)
        assert story.on(late) == ()


# --- Nothing was sent


def test_a_reply_of_envoys_own_does_not_wait_for_the_note_of_a_request_that_was_not_sent(
    tell: Teller,
) -> None:
    for late in (NOTED, NOT_OURS, UNNOTED):
        story = tell(RETRYING).after(head(body=False), CLAIMED)

        assert story.on(answer(408)) == (Release(story.held()),)
        assert story.state() is State.SETTLING
        assert story.on(late) == ()
        assert story.on(KEPT) == (NO_MORE, story.outcome(Outcome.RELEASE, "never-forwarded"))
        assert story.state() is State.PASSING
        assert story.on(late) == ()
