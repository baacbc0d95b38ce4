"""Stories under `unknown: retry`: what is noted before a request is sent whole, and who may take over."""

from dataclasses import replace

from sidecar.exchange.effects import (
    Complete,
    Count,
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    MarkUnknown,
    NoteFingerprint,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseHeaders,
    Release,
    RenewLater,
    SettleEffect,
)
from sidecar.exchange.events import (
    Claimed,
    Event,
    Noted,
    NotingFailed,
    RenewalDue,
    Renewed,
    RequestBody,
    RequestTrailers,
    Settled,
    SettlingFailed,
    WaitOver,
)
from sidecar.exchange.machine import ProtocolViolation
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.outcome import Outcome, OutcomeRules
from sidecar.idempotency.policy import BodyMode, Execution, FingerprintSpec
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    KEPT,
    LAST_PIECE,
    NO_MORE,
    PIECE,
    REFUSED,
    RETRYING,
    TIMEOUT,
    Story,
    Teller,
    answer,
    assert_problem,
    assert_refused,
    at,
    fingerprint,
    head,
    record_of,
    taken_over,
    the_reply,
)

NOTED, NOT_OURS, UNNOTED = Noted(held=True), Noted(held=False), NotingFailed()
OF_PIECES = fingerprint(head(), b"x", b"yz")
OF_HEAD = fingerprint(head(body=False))
EARLIER = UnknownReason.EARLIER_ATTEMPT


def noting(tell: Teller) -> Story:
    """A request whose last piece is held until its fingerprint is kept."""
    return tell(RETRYING).after(head(), CLAIMED, PIECE, LAST_PIECE)


def holding(tell: Teller, *, limit: int = 8, of: bytes = OF_PIECES) -> Story:
    """A takeover that must first see whether it is the same request."""
    return tell(replace(RETRYING, max_request_body=limit)).after(head(), taken_over(of))


def settlement(story: Story) -> SettleEffect:
    """What the store was asked to keep in the end."""
    (effect,) = (effect for effect in story.seen if isinstance(effect, SettleEffect))
    return effect


# --- A first attempt: its fingerprint is noted before its last byte goes


def test_the_last_piece_of_a_request_is_held_until_its_fingerprint_is_noted(tell: Teller) -> None:
    story = tell(RETRYING).after(head())

    assert story.on(CLAIMED)[0] == ForwardRequest(1, has_body=True)
    assert story.on(PIECE) == (PassRequestBody(),)
    assert story.on(LAST_PIECE)[0] == NoteFingerprint(story.held(), OF_PIECES)
    assert story.state() is State.NOTING
    assert story.on(NOTED) == (PassRequestBody(),)
    assert story.state() is State.AWAITING_RESPONSE
    assert record_of(*story.on(answer(body=False))).fingerprint == OF_PIECES


def test_the_trailers_of_a_request_are_held_until_its_fingerprint_is_noted(tell: Teller) -> None:
    story = tell(RETRYING).after(head(), CLAIMED, PIECE)

    assert story.on(RequestTrailers())[0] == NoteFingerprint(story.held(), fingerprint(head(), b"x"))
    assert story.on(NOTED) == (PassRequestTrailers(),)


def test_a_request_without_a_body_is_held_whole_until_its_fingerprint_is_noted(tell: Teller) -> None:
    story = tell(RETRYING).after(head(body=False))

    assert story.on(CLAIMED) == (NoteFingerprint(story.held(), OF_HEAD), RenewLater(10_000))
    assert story.state() is State.NOTING
    assert story.on(NOTED) == (
        ForwardRequest(1, has_body=False),
        story.count("executed"),
        RenewLater(10_000),
    )
    assert story.state() is State.AWAITING_RESPONSE


def test_a_lease_is_renewed_while_the_fingerprint_is_noted(tell: Teller) -> None:
    story = noting(tell).after(RenewalDue(), Renewed(held=True))

    assert story.state() is State.NOTING
    assert story.on(NOTED) == (PassRequestBody(),)


def test_no_wait_can_end_where_none_can_be_under_way(tell: Teller) -> None:
    for state in (State.NOTING, State.HOLDING, State.FORWARDING):
        story = at(state, tell)
        try:
            story.on(WaitOver())
        except ProtocolViolation:
            assert story.state() is state
        else:
            raise AssertionError(f"a wait ended in {state.name}")


def test_a_request_whose_fingerprint_could_not_be_kept_is_not_sent_whole(tell: Teller) -> None:
    story = noting(tell)

    effects = story.on(UNNOTED)

    assert_problem(the_reply(story), 503, "store-unavailable")
    assert effects[-1] == Release(story.held())
    assert not [effect for effect in effects if isinstance(effect, PassRequestBody)]
    assert story.state() is State.ANSWERED
    for late in (Settled(held=True), SettlingFailed()):
        assert story.on(late) == ()


