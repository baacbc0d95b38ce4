"""Stories of requests that are executed: forwarded, answered, recorded, or lost on the way."""

from dataclasses import replace

from msgspec import structs

from sidecar.exchange.effects import (
    Complete,
    MarkUnknown,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    Release,
    Renew,
    RenewLater,
)
from sidecar.exchange.events import (
    Event,
    RenewalDue,
    RenewalFailed,
    Renewed,
    RequestTrailers,
    ResponseBody,
    ResponseTrailers,
    Settled,
    SettlingFailed,
)
from sidecar.exchange.states import LEASED, State
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Origin, Outcome, OutcomeRules
from sidecar.idempotency.record import Record
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    KEPT,
    LAST_OF_RESPONSE,
    LAST_PIECE,
    MORE_COMES,
    NO_MORE,
    PIECE,
    POLICY,
    REFUSED,
    TIMEOUT,
    Story,
    Teller,
    answer,
    at,
    fingerprint,
    head,
    record_of,
    replies,
)


def chunk(data: bytes, *, end: bool = False) -> ResponseBody:
    return ResponseBody(data, end_of_stream=end)


def executing(tell: Teller) -> Story:
    """A request without a body that has been forwarded."""
    return tell().after(head(body=False), CLAIMED)


# --- The whole way


def test_a_first_call_is_forwarded_captured_recorded_and_only_then_ended(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun, CLAIMED)

    assert story.on(PIECE) == (PassRequestBody(),)
    assert story.state() is State.FORWARDING
    assert story.on(LAST_PIECE) == (PassRequestBody(),)
    assert story.state() is State.AWAITING_RESPONSE
    assert story.on(answer(201, (("etag", b"x"),))) == (MORE_COMES,)
    assert story.state() is State.CAPTURING
    assert story.on(chunk(b"do")) == (PassResponseBody(),)
    record = Record(201, (("etag", b"x"),), b"done", (), fingerprint(begun, b"x", b"yz"))
    assert story.on(chunk(b"ne", end=True)) == (Complete(story.held(), record),)
    assert story.state() is State.SETTLING
    assert story.on(KEPT) == (PassResponseBody(), story.outcome(Outcome.RECORD, "status"))
    assert story.state() is State.PASSING
    assert story.on(ENDED) == ()
    assert story.state() is State.CLOSED


def test_a_request_may_end_with_trailers(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun, CLAIMED, PIECE)

    assert story.on(RequestTrailers()) == (PassRequestTrailers(),)
    assert story.state() is State.AWAITING_RESPONSE
    assert record_of(*story.on(answer(body=False))).fingerprint == fingerprint(begun, b"x")


def test_the_claim_of_a_later_attempt_is_settled_as_that_attempts(tell: Teller) -> None:
    story = tell().after(head(body=False), structs.replace(CLAIMED, attempt=4))

    (complete,) = story.on(answer(body=False))

    assert isinstance(complete, Complete)
    assert complete.claim == story.held(attempt=4)


# --- Responses without a body


def test_a_response_without_a_body_holds_its_head_until_it_is_recorded(tell: Teller) -> None:
    # 204, 304, an answer to HEAD: Envoy ends the stream with the head, whatever length is announced.
    for status, fields in ((204, ()), (304, (("etag", b"x"),)), (200, (("content-length", b"1234"),))):
        story = executing(tell)

        record = record_of(*story.on(answer(status, fields, body=False)))

        assert (record.status, record.headers, record.body, record.replayable) == (status, fields, b"", True)
        assert story.state() is State.SETTLING
        assert story.on(KEPT)[0] == NO_MORE


def test_an_empty_body_that_ends_later_is_recorded_at_its_end(tell: Teller) -> None:
    story = executing(tell)

    assert story.on(answer(200)) == (MORE_COMES,)
    assert record_of(*story.on(LAST_OF_RESPONSE)).body == b""
    assert story.on(KEPT)[0] == PassResponseBody()


