"""Stories of requests that are passed on, refused, or answered from a record."""

import json
from dataclasses import replace

import pytest

from sidecar.exchange.effects import (
    BreakOff,
    Count,
    ForwardRequest,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseTrailers,
    ReadRequestBody,
    Release,
    RenewLater,
    Reply,
    TakeClaim,
)
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    Expired,
    InFlight,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseTrailers,
    Settled,
    SettlingFailed,
    Unknown,
)
from sidecar.exchange.machine import ProtocolViolation
from sidecar.exchange.states import State
from sidecar.idempotency.claim import Claim, UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.identity import JWT_NAMESPACE
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.policy import BodyMode, FingerprintSpec, InProgress, KeySource, Mode
from sidecar.idempotency.scope import PEER, ScopePart, record_id
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    LAST_PIECE,
    NO_MORE,
    OWNER,
    PIECE,
    POLICY,
    REFUSED,
    WITH_KEY,
    WITHOUT_KEY,
    Teller,
    answer,
    assert_refused,
    fingerprint,
    head,
    recorded,
    the_reply,
)

# --- Requests that need nothing


def test_a_request_that_matches_no_policy_passes_untouched(tell: Teller) -> None:
    story = tell(policy=None)

    assert story.on(head()) == (PassRequest(),)
    assert story.state() is State.PASSING


def test_a_request_without_a_key_passes_untouched(tell: Teller) -> None:
    story = tell()

    assert story.on(head(WITHOUT_KEY)) == (PassRequest(),)
    assert story.state() is State.PASSING


def test_a_client_cannot_set_the_attempt_of_a_request_that_passes(tell: Teller) -> None:
    fields: Fields = (*WITHOUT_KEY, ("idempotency-attempt", b"7"))

    assert tell().on(head(fields)) == (PassRequest(remove=("idempotency-attempt",)),)
    assert tell(policy=None).on(head(fields)) == (PassRequest(remove=("idempotency-attempt",)),)


def test_whatever_else_is_shown_of_a_passing_exchange_passes(tell: Teller) -> None:
    story = tell().after(head(WITHOUT_KEY))

    assert story.on(PIECE) == (PassRequestBody(),)
    assert story.on(RequestTrailers()) == (PassRequestTrailers(),)
    assert story.on(answer()) == (NO_MORE,)
    assert story.on(ResponseBody(b"x", end_of_stream=True)) == (PassResponseBody(),)
    assert story.on(ResponseTrailers(())) == (PassResponseTrailers(),)
    assert story.state() is State.PASSING
    assert story.on(ENDED) == ()
    assert story.state() is State.CLOSED


def test_a_stream_that_starts_with_a_response_passes_it(tell: Teller) -> None:
    story = tell()

    assert story.on(answer(503, origin=REFUSED)) == (NO_MORE,)
    assert story.state() is State.PASSING


def test_a_stream_that_ends_before_anything_came_needs_nothing(tell: Teller) -> None:
    story = tell()

    assert story.on(ENDED) == ()
    assert story.state() is State.CLOSED


# --- Requests that are refused for their head


def test_a_malformed_key_is_refused_without_asking_the_store(tell: Teller) -> None:
    story = tell().after(head((("idempotency-key", b'"unclosed'),)))

    assert_refused(story, 400, "key-invalid")
    assert story.claim is None


def test_a_missing_key_is_refused_where_one_is_required(tell: Teller) -> None:
    policy = replace(POLICY, key=KeySource(required=True), docs_url="https://docs.example")

    reply = assert_refused(tell(policy).after(head(WITHOUT_KEY)), 400, "key-missing")

    assert first(reply.headers, "link") == b'<https://docs.example>; rel="describedby"'


def test_a_key_on_an_upgrade_is_refused_and_an_upgrade_without_one_passes(tell: Teller) -> None:
    upgrade: Fields = (("upgrade", b"websocket"), ("connection", b"upgrade"))

    assert_refused(tell().after(head((*WITH_KEY, *upgrade))), 400, "key-invalid")
    assert tell().on(head((*WITHOUT_KEY, *upgrade))) == (PassRequest(),)


def test_a_key_on_what_only_an_upstream_may_take_for_grpc_is_refused(tell: Teller) -> None:
    # Its outcome would be where nobody looks for it, and Envoy would not answer it as a gRPC call.
    for content_type in (b"application/grpc-web+proto", b"application/grpc;v=1", b"Application/GRPC"):
        fields: Fields = (("content-type", content_type),)

        assert_refused(tell().after(head((*fields, ("idempotency-key", b"k1")))), 400, "key-invalid")
        assert tell().on(head(fields)) == (PassRequest(),)


