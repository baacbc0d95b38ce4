"""Stories of detached executions: the sidecar makes the call, and the client may go away."""

from dataclasses import replace

from msgspec import structs

from sidecar.exchange.core import SLACK_MS
from sidecar.exchange.effects import (
    Complete,
    Effect,
    Execute,
    ExtendTimeout,
    ForwardHeld,
    ForwardRequest,
    MarkUnknown,
    NoteFingerprint,
    PassRequest,
    ReadRequestBody,
    Release,
    RenewLater,
    Reply,
)
from sidecar.exchange.events import (
    Claimed,
    Event,
    Executed,
    ExecutionFailed,
    Failure,
    Noted,
    NotingFailed,
    RenewalDue,
    Renewed,
    RequestBody,
    RequestTrailers,
    Settled,
    SettlingFailed,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import Fields, values
from sidecar.idempotency.outcome import Origin, Outcome
from tests.unit.exchange.scenes import (
    CLAIMED,
    DETACHED,
    ENDED,
    KEPT,
    LAST_PIECE,
    PIECE,
    REFUSED,
    TIMEOUT,
    UPSTREAM,
    WITH_KEY,
    Story,
    Teller,
    answer,
    assert_problem,
    assert_refused,
    executed,
    fingerprint,
    head,
    record_of,
    taken_over,
    the_reply,
)

OF_PIECES = fingerprint(head(), b"x", b"yz")
OF_HEAD = fingerprint(head(body=False))
RETRYING = replace(DETACHED, unknown=UnknownPolicy.RETRY)
LOST, NEVER_SENT, LATE = (
    ExecutionFailed(failure) for failure in (Failure.LOST, Failure.NEVER_SENT, Failure.DEADLINE)
)


def executing(tell: Teller) -> Story:
    """A request without a body whose call is under way."""
    return tell(DETACHED).after(head(body=False), CLAIMED)


def the_call(story: Story) -> Execute:
    """The call that was made."""
    (call,) = (effect for effect in story.seen if isinstance(effect, Execute))
    return call


def forwarded(story: Story) -> list[Effect]:
    """What would let Envoy send the request as well."""
    return [e for e in story.seen if isinstance(e, ForwardRequest | ForwardHeld | PassRequest)]


# --- The whole way


def test_a_detached_request_is_read_executed_recorded_and_only_then_answered(tell: Teller) -> None:
    story = tell(DETACHED).after(head())

    assert story.on(CLAIMED) == (ReadRequestBody(), RenewLater(10_000))
    assert story.state() is State.HOLDING
    assert story.on(PIECE) == ()
    call, counted, renewal = story.on(LAST_PIECE)
    assert isinstance(call, Execute)
    assert (call.body, call.deadline_ms, call.max_response_body) == (b"xyz", 60_000, 16)
    assert (counted, renewal) == (story.count("executed"), RenewLater(10_000))
    assert story.state() is State.EXECUTING
    (complete,) = story.on(executed())
    assert isinstance(complete, Complete)
    assert complete.claim == story.held()
    assert (complete.record.body, complete.record.fingerprint) == (b"done", OF_PIECES)
    assert story.state() is State.SETTLING
    reply = Reply(201, (("etag", b"x"),), b"done", "idempotency_executed")
    assert story.on(KEPT) == (reply, story.outcome(Outcome.RECORD, "status"))
    assert story.state() is State.ANSWERED
    assert not forwarded(story)


def test_a_detached_request_without_a_body_is_executed_at_once_and_envoy_asked_for_time(tell: Teller) -> None:
    story = tell(DETACHED).after(head(body=False))

    extended, call, counted, renewal = story.on(CLAIMED)

    assert extended == ExtendTimeout(60_000 + SLACK_MS)
    assert isinstance(call, Execute)
    assert call.body == b""
    assert (counted, renewal) == (story.count("executed"), RenewLater(10_000))
    assert story.state() is State.EXECUTING


def test_the_trailers_of_a_detached_request_end_it(tell: Teller) -> None:
    story = tell(DETACHED).after(head(), CLAIMED, PIECE, RequestTrailers())

    assert the_call(story).body == b"x"
    assert story.state() is State.EXECUTING


# --- What is sent


def test_a_call_is_the_clients_request_with_the_attempt_of_its_own(tell: Teller) -> None:
    fields: Fields = (
        *WITH_KEY,
        ("idempotency-attempt", b"9"),
        ("cookie", b"a=1"),
        ("cookie", b"b=2"),
        ("content-length", b"3"),
    )
    begun = head(fields)
    story = tell(DETACHED).after(begun, Claimed(3), PIECE, LAST_PIECE)

    kept = tuple(field for field in fields if field[0] != "idempotency-attempt")
    expected = structs.replace(begun.request, headers=(*kept, ("idempotency-attempt", b"3")))
    assert the_call(story).request == expected


def test_a_call_has_nothing_that_was_about_the_clients_connection(tell: Teller) -> None:
    fields: Fields = (
        *WITH_KEY,
        ("connection", b"keep-alive, X-Mine"),
        ("x-mine", b"1"),
        ("keep-alive", b"5"),
        ("te", b"trailers"),
        ("transfer-encoding", b"chunked"),
        ("expect", b"100-continue"),
    )
    story = tell(DETACHED).after(head(fields), CLAIMED, LAST_PIECE)

    assert the_call(story).request.headers == (*WITH_KEY, ("idempotency-attempt", b"1"))


# --- What the client gets


def test_the_client_gets_everything_of_the_answer_but_what_is_about_a_connection(tell: Teller) -> None:
    headers: Fields = (
        ("content-length", b"4"),
        ("date", b"now"),
        ("set-cookie", b"a=1"),
        ("connection", b"close, x-hop"),
        ("x-hop", b"1"),
        ("idempotent-replayed", b"true"),
    )
    answered = Executed(200, headers, b"done", (("sum", b"1"),), UPSTREAM)
    story = executing(tell)

    record = record_of(*story.on(answered))
    story.after(KEPT)

    # What is excluded from the record is excluded from replays, not from the first response.
    assert the_reply(story).headers == (("date", b"now"), ("set-cookie", b"a=1"))
    assert the_reply(story).trailers == (("sum", b"1"),)
    assert record.headers == (("content-length", b"4"),)
    assert record.trailers == (("sum", b"1"),)


def test_a_first_response_is_not_marked_as_a_replay(tell: Teller) -> None:
    story = executing(tell).after(executed(), KEPT)

    assert values(the_reply(story).headers, "idempotent-replayed") == ()


def test_an_answer_too_large_to_keep_is_recorded_as_not_replayable_and_said_so(tell: Teller) -> None:
    story = executing(tell)

    record = record_of(*story.on(executed(200, None)))
    story.after(KEPT)

    assert (record.status, record.body, record.replayable, record.fingerprint) == (200, b"", False, OF_HEAD)
    assert_problem(the_reply(story), 409, "response-not-stored")


def test_an_answer_too_large_to_hold_is_told_by_what_became_of_its_key(tell: Teller) -> None:
    released, unknown = executing(tell), executing(tell)

    assert released.on(executed(503, None)) == (Release(released.held()),)
    assert_problem(the_reply(released.after(KEPT)), 503, "origin-unavailable")
    marked = MarkUnknown(unknown.held(), UnknownReason.UPSTREAM_STATUS, OF_HEAD)
    assert unknown.on(executed(504, None)) == (marked,)
    assert_problem(the_reply(unknown.after(KEPT)), 502, "outcome-unknown")


def test_an_answer_that_could_not_be_kept_is_given_and_counted_as_unknown(tell: Teller) -> None:
    for unkept in (Settled(held=False), SettlingFailed()):
        story = executing(tell).after(executed())

        reply, counted = story.on(unkept)
        assert isinstance(reply, Reply)
        assert (reply.status, reply.body) == (201, b"done")
        assert counted == story.outcome(Outcome.UNKNOWN, "not-kept")


def test_an_answer_that_releases_the_key_is_given_once_it_is_released(tell: Teller) -> None:
    for answered, reason in (
        (executed(503), "status"),
        (executed(503, origin=REFUSED), "envoy-never-sent"),
    ):
        story = executing(tell)

        assert story.on(answered) == (Release(story.held()),)
        assert story.on(KEPT)[-1] == story.outcome(Outcome.RELEASE, reason)
        assert the_reply(story).status == 503


def test_an_answer_that_says_nothing_certain_leaves_the_key_unknown(tell: Teller) -> None:
    for answered, reason in (
        (executed(502), UnknownReason.UPSTREAM_STATUS),
        (executed(504, origin=TIMEOUT), UnknownReason.ENVOY_REPLY),
        (executed(500, origin=Origin()), UnknownReason.UPSTREAM_STATUS),
    ):
        story = executing(tell)

        assert story.on(answered) == (MarkUnknown(story.held(), reason, OF_HEAD),)
        assert story.after(KEPT).state() is State.ANSWERED
        assert the_reply(story).status == answered.status


# --- No answer


def test_a_call_that_was_never_sent_releases_the_key_and_may_be_retried(tell: Teller) -> None:
    story = executing(tell)

    assert story.on(NEVER_SENT) == (Release(story.held()),)
    assert story.state() is State.SETTLING
    assert story.on(KEPT)[-1] == story.outcome(Outcome.RELEASE, "never-sent")
    assert_problem(the_reply(story), 503, "origin-unavailable")


def test_a_call_that_was_lost_leaves_the_key_unknown(tell: Teller) -> None:
    for failed, reason, status in (
        (LOST, UnknownReason.LOST_BEFORE_RESPONSE, 502),
        (LATE, UnknownReason.DEADLINE, 504),
    ):
        story = executing(tell)

        assert story.on(failed) == (MarkUnknown(story.held(), reason, OF_HEAD),)
        assert story.on(KEPT)[-1] == story.outcome(Outcome.UNKNOWN, reason)
        assert_problem(the_reply(story), status, "outcome-unknown")


# --- The client goes away


def test_a_client_that_leaves_changes_nothing_of_a_call_under_way(tell: Teller) -> None:
    story = executing(tell)

    assert story.on(ENDED) == ()
    assert story.state() is State.EXECUTING_ALONE
    assert record_of(*story.on(executed())).replayable
    assert story.state() is State.SETTLING_ALONE
    assert story.on(KEPT) == (story.outcome(Outcome.RECORD, "status"),)
    assert story.state() is State.CLOSED
    assert not [effect for effect in story.seen if isinstance(effect, Reply)]


def test_a_call_without_an_answer_is_settled_though_the_client_left(tell: Teller) -> None:
    for failed, effect in (
        (NEVER_SENT, Release),
        (LOST, MarkUnknown),
        (LATE, MarkUnknown),
    ):
        story = executing(tell).after(ENDED)

        (settled,) = story.on(failed)
        assert type(settled) is effect
        assert story.after(KEPT).state() is State.CLOSED
        assert not [effect for effect in story.seen if isinstance(effect, Reply)]


def test_a_lease_is_renewed_though_the_client_left(tell: Teller) -> None:
    story = executing(tell).after(ENDED, RenewalDue())

    assert story.on(Renewed(held=True)) == (RenewLater(10_000),)


def test_a_client_that_leaves_before_its_request_was_read_has_executed_nothing(tell: Teller) -> None:
    story = tell(DETACHED).after(head(), CLAIMED, PIECE)

    assert story.on(ENDED) == (Release(story.held()),)
    assert story.on(KEPT) == (story.outcome(Outcome.RELEASE, "request-incomplete"),)


def test_a_client_that_leaves_while_the_outcome_is_kept_changes_nothing(tell: Teller) -> None:
    story = executing(tell).after(executed(), ENDED)

    assert story.state() is State.SETTLING_ALONE
    assert story.on(KEPT) == (story.outcome(Outcome.RECORD, "status"),)


# --- Limits


def test_a_request_larger_than_what_may_be_held_is_refused_and_its_key_released(tell: Teller) -> None:
    story = tell(DETACHED).after(head(), CLAIMED, RequestBody(b"12345678", end_of_stream=False))

    assert story.state() is State.HOLDING
    effects = story.on(RequestBody(b"9", end_of_stream=True))
    assert_refused(story, 413, "body-too-large")
    assert effects[-1] == Release(story.held())
    assert not [effect for effect in story.seen if isinstance(effect, Execute)]


def test_a_request_as_large_as_what_may_be_held_is_executed(tell: Teller) -> None:
    story = tell(DETACHED).after(head(), CLAIMED, RequestBody(b"12345678", end_of_stream=True))

    assert the_call(story).body == b"12345678"


# --- Detached, and taken over


def test_a_detached_execution_that_may_be_taken_over_is_noted_before_it_is_sent(tell: Teller) -> None:
    ways: tuple[tuple[tuple[Event, ...], bytes], ...] = (
        ((head(), CLAIMED, PIECE, LAST_PIECE), OF_PIECES),
        ((head(), CLAIMED, PIECE, RequestTrailers()), fingerprint(head(), b"x")),
        ((head(body=False), CLAIMED), OF_HEAD),
    )
    for way, of in ways:
        story = tell(RETRYING).after(*way)

        assert story.state() is State.NOTING
        assert NoteFingerprint(story.held(), of) in story.seen
        assert not [effect for effect in story.seen if isinstance(effect, Execute)]
        assert [e for e in story.on(Noted(held=True)) if isinstance(e, Execute)] == [the_call(story)]
        assert story.state() is State.EXECUTING


def test_a_detached_execution_that_could_not_be_noted_is_not_sent(tell: Teller) -> None:
    for refusal, status, type_ in (
        (NotingFailed(), 503, "store-unavailable"),
        (Noted(held=False), 409, "in-progress"),
    ):
        story = tell(RETRYING).after(head(), CLAIMED, LAST_PIECE, refusal)

        assert_refused(story, status, type_)
        assert Release(story.held()) in story.seen
        assert not [effect for effect in story.seen if isinstance(effect, Execute)]


def test_a_detached_takeover_executes_the_same_payload_and_no_other(tell: Teller) -> None:
    same = tell(RETRYING).after(head(), taken_over(OF_PIECES), PIECE, LAST_PIECE)
    other = tell(RETRYING).after(head(), taken_over(OF_PIECES), LAST_PIECE)

    assert ReadRequestBody() in same.seen
    assert values(the_call(same).request.headers, "idempotency-attempt") == (b"2",)
    assert_refused(other, 422, "key-reused")
    assert not [effect for effect in other.seen if isinstance(effect, Execute)]


def test_a_detached_takeover_never_releases_the_key(tell: Teller) -> None:
    for last in (NEVER_SENT, executed(503), executed(503, origin=REFUSED)):
        story = tell(RETRYING).after(head(body=False), taken_over(OF_HEAD))

        marked = MarkUnknown(story.held(attempt=2), UnknownReason.EARLIER_ATTEMPT, None)
        assert story.on(last) == (marked,)
        assert story.on(KEPT)[-1] == story.outcome(Outcome.UNKNOWN, "earlier-attempt")


def test_a_reply_of_envoys_own_to_a_request_that_is_read_releases_the_key(tell: Teller) -> None:
    story = tell(DETACHED).after(head(), CLAIMED, PIECE)

    assert story.on(answer(408)) == (Release(story.held()),)
    assert story.on(KEPT)[-1] == story.outcome(Outcome.RELEASE, "never-forwarded")