def test_a_request_whose_claim_was_lost_before_its_end_is_not_sent_whole(tell: Teller) -> None:
    policy = replace(RETRYING, in_progress=replace(RETRYING.in_progress, status=429, retry_after_s=3))
    story = tell(policy).after(head(), CLAIMED, LAST_PIECE)

    effects = story.on(NOT_OURS)

    assert_problem(the_reply(story), 429, "in-progress")
    assert first(the_reply(story).headers, "retry-after") == b"3"
    assert not [effect for effect in effects if isinstance(effect, PassRequestBody)]


def test_a_request_that_is_turned_away_after_it_began_is_counted_once(tell: Teller) -> None:
    for refusal in (NOT_OURS, UNNOTED):
        begun = noting(tell).after(refusal)
        unsent = tell(RETRYING).after(head(body=False), CLAIMED, refusal)

        for story in (begun, unsent):
            assert len([effect for effect in story.seen if isinstance(effect, Count)]) == 1


def test_a_request_without_a_body_whose_fingerprint_could_not_be_kept_is_not_sent(tell: Teller) -> None:
    for refusal, status, type_ in ((UNNOTED, 503, "store-unavailable"), (NOT_OURS, 409, "in-progress")):
        story = tell(RETRYING).after(head(body=False), CLAIMED, refusal)

        assert_refused(story, status, type_)
        assert settlement(story) == Release(story.held())
        assert not [effect for effect in story.seen if isinstance(effect, ForwardRequest)]


def test_a_client_that_leaves_before_the_fingerprint_is_noted_releases_the_key(tell: Teller) -> None:
    for late in (NOTED, NOT_OURS, UNNOTED):
        story = noting(tell)

        assert story.on(ENDED) == (Release(story.held()),)
        assert story.state() is State.SETTLING_ALONE
        assert story.on(late) == ()
        assert story.on(KEPT) == (story.outcome(Outcome.RELEASE, "request-incomplete"),)
        assert story.on(late) == ()
        assert story.state() is State.CLOSED


# --- A takeover: only the same payload may go on


def test_a_takeover_holds_its_request_until_all_of_it_is_known(tell: Teller) -> None:
    story = tell(RETRYING).after(head())

    assert story.on(taken_over(OF_PIECES)) == (HoldRequest(), RenewLater(10_000))
    assert story.state() is State.HOLDING
    assert story.on(PIECE) == ()
    assert story.state() is State.HOLDING
    assert story.on(LAST_PIECE) == (
        ForwardHeld(2, b"xyz", has_trailers=False),
        story.count("executed"),
        RenewLater(10_000),
    )
    assert story.state() is State.AWAITING_RESPONSE


def test_a_takeover_that_ends_with_trailers_is_forwarded_with_them(tell: Teller) -> None:
    story = holding(tell, of=fingerprint(head(), b"x")).after(PIECE)

    assert story.on(RequestTrailers())[0] == ForwardHeld(2, b"x", has_trailers=True)


def test_a_takeover_is_recorded_with_its_own_attempt(tell: Teller) -> None:
    story = holding(tell).after(PIECE, LAST_PIECE, answer(body=False))

    effect = settlement(story)
    assert isinstance(effect, Complete)
    assert (effect.claim, effect.record.fingerprint) == (story.held(attempt=2), OF_PIECES)


def test_a_takeover_with_another_payload_is_refused_and_its_key_stays_unknown(tell: Teller) -> None:
    others: tuple[tuple[Event, ...], ...] = (
        (PIECE, RequestBody(b"yZ", end_of_stream=True)),
        (PIECE, RequestTrailers()),
        (LAST_PIECE,),
    )
    for other in others:
        story = holding(tell).after(*other)

        assert_refused(story, 422, "key-reused")
        assert settlement(story) == MarkUnknown(story.held(attempt=2), EARLIER, None)
        assert not [effect for effect in story.seen if isinstance(effect, ForwardHeld)]


def test_a_takeover_without_a_body_is_compared_by_its_head(tell: Teller) -> None:
    same = tell(RETRYING).after(head(body=False)).on(taken_over(OF_HEAD))
    other = tell(RETRYING).after(head(body=False, target="/pay?a=2"), taken_over(OF_HEAD))

    assert same[0] == ForwardRequest(2, has_body=False)
    assert_refused(other, 422, "key-reused")
    assert settlement(other) == MarkUnknown(other.held(attempt=2), EARLIER, None)


def test_where_bodies_do_not_count_a_takeover_with_another_body_goes_on(tell: Teller) -> None:
    policy = replace(RETRYING, fingerprint=FingerprintSpec(body=BodyMode.NONE))
    of = fingerprint(head(), policy=policy)

    story = tell(policy).after(head(), taken_over(of), PIECE, LAST_PIECE)

    assert story.state() is State.AWAITING_RESPONSE


def test_a_takeover_larger_than_what_may_be_held_is_refused(tell: Teller) -> None:
    story = holding(tell, limit=2).after(PIECE)

    assert story.state() is State.HOLDING
    assert b"at most 2 bytes" in assert_refused(story.after(LAST_PIECE), 413, "body-too-large").body
    assert settlement(story) == MarkUnknown(story.held(attempt=2), EARLIER, None)
    assert story.on(RequestBody(b"more", end_of_stream=True)) == ()


