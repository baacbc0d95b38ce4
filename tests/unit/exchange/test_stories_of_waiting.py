"""Stories of duplicates that wait for the request they duplicate, as long as their policy lets them."""

from dataclasses import replace

from sidecar.exchange.core import SLACK_MS
from sidecar.exchange.effects import (
    AwaitOwner,
    Count,
    ExtendTimeout,
    ForwardRequest,
    NoteFingerprint,
    PassRequest,
    Release,
    RenewLater,
    Reply,
    TakeClaim,
    WaitAtMost,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Expired,
    InFlight,
    OwnerGone,
    RenewalDue,
    Settled,
    SettlingFailed,
    Unknown,
    WaitFailed,
    WaitOver,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import first
from sidecar.idempotency.policy import Execution, InProgress
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    POLICY,
    WAITING,
    Story,
    Teller,
    assert_refused,
    at,
    fingerprint,
    head,
    recorded,
    the_reply,
)

IN_FLIGHT, OWNER_GONE, WAIT_OVER, WAIT_FAILED = InFlight(29_000), OwnerGone(), WaitOver(), WaitFailed()


def waiting(tell: Teller) -> Story:
    """A duplicate without a body whose wait has begun."""
    return tell(WAITING).after(head(body=False), IN_FLIGHT)


def test_a_duplicate_waits_for_its_owner_and_envoy_is_asked_for_the_time(tell: Teller) -> None:
    story = tell(WAITING).after(head())

    assert story.claim is not None
    assert story.on(IN_FLIGHT) == (
        ExtendTimeout(10_000 + SLACK_MS),
        WaitAtMost(10_000),
        AwaitOwner(story.claim.id, 10_000),
    )
    assert story.state() is State.WAITING


def test_envoy_waits_longer_than_the_duplicate_does(tell: Teller) -> None:
    # At the end of the wait the store is asked once more, and its answer must still find Envoy there.
    for wait_ms in (1, 999, 60_000):
        policy = replace(POLICY, in_progress=InProgress(wait_ms=wait_ms))

        extended, at_most, awaited = tell(policy).after(head()).on(IN_FLIGHT)

        assert isinstance(extended, ExtendTimeout)
        assert isinstance(awaited, AwaitOwner)
        assert at_most == WaitAtMost(wait_ms)
        assert awaited.timeout_ms == wait_ms
        assert extended.timeout_ms >= wait_ms + 1_000


def test_a_duplicate_whose_owner_is_done_asks_again_and_gets_the_record(tell: Teller) -> None:
    story = waiting(tell)

    assert story.on(OWNER_GONE) == (TakeClaim(story.held(attempt=0), UnknownPolicy.HOLD),)
    assert story.state() is State.CLAIMING
    assert story.on(recorded(of=fingerprint(head(body=False))))[-1] == story.count("replayed")
    assert the_reply(story).body == b"done"
    assert story.seen.count(story.count("replayed")) == 1
    assert len([effect for effect in story.seen if isinstance(effect, Count)]) == 1


def test_a_duplicate_with_a_body_is_compared_after_it_has_waited(tell: Teller) -> None:
    story = tell(WAITING).after(head(), IN_FLIGHT, OWNER_GONE, recorded(of=b"f" * 32))

    assert story.state() is State.COMPARING


def test_a_duplicate_whose_owner_released_the_key_executes_itself(tell: Teller) -> None:
    story = waiting(tell).after(OWNER_GONE)

    assert story.on(CLAIMED) == (
        ForwardRequest(1, has_body=False),
        story.count("executed"),
        RenewLater(10_000),
    )
    assert story.state() is State.AWAITING_RESPONSE


def test_the_timer_of_a_wait_that_is_over_is_replaced_though_the_fingerprint_is_noted_first(
    tell: Teller,
) -> None:
    policy = replace(WAITING, unknown=UnknownPolicy.RETRY)
    story = tell(policy).after(head(body=False), IN_FLIGHT, OWNER_GONE)

    effects = story.on(CLAIMED)

    assert [type(effect) for effect in effects] == [NoteFingerprint, RenewLater]
    assert story.state() is State.NOTING
    assert story.after(RenewalDue()).state() is State.NOTING


def test_every_other_answer_at_the_end_of_a_wait_counts_too(tell: Teller) -> None:
    for last, status, type_ in (
        (Unknown(1, UnknownReason.LOST_MID_RESPONSE), 409, "outcome-unknown"),
        (Expired(), 409, "key-expired"),
        (recorded(of=b"f" * 32), 422, "key-reused"),
        (ClaimFailed(unavailable=True), 503, "store-unavailable"),
    ):
        assert_refused(waiting(tell).after(OWNER_GONE, last), status, type_)


# --- The owner goes on


def test_a_wait_that_ended_for_no_reason_goes_on_under_the_same_timers(tell: Teller) -> None:
    story = waiting(tell).after(OWNER_GONE)

    for _ in range(3):
        assert story.on(IN_FLIGHT) == (AwaitOwner(story.held().id, 10_000),)
        assert story.state() is State.WAITING
        story.after(OWNER_GONE)

    asked = [effect for effect in story.seen if isinstance(effect, ExtendTimeout | WaitAtMost)]
    assert len(asked) == 2, "Envoy extends its timeout only once, and a wait has one end"


