"""Stories of requests that announce their length: an upstream has all of one before its stream ends."""

from sidecar.exchange.effects import (
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    MarkUnknown,
    NoteFingerprint,
    PassRequestBody,
    PassRequestTrailers,
    Release,
    RenewLater,
)
from sidecar.exchange.events import (
    Event,
    Noted,
    NotingFailed,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.outcome import Outcome
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    KEPT,
    MORE_COMES,
    NO_MORE,
    PIECE,
    POLICY,
    RETRYING,
    WITH_KEY,
    Story,
    Teller,
    answer,
    assert_problem,
    fingerprint,
    head,
    record_of,
    the_reply,
)

REST = RequestBody(b"yz", end_of_stream=False)
EMPTY_END = RequestBody(b"", end_of_stream=True)


def announced(length: bytes = b"3") -> RequestHeaders:
    """The head of a request with a content-length."""
    return head((*WITH_KEY, ("content-length", length)))


OF_ALL = fingerprint(announced(), b"x", b"yz")


def sent_whole(tell: Teller) -> Story:
    """A request all of whose bytes have gone, and whose stream has not ended."""
    return tell().after(announced(), CLAIMED, PIECE, REST)


def test_a_request_is_whole_with_its_last_announced_byte(tell: Teller) -> None:
    story = tell().after(announced(), CLAIMED)

    assert story.on(PIECE) == (PassRequestBody(),)
    assert story.state() is State.FORWARDING
    assert story.on(REST) == (PassRequestBody(),)
    assert story.state() is State.AWAITING_RESPONSE


def test_a_client_that_leaves_after_its_last_byte_leaves_the_key_unknown(tell: Teller) -> None:
    story = sent_whole(tell)

    assert story.on(ENDED) == (MarkUnknown(story.held(), UnknownReason.LOST_BEFORE_RESPONSE, OF_ALL),)
    assert story.on(KEPT) == (story.outcome(Outcome.UNKNOWN, "lost-before-response"),)


def test_a_client_that_leaves_before_its_last_byte_releases_the_key(tell: Teller) -> None:
    for length in (b"4", b"3000"):
        story = tell().after(announced(length), CLAIMED, PIECE, REST)

        assert story.on(ENDED) == (Release(story.held()),)


def test_a_length_that_is_no_number_is_none(tell: Teller) -> None:
    for length in (b"", b"3x", b"-3", b"+3", b"9" * 5_000):
        story = tell().after(announced(length), CLAIMED, PIECE, REST)

        assert story.state() is State.FORWARDING


def test_the_end_of_a_request_passes_after_its_last_byte(tell: Teller) -> None:
    ends: tuple[tuple[Event, object], ...] = (
        (EMPTY_END, PassRequestBody()),
        (RequestTrailers(), PassRequestTrailers()),
    )
    for end, passed in ends:
        before, within = sent_whole(tell), sent_whole(tell).after(answer())

        assert before.on(end) == (passed,)
        assert before.state() is State.AWAITING_RESPONSE
        assert within.on(end) == (passed,)
        assert within.state() is State.CAPTURING


def test_a_response_between_the_last_byte_and_the_end_can_be_replayed(tell: Teller) -> None:
    record = record_of(*sent_whole(tell).on(answer(204, body=False)))

    assert (record.fingerprint, record.replayable) == (OF_ALL, True)


def test_an_early_response_is_early_only_until_the_last_byte(tell: Teller) -> None:
    story = tell().after(announced(), CLAIMED, PIECE, answer())

    assert story.state() is State.CAPTURING_EARLY
    assert story.on(REST) == (PassRequestBody(),)
    assert story.state() is State.CAPTURING


def test_bytes_beyond_the_announced_length_count_for_what_the_record_is_compared_with(tell: Teller) -> None:
    story = sent_whole(tell).after(RequestBody(b"!", end_of_stream=True))

    record = record_of(*story.on(answer(body=False)))

    assert record.fingerprint == fingerprint(announced(), b"xyz!")


# --- Under `unknown: retry`


def test_the_last_announced_byte_is_held_until_the_fingerprint_is_noted(tell: Teller) -> None:
    story = tell(RETRYING).after(announced(), CLAIMED)

    assert story.on(PIECE) == (PassRequestBody(),)
    assert story.on(REST)[0] == NoteFingerprint(story.held(), OF_ALL)
    assert story.state() is State.NOTING
    assert story.on(EMPTY_END) == ()
    assert story.on(Noted(held=True)) == (PassRequestBody(), PassRequestBody())
    assert story.state() is State.AWAITING_RESPONSE


def test_trailers_that_come_while_the_fingerprint_is_noted_wait_behind_the_last_byte(tell: Teller) -> None:
    story = tell(RETRYING).after(announced(), CLAIMED, PIECE, REST)

    assert story.on(RequestTrailers()) == ()
    assert story.on(Noted(held=True)) == (PassRequestBody(), PassRequestTrailers())


def test_an_answer_before_the_last_announced_byte_waits_with_it_until_the_fingerprint_is_noted(
    tell: Teller,
) -> None:
    story = tell(RETRYING).after(announced(), CLAIMED, PIECE, REST)

    assert story.on(answer()) == ()
    assert story.on(EMPTY_END) == ()
    assert story.on(Noted(held=True)) == (PassRequestBody(), PassRequestBody(), MORE_COMES)
    assert story.state() is State.CAPTURING


def test_the_last_announced_byte_after_an_early_answer_waits_until_that_is_noted(tell: Teller) -> None:
    story = tell(RETRYING).after(announced(), CLAIMED, PIECE)

    assert story.on(answer())[0] == NoteFingerprint(story.held(), UNCOMPARABLE)
    assert story.on(REST) == ()
    assert story.on(EMPTY_END) == ()
    assert story.on(Noted(held=True)) == (PassRequestBody(), PassRequestBody(), MORE_COMES)
    assert story.state() is State.CAPTURING_EARLY


def test_a_request_that_could_not_be_noted_was_not_sent_its_last_byte(tell: Teller) -> None:
    story = tell(RETRYING).after(announced(), CLAIMED, PIECE, REST, EMPTY_END)

    effects = story.on(NotingFailed())

    assert_problem(the_reply(story), 503, "store-unavailable")
    assert effects[-1] == Release(story.held())
    assert [effect for effect in story.seen if isinstance(effect, PassRequestBody)] == [PassRequestBody()]


# --- Announced as empty


def test_a_body_announced_as_empty_is_held_until_it_ends_for_its_head_would_be_all_of_it(
    tell: Teller,
) -> None:
    for policy in (POLICY, RETRYING):
        story = tell(policy).after(announced(b"0"))

        assert story.on(CLAIMED) == (HoldRequest(), RenewLater(10_000))
        assert story.on(ENDED) == (Release(story.held()),)


def test_a_body_announced_as_empty_goes_when_it_ends(tell: Teller) -> None:
    story = tell().after(announced(b"0"), CLAIMED)

    assert not [effect for effect in story.seen if isinstance(effect, ForwardRequest)]
    assert story.on(EMPTY_END)[0] == ForwardHeld(1, b"", has_trailers=False)
    assert story.state() is State.AWAITING_RESPONSE


def test_a_reply_of_envoys_own_to_a_request_whose_fingerprint_is_noted_is_not_recorded(tell: Teller) -> None:
    story = tell(RETRYING).after(announced(b"0"), CLAIMED, EMPTY_END)

    assert story.state() is State.NOTING
    assert story.on(answer(408, body=False)) == (Release(story.held()),)
    assert story.on(KEPT) == (NO_MORE, story.outcome(Outcome.RELEASE, "never-forwarded"))