# --- The claim


def test_a_keyed_request_asks_the_store_before_it_is_answered(tell: Teller) -> None:
    story = tell()
    begun = head()

    id_ = record_id(POLICY.scope, begun.request, "k1")
    assert story.on(begun) == (
        TakeClaim(Claim(id_, OWNER, 0, POLICY.lease_ms, POLICY.ttl_ms), UnknownPolicy.HOLD),
    )
    assert story.state() is State.CLAIMING


def test_a_claimed_request_is_forwarded_and_its_lease_is_renewed_in_time(tell: Teller) -> None:
    story = tell().after(head())

    assert story.on(CLAIMED) == (
        ForwardRequest(1, has_body=True),
        story.count("executed"),
        RenewLater(10_000),
    )
    assert story.state() is State.FORWARDING


def test_a_claimed_request_without_a_body_is_forwarded_whole(tell: Teller) -> None:
    story = tell().after(head(body=False))

    assert story.on(CLAIMED)[0] == ForwardRequest(1, has_body=False)
    assert story.state() is State.AWAITING_RESPONSE


def test_the_upstream_is_told_the_attempt(tell: Teller) -> None:
    assert tell().after(head()).on(Claimed(3))[0] == ForwardRequest(3, has_body=True)


def test_envoy_may_not_go_on_while_it_waits_for_the_claim(tell: Teller) -> None:
    story = tell().after(head())

    with pytest.raises(ProtocolViolation, match="RequestBody while CLAIMING"):
        story.on(PIECE)
    assert story.state() is State.CLAIMING
    assert story.on(CLAIMED)[0] == ForwardRequest(1, has_body=True)


def test_a_duplicate_of_a_running_request_is_refused_and_may_retry(tell: Teller) -> None:
    story = tell().after(head(), InFlight(29_000))

    assert first(assert_refused(story, 409, "in-progress").headers, "retry-after") == b"1"


def test_a_policy_may_answer_a_running_request_with_429(tell: Teller) -> None:
    policy = replace(POLICY, in_progress=InProgress(status=429, retry_after_s=5))

    reply = assert_refused(tell(policy).after(head(), InFlight(1)), 429, "in-progress")

    assert first(reply.headers, "retry-after") == b"5"


def test_a_key_with_an_unknown_outcome_is_held_and_not_to_be_retried(tell: Teller) -> None:
    story = tell().after(head(), Unknown(2, UnknownReason.LOST_MID_RESPONSE))

    reply = assert_refused(story, 409, "outcome-unknown")
    assert first(reply.headers, "retry-after") is None
    assert b"lost-mid-response" in reply.body


def test_a_key_whose_response_is_gone_but_whose_tombstone_stands_is_refused(tell: Teller) -> None:
    story = tell().after(head(), Expired())

    assert first(assert_refused(story, 409, "key-expired").headers, "retry-after") is None


def test_a_claim_says_how_long_the_use_of_a_key_is_remembered_after_its_response(tell: Teller) -> None:
    story = tell(replace(POLICY, ttl_ms=1_000, tombstone_ms=7_000)).after(head())

    assert story.claim is not None
    assert (story.claim.ttl_ms, story.claim.tombstone_ms) == (1_000, 7_000)


def test_without_a_store_the_request_is_refused_and_a_claim_that_may_stand_is_dropped(tell: Teller) -> None:
    for late in (Settled(held=True), Settled(held=False), SettlingFailed()):
        story = tell().after(head())

        effects = story.on(ClaimFailed(unavailable=True))

        assert effects[-1] == Release(story.held(attempt=0))
        assert first(assert_refused(story, 503, "store-unavailable").headers, "retry-after") == b"1"
        assert story.on(late) == ()
        assert story.on(ENDED) == ()
        assert story.state() is State.CLOSED
        assert story.on(late) == ()


def test_where_the_store_was_not_even_asked_there_is_no_claim_to_drop(tell: Teller) -> None:
    unasked = ClaimFailed(unavailable=True, asked=False)
    there, gone = tell().after(head(), unasked), tell().after(head(), ENDED, unasked)

    assert_refused(there, 503, "store-unavailable")
    assert gone.state() is State.CLOSED
    for story in (there, gone):
        assert not [effect for effect in story.seen if isinstance(effect, Release)]


