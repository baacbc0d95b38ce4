"""Stories under `mode: shadow`: nothing is changed, held or waited for, and everything is counted."""

from dataclasses import replace

import pytest

from sidecar.exchange.effects import (
    Complete,
    Count,
    CountOutcome,
    MarkUnknown,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    Release,
    Renew,
    RenewLater,
    TakeClaim,
    WatchRequest,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Event,
    Expired,
    InFlight,
    RenewalDue,
    RenewalFailed,
    Renewed,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseTrailers,
    Settled,
    SettlingFailed,
    Unknown,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.policy import (
    BodyMode,
    Execution,
    FingerprintSpec,
    KeyPlace,
    KeySource,
    Mode,
    Policy,
)
from sidecar.idempotency.record import Record
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    GRPC_WITH_KEY,
    KEPT,
    LAST_OF_RESPONSE,
    LAST_PIECE,
    PIECE,
    POLICY,
    REFUSED,
    TIMEOUT,
    WITH_KEY,
    WITHOUT_KEY,
    Story,
    Teller,
    answer,
    fingerprint,
    framed,
    head,
    recorded,
    replies,
    taken_over,
)

SHADOW = replace(POLICY, mode=Mode.SHADOW)
IN_BODY = replace(SHADOW, key=KeySource("/key", KeyPlace.JSON, Pointer.parse("/key")), max_request_body=64)
BY_MEANING = replace(SHADOW, fingerprint=FingerprintSpec(BodyMode.JSON), max_request_body=64)
RETRYING = replace(SHADOW, unknown=UnknownPolicy.RETRY)
OF_PIECES = fingerprint(head(), b"x", b"yz")
OF_HEAD = fingerprint(head(body=False))
OK_TRAILERS = ResponseTrailers((("grpc-status", b"0"),))


def results(story: Story) -> list[str]:
    """What was counted of the request."""
    return [effect.result for effect in story.seen if isinstance(effect, Count)]


def outcomes(story: Story) -> list[tuple[Outcome, str]]:
    """What was counted of the execution."""
    return [(effect.outcome, effect.reason) for effect in story.seen if isinstance(effect, CountOutcome)]


def executing(tell: Teller, policy: Policy = SHADOW) -> Story:
    """A first request that has passed whole."""
    return tell(policy).after(head(), CLAIMED, PIECE, LAST_PIECE)


def test_a_first_request_passes_as_it_is_and_leaves_a_record_of_its_own_kind(tell: Teller) -> None:
    story = tell(SHADOW)

    watched, asked = story.on(head())
    assert watched == WatchRequest(has_body=True)
    assert isinstance(asked, TakeClaim)
    assert story.on(CLAIMED) == (RenewLater(10_000), story.count("shadow_executed"))
    assert story.on(PIECE) == (PassRequestBody(),)
    assert story.on(LAST_PIECE) == (PassRequestBody(),)
    assert story.on(answer(201, (("etag", b"x"),))) == (PassResponseHeaders(more=True),)
    assert story.on(ResponseBody(b"done", end_of_stream=False)) == (PassResponseBody(),)
    passed, kept = story.on(LAST_OF_RESPONSE)
    assert passed == PassResponseBody()
    assert kept == Complete(story.held(), Record(201, (), b"", (), OF_PIECES, replayable=True))
    assert story.on(KEPT) == (story.outcome(Outcome.RECORD, "status"),)
    assert story.after(ENDED).state() is State.CLOSED


def test_an_id_in_shadow_is_never_one_that_is_enforced(tell: Teller) -> None:
    watched, enforced = tell(SHADOW).after(head()), tell(POLICY).after(head())

    assert watched.claim is not None
    assert enforced.claim is not None
    assert watched.claim.id != enforced.claim.id


def test_an_attempt_header_of_the_client_stays(tell: Teller) -> None:
    attempt: Fields = (*WITHOUT_KEY, ("idempotency-attempt", b"9"))

    assert tell(SHADOW).on(head(attempt)) == (PassRequest(),)


