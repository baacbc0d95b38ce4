"""Stories of messages that no peer sends that keeps the protocol, where the table alone does not tell them.

Each would leave a message unanswered for ever, or be answered in the place of another: the stream is failed.
"""

from dataclasses import replace

from sidecar.exchange.effects import BreakOff, NoteFingerprint
from sidecar.exchange.events import (
    Event,
    Executed,
    Noted,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseTrailers,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.outcome import VIA_UPSTREAM
from tests.unit.exchange.scenes import (
    CLAIMED,
    DETACHED,
    ENDED,
    LAST_PIECE,
    PIECE,
    RETRYING,
    Teller,
    answer,
    head,
)

AFTER_THE_END: tuple[Event, ...] = (
    RequestBody(b"more", end_of_stream=True),
    RequestTrailers(),
    ResponseBody(b"whose?", end_of_stream=True),
    ResponseTrailers(()),
)
SMALL = Executed(201, (), b"done", (), VIA_UPSTREAM)


def test_a_second_head_of_a_response_that_waits_for_the_note_fails_the_stream(tell: Teller) -> None:
    for pieces in ((PIECE,), (PIECE, LAST_PIECE)):
        story = tell(RETRYING).after(head(), CLAIMED, *pieces, answer())

        assert story.on(answer(404)) == (BreakOff("a second head of the response"),)
        assert story.state() is State.NOTING


def test_after_a_second_head_what_became_of_the_first_is_unknown(tell: Teller) -> None:
    story = tell(RETRYING).after(head(), CLAIMED, PIECE, answer(), answer())

    assert [type(effect).__name__ for effect in story.on(ENDED)] == ["MarkUnknown"]


def test_what_follows_a_detached_request_while_its_outcome_is_kept_fails_the_stream(tell: Teller) -> None:
    for message in AFTER_THE_END:
        story = tell(DETACHED).after(head(), CLAIMED, LAST_PIECE, SMALL)

        (effect,) = story.on(message)

        assert isinstance(effect, BreakOff), message
        assert story.state() is State.SETTLING


def test_what_follows_a_request_that_is_noted_with_its_head_held_fails_the_stream(tell: Teller) -> None:
    both = replace(DETACHED, unknown=UnknownPolicy.RETRY)
    for message in AFTER_THE_END[:2]:
        story = tell(both).after(head(), CLAIMED, LAST_PIECE)
        assert any(isinstance(effect, NoteFingerprint) for effect in story.seen)

        assert story.on(message) == (BreakOff("a message behind the end of the request"),)
        assert [type(effect).__name__ for effect in story.on(ENDED)] == ["Release"]


def test_what_follows_an_inline_response_while_its_record_is_kept_waits_with_it(tell: Teller) -> None:
    """The same messages where they have their place: nothing is failed."""
    story = tell(RETRYING).after(head(), CLAIMED, PIECE, LAST_PIECE, Noted(held=True), answer())
    story.on(ResponseBody(b"done", end_of_stream=True))

    assert story.on(AFTER_THE_END[3]) == ()
    assert story.state() is State.SETTLING