def test_without_a_store_a_bypass_forwards_the_request_unprotected(tell: Teller) -> None:
    fields: Fields = (*WITH_KEY, ("idempotency-attempt", b"7"))
    story = tell(bypass=True).after(head(fields))

    assert story.on(ClaimFailed(unavailable=True)) == (
        PassRequest(remove=("idempotency-attempt",)),
        story.count("bypassed"),
    )
    assert story.state() is State.PASSING


def test_a_store_that_cannot_be_read_is_never_bypassed(tell: Teller) -> None:
    story = tell(bypass=True).after(head(), ClaimFailed(unavailable=False))

    assert_refused(story, 503, "store-unavailable")


# --- The client leaves while the store is asked


def test_a_claim_that_comes_after_the_client_left_is_released(tell: Teller) -> None:
    for settled in (Settled(held=True), Settled(held=False), SettlingFailed()):
        story = tell().after(head())

        assert story.on(ENDED) == ()
        assert story.state() is State.ABANDONED
        assert story.on(Claimed(2)) == (Release(story.held(attempt=2)),)
        assert story.state() is State.SETTLING_ALONE
        kept = settled == Settled(held=True)
        expected = (
            story.outcome(Outcome.RELEASE, "never-forwarded")
            if kept
            else story.outcome(Outcome.UNKNOWN, "not-kept")
        )
        assert story.on(settled) == (expected,)
        assert story.state() is State.CLOSED


def test_a_refusal_that_comes_after_the_client_left_needs_nothing(tell: Teller) -> None:
    for refusal in (InFlight(1), Unknown(1, UnknownReason.LEASE_EXPIRED), recorded(of=None), Expired()):
        story = tell().after(head(), ENDED)

        assert story.on(refusal) == ()
        assert story.state() is State.CLOSED


def test_a_claim_that_was_never_answered_is_dropped_after_the_client_left(tell: Teller) -> None:
    for late in (Settled(held=True), SettlingFailed()):
        story = tell().after(head(), ENDED)

        assert story.on(ClaimFailed(unavailable=True)) == (Release(story.held(attempt=0)),)
        assert story.state() is State.CLOSED
        assert story.on(late) == ()


# --- Duplicates


def test_a_duplicate_without_a_body_is_replayed_at_once(tell: Teller) -> None:
    begun = head(body=False)
    story = tell().after(begun)

    effects = story.on(recorded(b"done", of=fingerprint(begun)))

    headers = (("etag", b"x"), ("idempotent-replayed", b"true"))
    assert effects == (Reply(201, headers, b"done", "idempotency_replayed"), story.count("replayed"))
    assert story.state() is State.ANSWERED
    assert story.on(ENDED) == ()
    assert story.state() is State.CLOSED


def test_a_duplicate_with_a_body_is_compared_before_it_is_replayed(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun)

    assert story.on(recorded(of=fingerprint(begun, b"x", b"yz"))) == (ReadRequestBody(),)
    assert story.state() is State.COMPARING
    assert story.on(PIECE) == ()
    assert story.on(LAST_PIECE)[-1] == story.count("replayed")
    assert the_reply(story).body == b"done"


def test_a_duplicate_whose_body_ends_with_trailers_is_replayed_too(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun, recorded(of=fingerprint(begun, b"x")), PIECE)

    assert story.on(RequestTrailers())[-1] == story.count("replayed")
    assert story.state() is State.ANSWERED


def test_a_payload_that_differs_in_its_last_byte_never_gets_the_response(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun, recorded(of=fingerprint(begun, b"x", b"yZ")), PIECE, LAST_PIECE)

    assert b"done" not in assert_refused(story, 422, "key-reused").body


def test_a_payload_that_is_longer_or_shorter_never_gets_the_response(tell: Teller) -> None:
    begun = head()
    for other in (fingerprint(begun, b"x"), fingerprint(begun, b"xyz!")):
        assert_refused(tell().after(begun, recorded(of=other), PIECE, LAST_PIECE), 422, "key-reused")


def test_another_query_or_content_type_is_another_payload(tell: Teller) -> None:
    of = fingerprint(head(body=False))
    text: Fields = (("content-type", b"text/plain"), ("idempotency-key", b"k1"))

    assert_refused(tell().after(head(body=False, target="/pay?a=2"), recorded(of=of)), 422, "key-reused")
    assert_refused(tell().after(head(text, body=False), recorded(of=of)), 422, "key-reused")


def test_a_duplicate_that_has_lost_its_body_is_another_payload(tell: Teller) -> None:
    begun = head(body=False)

    assert_refused(tell().after(begun, recorded(of=fingerprint(begun, b"x"))), 422, "key-reused")