def test_a_response_without_content_is_recorded_at_its_head_though_its_end_comes_apart(tell: Teller) -> None:
    for status, length, method in (
        (200, b"0", "POST"),
        (204, None, "POST"),
        (304, b"42", "POST"),
        (200, b"42", "HEAD"),
    ):
        policy = replace(POLICY, match=replace(POLICY.match, methods=frozenset({method})))
        story = tell(policy).after(head(body=False, method=method), CLAIMED)
        fields = () if length is None else (("content-length", length),)

        assert record_of(*story.on(answer(status, fields))).body == b""
        assert story.on(LAST_OF_RESPONSE) == ()
        assert story.on(KEPT)[:2] == (PassResponseHeaders(more=False), PassResponseBody())


# --- The last byte


def test_a_chunked_body_that_ends_in_an_empty_chunk_is_recorded_then(tell: Teller) -> None:
    story = executing(tell).after(answer())

    assert story.on(chunk(b"done")) == (PassResponseBody(),)
    assert record_of(*story.on(LAST_OF_RESPONSE)).body == b"done"
    assert story.on(KEPT)[0] == PassResponseBody()


def test_the_chunk_that_completes_the_announced_length_is_held_until_it_is_recorded(tell: Teller) -> None:
    story = executing(tell).after(answer(fields=(("content-length", b"4"),)))

    assert story.on(chunk(b"do")) == (PassResponseBody(),)
    assert record_of(*story.on(chunk(b"ne"))).body == b"done"
    assert story.on(LAST_OF_RESPONSE) == ()
    assert story.on(KEPT)[:2] == (PassResponseBody(), PassResponseBody())


def test_a_length_that_is_no_number_is_no_length(tell: Teller) -> None:
    for length in (b"", b"4x", b"-4", b"+4", b"9" * 5_000):
        story = executing(tell).after(answer(fields=(("content-length", length),)))

        assert story.on(chunk(b"done")) == (PassResponseBody(),)
        assert story.state() is State.CAPTURING


def test_a_response_that_ends_short_of_its_announced_length_is_lost(tell: Teller) -> None:
    story = executing(tell).after(answer(fields=(("content-length", b"5"),)), chunk(b"done"))

    (lost,) = story.on(ENDED)

    assert lost == MarkUnknown(story.held(), UnknownReason.LOST_MID_RESPONSE, fingerprint(head(body=False)))


def test_an_empty_response_whose_stream_ends_without_a_last_chunk_is_whole(tell: Teller) -> None:
    story = executing(tell)

    assert record_of(*story.on(answer(fields=(("content-length", b"0"),)))).replayable
    assert story.on(ENDED) == ()
    assert story.on(KEPT) == (story.outcome(Outcome.RECORD, "status"),)


# --- Trailers


def test_a_response_that_ends_with_trailers_is_recorded_with_them(tell: Teller) -> None:
    story = executing(tell).after(answer(), chunk(b"done"))

    record = record_of(
        *story.on(ResponseTrailers((("sum", b"1"), ("x-envoy-y", b"2"), ("set-cookie", b"z"))))
    )

    assert (record.body, record.trailers) == (b"done", (("sum", b"1"),))
    assert story.on(KEPT)[0] == PassResponseTrailers()


def test_a_response_that_announces_trailers_is_not_whole_by_its_length(tell: Teller) -> None:
    story = executing(tell).after(answer(fields=(("content-length", b"4"), ("trailer", b"sum"))))

    assert story.on(chunk(b"done")) == (PassResponseBody(),)
    assert record_of(*story.on(ResponseTrailers((("sum", b"1"),)))).trailers == (("sum", b"1"),)


def test_trailers_that_come_while_the_store_is_asked_wait_in_their_order(tell: Teller) -> None:
    story = executing(tell).after(answer(fields=(("content-length", b"4"),)), chunk(b"done"))

    assert story.on(ResponseTrailers(())) == ()
    assert story.on(KEPT)[:2] == (PassResponseBody(), PassResponseTrailers())