def test_what_may_follow_the_wait_is_asked_for_with_it_because_envoy_grants_it_once(tell: Teller) -> None:
    policy = replace(WAITING, execution=Execution.DETACHED, deadline_ms=60_000)
    story = tell(policy).after(head(body=False), IN_FLIGHT, OWNER_GONE)

    story.on(CLAIMED)

    asked = [effect for effect in story.seen if isinstance(effect, ExtendTimeout)]
    assert asked == [ExtendTimeout(10_000 + 60_000 + SLACK_MS)]


def test_a_duplicate_that_has_waited_long_enough_is_refused_and_may_retry(tell: Teller) -> None:
    for answer in (InProgress(wait_ms=10_000), InProgress(status=429, retry_after_s=7, wait_ms=10_000)):
        story = tell(replace(POLICY, in_progress=answer)).after(head(), IN_FLIGHT, WAIT_OVER)

        reply = assert_refused(story, answer.status, "in-progress")
        assert first(reply.headers, "retry-after") == str(answer.retry_after_s).encode()


def test_an_owner_who_is_done_just_after_the_wait_was_over_changes_nothing(tell: Teller) -> None:
    for late in (OWNER_GONE, WAIT_FAILED):
        story = waiting(tell).after(WAIT_OVER)

        assert story.on(late) == ()
        assert story.state() is State.ANSWERED
        assert story.on(ENDED) == ()
        assert story.on(late) == ()
        assert story.state() is State.CLOSED


# --- The wait is over while the store is asked once more


def test_a_wait_that_is_over_while_the_store_is_asked_lets_its_answer_count(tell: Teller) -> None:
    story = waiting(tell).after(OWNER_GONE)

    assert story.on(WAIT_OVER) == ()
    assert story.state() is State.CLAIMING
    assert story.on(recorded(of=fingerprint(head(body=False))))[-1] == story.count("replayed")


def test_a_wait_that_is_over_while_the_store_is_asked_does_not_begin_again(tell: Teller) -> None:
    story = waiting(tell).after(OWNER_GONE, WAIT_OVER, InFlight(1))

    assert_refused(story, 409, "in-progress")


# --- The store cannot say


def test_a_store_that_cannot_say_when_the_owner_is_done_is_asked_once_more_at_once(tell: Teller) -> None:
    story = waiting(tell)

    assert story.on(WAIT_FAILED) == (TakeClaim(story.held(attempt=0), UnknownPolicy.HOLD),)
    assert story.state() is State.CLAIMING
    assert_refused(story.after(IN_FLIGHT), 409, "in-progress")


def test_a_store_that_is_lost_during_a_wait_is_told_to_drop_what_may_have_been_taken(tell: Teller) -> None:
    story = waiting(tell).after(WAIT_FAILED)

    assert story.on(ClaimFailed(unavailable=True))[-1] == Release(story.held(attempt=0))
    for late in (Settled(held=False), SettlingFailed()):
        assert story.on(late) == ()


# --- No waiting


def test_a_store_that_is_lost_after_a_wait_is_not_bypassed_for_an_owner_was_seen(tell: Teller) -> None:
    for lost in (ClaimFailed(unavailable=True), ClaimFailed(unavailable=True, asked=False)):
        met_nobody = tell(WAITING, bypass=True).after(head(body=False), lost)
        waited = tell(WAITING, bypass=True).after(head(body=False), IN_FLIGHT, OWNER_GONE, lost)

        assert met_nobody.state() is State.PASSING
        assert_refused(waited, 503, "store-unavailable")
        assert not [effect for effect in waited.seen if isinstance(effect, PassRequest)]
        assert (Release(waited.held(attempt=0)) in waited.seen) is lost.asked


def test_a_policy_without_a_wait_refuses_at_once(tell: Teller) -> None:
    story = tell().after(head())

    assert [type(effect) for effect in story.on(IN_FLIGHT)] == [Reply, Count]
    assert_refused(story, 409, "in-progress")


def test_a_request_that_meets_no_owner_never_waits(tell: Teller) -> None:
    story = tell(WAITING).after(head(), CLAIMED)

    assert story.state() is State.FORWARDING
    assert not [
        effect for effect in story.seen if isinstance(effect, ExtendTimeout | WaitAtMost | PassRequest)
    ]


# --- The client leaves


def test_a_client_that_leaves_while_it_waits_leaves_nothing_behind(tell: Teller) -> None:
    story = at(State.WAITING, tell)

    assert story.on(ENDED) == ()
    assert story.state() is State.CLOSED
    assert story.on(OWNER_GONE) == ()
    assert story.state() is State.CLOSED


def test_a_client_that_leaves_while_the_store_is_asked_once_more_gives_the_claim_back(tell: Teller) -> None:
    story = waiting(tell).after(OWNER_GONE, ENDED)

    assert story.state() is State.ABANDONED
    assert story.on(CLAIMED) == (Release(story.held()),)