def test_an_empty_body_sent_as_pieces_equals_no_body(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun, recorded(of=fingerprint(head(body=False))))

    assert story.on(RequestBody(b"", end_of_stream=True))[-1] == story.count("replayed")


def test_where_bodies_do_not_count_another_body_is_replayed_without_being_read(tell: Teller) -> None:
    policy = replace(POLICY, fingerprint=FingerprintSpec(body=BodyMode.NONE))
    begun = head()
    story = tell(policy).after(begun)

    effects = story.on(recorded(of=fingerprint(begun, policy=policy)))

    assert [type(effect) for effect in effects] == [Reply, Count]
    assert effects[-1] == story.count("replayed")
    assert story.state() is State.ANSWERED
    assert story.on(LAST_PIECE) == ()


def test_where_bodies_do_not_count_the_head_still_does(tell: Teller) -> None:
    policy = replace(POLICY, fingerprint=FingerprintSpec(body=BodyMode.NONE))
    of = fingerprint(head(target="/pay?a=2"), policy=policy)

    assert_refused(tell(policy).after(head(), recorded(of=of)), 422, "key-reused")


def test_what_still_comes_of_a_duplicate_that_was_answered_is_ignored(tell: Teller) -> None:
    story = tell().after(head(), InFlight(1))

    for message in (
        PIECE,
        RequestTrailers(),
        answer(),
        ResponseBody(b"", end_of_stream=True),
        ResponseTrailers(()),
    ):
        assert story.on(message) == ()
        assert story.state() is State.ANSWERED


def test_a_duplicate_whose_client_leaves_while_it_is_compared_needs_nothing(tell: Teller) -> None:
    story = tell().after(head(), recorded(of=b"f" * 32), PIECE)

    assert story.on(ENDED) == ()
    assert story.state() is State.CLOSED


def test_a_response_that_was_too_large_to_keep_is_refused_with_its_status(tell: Teller) -> None:
    begun = head(body=False)
    story = tell().after(begun, recorded(b"", of=fingerprint(begun), replayable=False))

    reply = assert_refused(story, 409, "response-not-stored")
    assert json.loads(reply.body)["original_status"] == 201


def test_another_payload_learns_only_that_the_key_was_used_though_nothing_was_kept(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun, recorded(b"", of=b"f" * 32, replayable=False), LAST_PIECE)

    assert b"201" not in assert_refused(story, 422, "key-reused").body


def test_a_record_that_can_be_compared_with_nothing_is_refused_without_reading_the_body(tell: Teller) -> None:
    story = tell().after(head(), recorded(b"", of=None, replayable=False))

    assert_refused(story, 409, "response-not-stored")


def test_a_replay_keeps_repeated_header_fields_and_trailers(tell: Teller) -> None:
    begun = head(body=False)
    cookies: Fields = (("set-cookie", b"a=1"), ("set-cookie", b"b=2"))
    story = tell().after(begun, recorded(of=fingerprint(begun), headers=cookies, trailers=(("sum", b"1"),)))

    assert the_reply(story).headers == (*cookies, ("idempotent-replayed", b"true"))
    assert the_reply(story).trailers == (("sum", b"1"),)


# --- What Envoy does not tell


BY_CLAIM_AND_PEER = replace(POLICY, scope=(ScopePart("jwt", "sub"), ScopePart("peer"), ScopePart.PATH))


def test_a_caller_that_envoy_does_not_tell_is_none_that_is_absent(tell: Teller) -> None:
    for sources in (frozenset[str](), frozenset({PEER})):
        story = tell(BY_CLAIM_AND_PEER, sources=sources)
        (refusal,) = story.on(head())

        assert isinstance(refusal, BreakOff)
        assert f"Envoy does not tell {JWT_NAMESPACE}" in refusal.detail
        assert "which the policy payments tells callers apart by" in refusal.detail
        assert story.after(ENDED).state() == State.CLOSED


def test_a_caller_that_envoy_would_have_told_may_be_absent(tell: Teller) -> None:
    (claim,) = tell(BY_CLAIM_AND_PEER, sources=frozenset({PEER, JWT_NAMESPACE})).on(head())

    assert isinstance(claim, TakeClaim)


def test_what_is_only_watched_passes_whatever_envoy_tells(tell: Teller) -> None:
    watched = replace(BY_CLAIM_AND_PEER, mode=Mode.SHADOW)

    assert tell(watched, sources=frozenset()).after(head()).state() == State.SHADOWING