# --- What is kept of a response


def test_two_cookies_are_kept_as_two_where_the_policy_keeps_cookies(tell: Teller) -> None:
    cookies: Fields = (("set-cookie", b"a=1"), ("set-cookie", b"b=2"))
    keeping = replace(POLICY, exclude_response_headers=frozenset())

    kept = tell(keeping).after(head(body=False), CLAIMED).on(answer(200, cookies, body=False))
    dropped = executing(tell).on(answer(200, cookies, body=False))

    assert record_of(*kept).headers == cookies
    assert record_of(*dropped).headers == ()


def test_a_body_as_large_as_the_limit_is_kept(tell: Teller) -> None:
    story = executing(tell).after(answer(), chunk(b"0123456789"))

    record = record_of(*story.on(chunk(b"abcdef", end=True)))

    assert (record.body, record.replayable) == (b"0123456789abcdef", True)


def test_a_body_one_byte_larger_passes_and_is_recorded_as_not_replayable(tell: Teller) -> None:
    story = executing(tell).after(answer(), chunk(b"0123456789abcdef"))

    assert story.on(chunk(b"!")) == (PassResponseBody(),)
    record = record_of(*story.on(LAST_OF_RESPONSE))

    assert (record.status, record.body, record.replayable) == (201, b"", False)
    assert record.fingerprint == fingerprint(head(body=False))
    assert story.on(KEPT)[-1] == story.outcome(Outcome.RECORD, "status")


def test_an_upstream_cannot_mark_its_response_as_a_replay(tell: Teller) -> None:
    forged: Fields = (("idempotent-replayed", b"true"), ("etag", b"x"))
    story = executing(tell)

    assert story.on(answer(200, forged)) == (PassResponseHeaders(more=True, remove=("idempotent-replayed",)),)
    assert record_of(*story.on(LAST_OF_RESPONSE)).headers == (("etag", b"x"),)


def test_a_response_with_trailers_and_several_cookies_is_recorded_as_not_replayable(tell: Teller) -> None:
    cookies: Fields = (("set-cookie", b"a=1"), ("set-cookie", b"b=2"))
    keeping = replace(POLICY, exclude_response_headers=frozenset())
    story = tell(keeping).after(head(body=False), CLAIMED, answer(200, cookies), chunk(b"done"))

    record = record_of(*story.on(ResponseTrailers((("sum", b"1"),))))

    assert (record.replayable, record.body, record.fingerprint) == (
        False,
        b"",
        fingerprint(head(body=False)),
    )
    assert story.on(KEPT) == (PassResponseTrailers(), story.outcome(Outcome.RECORD, "status"))


def test_fields_that_the_response_names_as_its_connections_are_not_recorded(tell: Teller) -> None:
    fields: Fields = (("connection", b"X-Hop, close"), ("x-hop", b"1"), ("etag", b"x"))

    assert record_of(*executing(tell).on(answer(200, fields, body=False))).headers == (("etag", b"x"),)


# --- Responses that are not recorded


def test_a_response_that_releases_the_key_is_held_until_it_is_released(tell: Teller) -> None:
    story = executing(tell)

    assert story.on(answer(503)) == (Release(story.held()),)
    assert story.state() is State.SETTLING
    assert story.on(KEPT) == (NO_MORE, story.outcome(Outcome.RELEASE, "status"))


def test_a_refused_connection_releases_the_key(tell: Teller) -> None:
    story = executing(tell)

    assert story.on(answer(503, origin=REFUSED)) == (Release(story.held()),)
    assert story.on(KEPT)[-1] == story.outcome(Outcome.RELEASE, "envoy-never-sent")