@pytest.mark.parametrize(
    ("fields", "required", "result"),
    [
        (WITHOUT_KEY, True, "shadow_key_missing"),
        ((*WITH_KEY, ("idempotency-key", b"k2")), False, "shadow_key_invalid"),
        ((*WITH_KEY, ("upgrade", b"websocket")), False, "shadow_key_invalid"),
    ],
)
def test_what_would_be_refused_by_its_head_passes_and_is_counted(
    fields: Fields, required: bool, result: str
) -> None:
    story = Teller()(replace(SHADOW, key=KeySource(required=required)))

    assert story.on(head(fields)) == (PassRequest(), story.count(result))
    assert story.state() is State.PASSING


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (InFlight(1), "shadow_in_progress"),
        (Unknown(1, UnknownReason.LEASE_EXPIRED), "shadow_outcome_unknown"),
        (Expired(), "shadow_key_expired"),
        (recorded(of=OF_HEAD), "shadow_replayed"),
        (recorded(of=OF_HEAD, replayable=False), "shadow_response_not_stored"),
        (recorded(of=b"f" * 32), "shadow_key_reused"),
        (recorded(of=None, replayable=False), "shadow_response_not_stored"),
    ],
)
def test_what_enforcing_would_have_made_of_a_duplicate_is_counted(found: Event, result: str) -> None:
    story = Teller()(SHADOW).after(head(body=False))

    assert story.on(found) == (story.count(result),)
    assert story.state() is State.PASSING
    assert story.on(answer()) == (PassResponseHeaders(more=False),)


def test_plain_answers_end_the_watching(tell: Teller) -> None:
    for found in (InFlight(1), Unknown(1, UnknownReason.LEASE_EXPIRED), Expired(), recorded(of=None)):
        assert tell(SHADOW).after(head(), found).state() is State.PASSING
        late = tell(SHADOW).after(head(body=False), ENDED, found)
        assert late.state() is State.CLOSED
        assert len(results(late)) == 1


def test_a_duplicate_with_a_body_is_compared_when_it_has_passed(tell: Teller) -> None:
    story = tell(SHADOW).after(head(), recorded(of=OF_PIECES), PIECE)
    assert results(story) == []

    assert story.on(LAST_PIECE) == (PassRequestBody(), story.count("shadow_replayed"))


def test_a_duplicate_is_compared_once_its_announced_length_has_passed(tell: Teller) -> None:
    begun = head((*WITH_KEY, ("content-length", b"3")))
    story = tell(SHADOW).after(begun, recorded(of=fingerprint(begun, b"xyz")))

    assert story.on(PIECE) == (PassRequestBody(),)
    whole = RequestBody(b"yz", end_of_stream=False)
    assert story.on(whole) == (PassRequestBody(), story.count("shadow_replayed"))


def test_trailers_end_the_request_that_is_compared(tell: Teller) -> None:
    story = tell(SHADOW).after(head(), recorded(of=b"f" * 32), PIECE)

    assert story.on(RequestTrailers()) == (PassRequestTrailers(), story.count("shadow_key_reused"))


def test_trailers_may_come_before_the_store_answers(tell: Teller) -> None:
    story = tell(SHADOW).after(head(), PIECE, RequestTrailers())

    assert story.state() is State.SHADOWING
    assert results(story.after(recorded(of=b"f" * 32))) == ["shadow_key_reused"]


def test_the_store_may_answer_after_the_request_has_passed(tell: Teller) -> None:
    story = tell(SHADOW).after(head(), PIECE, LAST_PIECE)

    assert story.on(recorded(of=OF_PIECES)) == (story.count("shadow_replayed"),)


def test_the_store_may_answer_after_the_response_has_passed(tell: Teller) -> None:
    story = tell(SHADOW).after(head(body=False), answer(), LAST_OF_RESPONSE)

    *_, kept = story.on(CLAIMED)
    assert isinstance(kept, Complete)
    assert story.after(SettlingFailed(), ENDED).state() is State.CLOSED
    assert outcomes(story) == [(Outcome.UNKNOWN, "not-kept")]


def test_the_store_may_answer_after_the_stream_has_ended(tell: Teller) -> None:
    story = tell(SHADOW).after(head(body=False), answer(), LAST_OF_RESPONSE, ENDED)
    assert story.state() is State.SHADOWING_ALONE

    counted, kept = story.on(CLAIMED)
    assert counted == story.count("shadow_executed")
    assert isinstance(kept, Complete)
    assert story.after(KEPT).state() is State.CLOSED


def test_a_late_claim_of_another_payload_is_dropped(tell: Teller) -> None:
    story = tell(RETRYING).after(head(), PIECE, LAST_PIECE, ENDED, taken_over(b"f" * 32))

    assert results(story) == ["shadow_key_reused"]
    assert story.state() is State.CLOSED
    assert len(replies(story.seen, MarkUnknown)) == 1