def test_a_takeover_as_large_as_what_may_be_held_goes_on(tell: Teller) -> None:
    assert holding(tell, limit=3).after(PIECE, LAST_PIECE).state() is State.AWAITING_RESPONSE


def test_a_takeover_from_an_attempt_that_was_never_sent_whole_is_not_held_but_noted(tell: Teller) -> None:
    story = tell(RETRYING).after(head())

    assert story.on(taken_over(None, attempt=3))[0] == ForwardRequest(3, has_body=True)
    assert isinstance(story.on(LAST_PIECE)[0], NoteFingerprint)


def test_a_takeover_whose_payload_is_known_is_not_noted_again(tell: Teller) -> None:
    story = holding(tell).after(PIECE, LAST_PIECE)

    assert not [effect for effect in story.seen if isinstance(effect, NoteFingerprint)]


def test_under_hold_no_fingerprint_is_noted(tell: Teller) -> None:
    story = tell(replace(RETRYING, unknown=UnknownPolicy.HOLD)).after(head(), CLAIMED, LAST_PIECE)

    assert story.state() is State.AWAITING_RESPONSE


# --- An attempt that nobody can compare with


def test_a_takeover_from_an_attempt_that_was_answered_before_its_request_had_ended_is_refused(
    tell: Teller,
) -> None:
    for policy in (RETRYING, replace(RETRYING, execution=Execution.DETACHED)):
        for begun in (head(), head(body=False)):
            story = tell(policy).after(begun)

            effects = story.on(taken_over(UNCOMPARABLE))

            assert "Attempt 1 " in assert_refused(story, 409, "outcome-unknown").body.decode()
            assert effects[-1] == MarkUnknown(story.held(attempt=2), EARLIER, None)
            assert story.on(KEPT) == ()


def test_the_takeover_that_is_refused_names_the_attempt_that_may_have_executed(tell: Teller) -> None:
    story = tell(RETRYING).after(head(), taken_over(UNCOMPARABLE, attempt=5))

    assert "Attempt 4 " in the_reply(story).body.decode()
    assert settlement(story) == MarkUnknown(story.held(attempt=5), EARLIER, None)


# --- What was taken over is never released


def test_a_takeover_that_did_nothing_leaves_the_key_unknown(tell: Teller) -> None:
    ways: tuple[tuple[Event, ...], ...] = (
        (head(), taken_over(OF_PIECES), ENDED),
        (head(), taken_over(OF_PIECES), PIECE, ENDED),
        (head(), taken_over(None), PIECE, ENDED),
        (head(), taken_over(None), LAST_PIECE, ENDED),
        (head(), ENDED, taken_over(OF_PIECES)),
        (head(), ENDED, taken_over(None)),
    )
    for way in ways:
        story = tell(RETRYING).after(*way)

        assert settlement(story) == MarkUnknown(story.held(attempt=2), EARLIER, None)
        assert story.on(KEPT) == (story.outcome(Outcome.UNKNOWN, "earlier-attempt"),)
        assert story.state() is State.CLOSED


def test_a_takeover_that_is_turned_away_unnoted_leaves_the_key_unknown(tell: Teller) -> None:
    for refusal in (NOT_OURS, UNNOTED):
        story = tell(RETRYING).after(head(), taken_over(None), LAST_PIECE, refusal)

        assert settlement(story) == MarkUnknown(story.held(attempt=2), EARLIER, None)


def test_an_answer_that_would_release_leaves_what_was_taken_over_unknown(tell: Teller) -> None:
    releasing = (answer(429), answer(503, origin=REFUSED), answer(500))
    policy = replace(RETRYING, outcomes=OutcomeRules({"500": Outcome.RELEASE}))
    for response in releasing:
        story = tell(policy).after(head(body=False), taken_over(OF_HEAD))

        assert story.on(response) == (MarkUnknown(story.held(attempt=2), EARLIER, None),)
        assert story.on(KEPT) == (NO_MORE, story.outcome(Outcome.UNKNOWN, "earlier-attempt"))


def test_an_answer_that_says_nothing_certain_is_marked_with_the_payload(tell: Teller) -> None:
    story = holding(tell).after(PIECE, LAST_PIECE)

    assert story.on(answer(504, origin=TIMEOUT)) == (
        MarkUnknown(story.held(attempt=2), UnknownReason.ENVOY_REPLY, OF_PIECES),
    )


def test_an_attempt_after_a_release_may_release_again(tell: Teller) -> None:
    story = tell(RETRYING).after(head(), Claimed(3), PIECE)

    assert story.on(ENDED) == (Release(story.held(attempt=3)),)


# --- Envoy does not wait


def test_a_reply_of_envoys_own_to_a_held_request_passes_when_the_key_is_let_go(tell: Teller) -> None:
    forged: Fields = (("etag", b"x"),)
    story = holding(tell).after(PIECE)

    assert story.on(answer(408, forged)) == (MarkUnknown(story.held(attempt=2), EARLIER, None),)
    assert story.state() is State.SETTLING
    assert story.on(KEPT) == (
        PassResponseHeaders(more=False),
        story.outcome(Outcome.UNKNOWN, "earlier-attempt"),
    )