def test_an_upstreams_status_that_says_nothing_certain_leaves_the_key_unknown(tell: Teller) -> None:
    story = executing(tell)
    of = fingerprint(head(body=False))

    assert story.on(answer(502)) == (MarkUnknown(story.held(), UnknownReason.UPSTREAM_STATUS, of),)
    assert story.on(KEPT) == (NO_MORE, story.outcome(Outcome.UNKNOWN, "status"))


def test_envoys_own_timeout_leaves_the_key_unknown(tell: Teller) -> None:
    story = executing(tell)
    of = fingerprint(head(body=False))

    assert story.on(answer(504, origin=TIMEOUT)) == (
        MarkUnknown(story.held(), UnknownReason.ENVOY_REPLY, of),
    )
    assert story.on(KEPT)[-1] == story.outcome(Outcome.UNKNOWN, "envoy-may-have-sent")


def test_an_answer_of_unknown_origin_is_marked_so_by_its_status(tell: Teller) -> None:
    (marked,) = executing(tell).on(answer(500, origin=Origin()))

    assert isinstance(marked, MarkUnknown)
    assert marked.reason is UnknownReason.UPSTREAM_STATUS


def test_a_policy_decides_what_a_status_means(tell: Teller) -> None:
    policy = replace(POLICY, outcomes=OutcomeRules({"5xx": Outcome.RELEASE, "502": Outcome.RECORD}))

    assert replies(tell(policy).after(head(body=False), CLAIMED).on(answer(500)), Release)
    assert tell(policy).after(head(body=False), CLAIMED).on(answer(502)) == (MORE_COMES,)


# --- Responses that begin before the request has ended


def test_an_early_response_is_captured_while_the_request_goes_on(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun, CLAIMED)

    assert story.on(answer()) == (MORE_COMES,)
    assert story.state() is State.CAPTURING_EARLY
    assert story.on(PIECE) == (PassRequestBody(),)
    assert story.on(chunk(b"do")) == (PassResponseBody(),)
    assert story.state() is State.CAPTURING_EARLY
    assert story.on(LAST_PIECE) == (PassRequestBody(),)
    assert story.state() is State.CAPTURING
    record = record_of(*story.on(chunk(b"ne", end=True)))
    assert (record.fingerprint, record.body) == (fingerprint(begun, b"x", b"yz"), b"done")


def test_a_request_may_end_with_trailers_under_an_early_response(tell: Teller) -> None:
    story = tell().after(head(), CLAIMED, answer())

    assert story.on(RequestTrailers()) == (PassRequestTrailers(),)
    assert story.state() is State.CAPTURING


def test_a_response_that_ends_before_its_request_cannot_be_replayed(tell: Teller) -> None:
    ends: tuple[tuple[Event, ...], ...] = (
        (answer(), chunk(b"done", end=True)),
        (answer(), chunk(b"done"), ResponseTrailers(())),
        (answer(fields=(("content-length", b"4"),)), chunk(b"done")),
        (answer(204, body=False),),
    )
    for end in ends:
        story = tell().after(head(), CLAIMED, PIECE, *end)

        record = record_of(*story.seen)
        assert (record.fingerprint, record.replayable, record.body) == (None, False, b"")
        assert story.state() is State.SETTLING


def test_the_rest_of_the_request_passes_while_the_store_is_asked_and_after(tell: Teller) -> None:
    story = tell().after(head(), CLAIMED, answer(204, body=False))

    assert story.on(PIECE) == (PassRequestBody(),)
    assert story.on(RequestTrailers()) == (PassRequestTrailers(),)
    assert story.state() is State.SETTLING
    assert story.on(KEPT)[0] == NO_MORE
    assert story.on(LAST_PIECE) == (PassRequestBody(),)


def test_an_early_answer_of_unknown_outcome_has_no_fingerprint(tell: Teller) -> None:
    story = tell().after(head(), CLAIMED)

    assert story.on(answer(502)) == (MarkUnknown(story.held(), UnknownReason.UPSTREAM_STATUS, None),)


# --- The store while the end is held