def test_a_store_that_fails_changes_nothing(tell: Teller) -> None:
    story = tell(SHADOW).after(head())

    assert story.on(ClaimFailed(unavailable=True)) == (
        story.count("shadow_store_unavailable"),
        Release(story.held(0)),
    )
    assert story.after(Settled(held=True), SettlingFailed(), PIECE).state() is State.PASSING
    assert results(tell(SHADOW, bypass=True).after(head(), ClaimFailed(unavailable=True, asked=False))) == [
        "shadow_bypassed"
    ]
    assert tell(SHADOW).after(head(), ENDED, ClaimFailed(unavailable=True)).state() is State.CLOSED


# --- How it ends


def test_an_answer_of_the_upstream_that_would_release_releases(tell: Teller) -> None:
    story = executing(tell)

    assert story.on(answer(503, origin=REFUSED)) == (PassResponseHeaders(more=False), Release(story.held()))
    assert story.after(KEPT).on(ResponseBody(b"x", end_of_stream=True)) == (PassResponseBody(),)


def test_an_answer_whose_outcome_nobody_knows_is_marked(tell: Teller) -> None:
    story = executing(tell).after(answer(504, origin=TIMEOUT), KEPT)

    assert len(replies(story.seen, MarkUnknown)) == 1
    assert outcomes(story)[0][0] is Outcome.UNKNOWN


def test_a_response_too_large_to_be_kept_is_known_as_such(tell: Teller) -> None:
    story = executing(tell).after(answer(), ResponseBody(b"x" * 17, end_of_stream=True))

    (kept,) = (effect for effect in story.seen if isinstance(effect, Complete))
    assert not kept.record.replayable


def test_a_response_may_end_with_trailers(tell: Teller) -> None:
    story = executing(tell).after(answer())

    assert story.on(ResponseTrailers(()))[0] == PassResponseTrailers()
    assert len(replies(story.seen, Complete)) == 1


def test_a_client_that_leaves_before_its_request_has_passed_leaves_the_key(tell: Teller) -> None:
    story = tell(SHADOW).after(head(), CLAIMED, PIECE, ENDED)

    assert replies(story.seen, Release) == [Release(story.held())]
    assert story.state() is State.SETTLING_ALONE


@pytest.mark.parametrize(
    ("before", "reason"),
    [((), UnknownReason.LOST_BEFORE_RESPONSE), ((answer(),), UnknownReason.LOST_MID_RESPONSE)],
)
def test_a_client_that_leaves_later_leaves_an_unknown_outcome(
    before: tuple[Event, ...], reason: UnknownReason
) -> None:
    story = executing(Teller()).after(*before, ENDED)

    assert replies(story.seen, MarkUnknown) == [MarkUnknown(story.held(), reason, OF_PIECES)]


def test_a_response_that_came_whole_by_its_length_is_kept_though_the_client_left(tell: Teller) -> None:
    story = executing(tell).after(answer(fields=(("content-length", b"1"),)), ENDED)
    assert len(replies(story.seen, MarkUnknown)) == 1

    whole = executing(tell).after(
        answer(fields=(("content-length", b"1"),)), ResponseBody(b"x", end_of_stream=False)
    )
    assert len(replies(whole.seen, Complete)) == 1


def test_the_stream_may_end_while_the_outcome_is_kept(tell: Teller) -> None:
    story = executing(tell).after(answer(), LAST_OF_RESPONSE, ENDED)

    assert story.state() is State.SETTLING_ALONE
    assert story.after(KEPT).state() is State.CLOSED
    assert len(outcomes(story)) == 1


def test_an_undecided_duplicate_that_leaves_is_not_counted(tell: Teller) -> None:
    story = tell(SHADOW).after(head(), recorded(of=OF_PIECES), ENDED)

    assert story.state() is State.CLOSED
    assert results(story) == []


def test_an_answer_before_the_request_has_passed_can_be_compared_with_nothing(tell: Teller) -> None:
    story = tell(SHADOW).after(head(), CLAIMED, answer(), LAST_OF_RESPONSE)

    (kept,) = (effect for effect in story.seen if isinstance(effect, Complete))
    assert kept.record.fingerprint is None