def test_an_outcome_the_store_did_not_keep_is_unknown_and_the_client_gets_its_response(tell: Teller) -> None:
    for settled in (Settled(held=False), SettlingFailed()):
        story = executing(tell).after(answer(), chunk(b"done", end=True))

        assert story.on(settled) == (PassResponseBody(), story.outcome(Outcome.UNKNOWN, "not-kept"))
        assert story.state() is State.PASSING


def test_a_client_that_leaves_while_the_store_is_asked_changes_nothing(tell: Teller) -> None:
    for settled, outcome, reason in (
        (KEPT, Outcome.RECORD, "status"),
        (Settled(held=False), Outcome.UNKNOWN, "not-kept"),
        (SettlingFailed(), Outcome.UNKNOWN, "not-kept"),
    ):
        story = executing(tell).after(answer(), chunk(b"done", end=True))

        assert story.on(ENDED) == ()
        assert story.state() is State.SETTLING_ALONE
        assert story.on(settled) == (story.outcome(outcome, reason),)
        assert story.state() is State.CLOSED


# --- Streams that end early


def test_a_client_that_leaves_before_its_request_was_forwarded_releases_the_key(tell: Teller) -> None:
    story = tell().after(head(), CLAIMED, PIECE)

    assert story.on(ENDED) == (Release(story.held()),)
    assert story.state() is State.SETTLING_ALONE
    assert story.on(KEPT) == (story.outcome(Outcome.RELEASE, "request-incomplete"),)
    assert story.state() is State.CLOSED


def test_a_client_that_leaves_before_the_answer_leaves_the_key_unknown(tell: Teller) -> None:
    begun = head()
    story = tell().after(begun, CLAIMED, LAST_PIECE)

    marked = MarkUnknown(story.held(), UnknownReason.LOST_BEFORE_RESPONSE, fingerprint(begun, b"yz"))
    assert story.on(ENDED) == (marked,)
    assert story.on(KEPT) == (story.outcome(Outcome.UNKNOWN, "lost-before-response"),)


def test_a_response_that_stops_short_leaves_the_key_unknown(tell: Teller) -> None:
    story = executing(tell).after(answer(), chunk(b"do"))

    of = fingerprint(head(body=False))
    assert story.on(ENDED) == (MarkUnknown(story.held(), UnknownReason.LOST_MID_RESPONSE, of),)
    assert story.on(KEPT) == (story.outcome(Outcome.UNKNOWN, "lost-mid-response"),)


def test_an_early_response_that_stops_short_leaves_the_key_unknown(tell: Teller) -> None:
    story = tell().after(head(), CLAIMED, answer(), chunk(b"do"))

    assert story.on(ENDED) == (MarkUnknown(story.held(), UnknownReason.LOST_MID_RESPONSE, None),)


# --- The lease


def test_a_lease_is_renewed_as_long_as_the_exchange_executes(tell: Teller) -> None:
    for state in LEASED:
        story = at(state, tell)

        (renew,) = story.on(RenewalDue())
        assert isinstance(renew, Renew)
        assert renew.claim == story.held(attempt=renew.claim.attempt)
        assert renew.claim.attempt > 0
        assert story.on(Renewed(held=True)) == (RenewLater(10_000),)
        assert story.on(RenewalFailed()) == (RenewLater(10_000),)
        assert story.state() is state


def test_a_lease_that_is_no_longer_ours_is_not_renewed_again(tell: Teller) -> None:
    for state in LEASED:
        assert at(state, tell).after(RenewalDue()).on(Renewed(held=False)) == ()


def test_a_renewal_that_comes_after_the_decision_changes_nothing(tell: Teller) -> None:
    for state in (State.SETTLING, State.SETTLING_ALONE, State.PASSING, State.ANSWERED, State.CLOSED):
        for renewal in (RenewalDue(), Renewed(held=True), Renewed(held=False), RenewalFailed()):
            story = at(state, tell)

            assert story.on(renewal) == ()
            assert story.state() is state