def test_the_lease_is_renewed_while_it_lasts(tell: Teller) -> None:
    story = executing(tell)

    assert story.on(RenewalDue()) == (Renew(story.held()),)
    assert story.on(Renewed(held=True)) == (RenewLater(10_000),)
    assert story.on(RenewalFailed()) == (RenewLater(10_000),)


# --- Takeovers


def test_a_takeover_is_compared_first(tell: Teller) -> None:
    same = tell(RETRYING).after(head(), taken_over(OF_PIECES), PIECE, LAST_PIECE)
    other = tell(RETRYING).after(head(), PIECE, LAST_PIECE, taken_over(b"f" * 32))
    nobody = tell(RETRYING).after(head(body=False), taken_over(UNCOMPARABLE))

    assert results(same) == ["shadow_executed"]
    assert results(other) == ["shadow_key_reused"]
    assert results(nobody) == ["shadow_outcome_unknown"]
    assert len(replies(other.seen, MarkUnknown)) == 1


# --- Keys in bodies, and bodies that count by their meaning


def test_a_key_in_the_body_is_asked_for_when_it_has_passed(tell: Teller) -> None:
    story = tell(IN_BODY)

    assert story.on(head(WITHOUT_KEY)) == (WatchRequest(has_body=True),)
    assert story.on(RequestBody(b'{"key": ', end_of_stream=False)) == (PassRequestBody(),)
    passed, asked = story.on(RequestBody(b'"k1"}', end_of_stream=True))
    assert passed == PassRequestBody()
    assert isinstance(asked, TakeClaim)


@pytest.mark.parametrize(
    ("body", "counted"),
    [(b"{}", []), (b"{", ["shadow_body_invalid"]), (b" " * 65, ["shadow_body_too_large"])],
)
def test_a_body_without_a_key_passes_and_is_counted_where_it_would_be_refused(
    body: bytes, counted: list[str]
) -> None:
    story = Teller()(IN_BODY).after(head(WITHOUT_KEY), RequestBody(body, end_of_stream=True))

    assert results(story) == counted
    assert story.state() is State.PASSING


def test_without_a_body_there_is_no_key_in_it(tell: Teller) -> None:
    assert tell(IN_BODY).on(head(WITHOUT_KEY, body=False)) == (PassRequest(),)


def test_a_client_that_leaves_before_the_key_is_known_was_never_claimed(tell: Teller) -> None:
    story = tell(IN_BODY).after(head(WITHOUT_KEY), ENDED)

    assert story.state() is State.CLOSED


def test_malformed_json_is_counted_and_its_claim_let_go(tell: Teller) -> None:
    story = tell(BY_MEANING).after(head(), RequestBody(b"{", end_of_stream=True), CLAIMED)

    assert results(story) == ["shadow_body_invalid"]
    assert len(replies(story.seen, Release)) == 1
    assert story.state() is State.PASSING


def test_a_body_too_large_to_be_parsed_is_counted_and_not_kept(tell: Teller) -> None:
    story = tell(BY_MEANING).after(head(), CLAIMED, RequestBody(b" " * 65, end_of_stream=False))

    assert results(story) == ["shadow_body_too_large"]
    assert len(replies(story.seen, Release)) == 1


def test_a_detached_policy_counts_what_it_would_not_hold(tell: Teller) -> None:
    detached = replace(SHADOW, execution=Execution.DETACHED, max_request_body=2)

    assert results(tell(detached).after(head(), CLAIMED, LAST_PIECE, PIECE)) == ["shadow_executed"]
    large = tell(detached).after(head(), RequestBody(b"xxx", end_of_stream=False), CLAIMED)
    assert results(large) == ["shadow_body_too_large"]


# --- gRPC


def test_a_grpc_call_is_judged_by_its_status(tell: Teller) -> None:
    call = tell(SHADOW).after(
        head(GRPC_WITH_KEY), CLAIMED, RequestBody(framed(b"m"), end_of_stream=True), answer(200)
    )

    call.after(ResponseBody(framed(b"r"), end_of_stream=False))
    assert call.on(OK_TRAILERS)[0] == PassResponseTrailers()
    (kept,) = (effect for effect in call.seen if isinstance(effect, Complete))
    assert kept.record.replayable


def test_a_response_out_of_order_passes(tell: Teller) -> None:
    story = tell(SHADOW).after(head(), CLAIMED)

    assert story.on(ResponseBody(b"x", end_of_stream=False)) == (PassResponseBody(),)
