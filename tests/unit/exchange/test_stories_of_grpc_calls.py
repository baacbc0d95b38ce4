"""Stories of unary gRPC calls: judged by their trailers, given again as they were, refused in gRPC's way."""

from dataclasses import replace

from msgspec import structs

from sidecar.exchange.effects import (
    Complete,
    MarkUnknown,
    NoteFingerprint,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseTrailers,
    ReadRequestBody,
    Release,
    RenewLater,
    Reply,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Event,
    Expired,
    InFlight,
    Noted,
    NotingFailed,
    RequestBody,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Unknown,
)
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.grpc import GrpcStatus
from sidecar.idempotency.outcome import Origin, Outcome, OutcomeRules
from sidecar.idempotency.policy import InProgress, KeySource
from sidecar.idempotency.record import Record
from tests.unit.exchange.scenes import (
    CLAIMED,
    DETACHED,
    ENDED,
    GRPC,
    GRPC_WITH_KEY,
    KEPT,
    MORE_COMES,
    NO_MORE,
    POLICY,
    REFUSED,
    RETRYING,
    TIMEOUT,
    Story,
    Teller,
    answer,
    fingerprint,
    framed,
    head,
    record_of,
    recorded,
    taken_over,
    the_reply,
)

CALL = head(GRPC_WITH_KEY)
MESSAGE = framed(b"pay")
WHOLE = RequestBody(MESSAGE, end_of_stream=True)
OF_CALL = fingerprint(CALL, MESSAGE)
RESPONSE = answer(200, GRPC)
NOTED = Noted(held=True)
ANSWER = ResponseBody(framed(b"paid"), end_of_stream=False)
S = GrpcStatus
RELEASED = (S.RESOURCE_EXHAUSTED, S.UNAVAILABLE)
UNKNOWN = (S.CANCELLED, S.UNKNOWN, S.DEADLINE_EXCEEDED, S.ABORTED, S.INTERNAL, S.DATA_LOSS)
RECORDED = tuple(set(S) - set(RELEASED) - set(UNKNOWN))


def status(of: GrpcStatus, *more: tuple[str, bytes]) -> Fields:
    return (("grpc-status", str(of.value).encode()), *more)


def ends(of: GrpcStatus, *more: tuple[str, bytes]) -> ResponseTrailers:
    """The trailers of a call that ends with this status."""
    return ResponseTrailers(status(of, *more))


def trailers_only(of: GrpcStatus, *, origin: Origin | None = None) -> ResponseHeaders:
    """A response whose head is all of it."""
    only = answer(200, (*GRPC, *status(of)), body=False)
    return only if origin is None else structs.replace(only, origin=origin)


def sent(tell: Teller, *then: Event) -> Story:
    """A call that was sent whole, and what happened then."""
    return tell().after(CALL, CLAIMED, WHOLE, *then)


# --- The outcome is in the trailers


def test_head_and_message_pass_and_the_trailers_wait_until_the_record_is_kept(tell: Teller) -> None:
    for of in RECORDED:
        story = sent(tell)
        last = ends(of, ("x-proof-bin", b"AAH/"))

        assert story.on(RESPONSE) == (MORE_COMES,)
        assert story.on(ANSWER) == (PassResponseBody(),)
        kept = Record(200, GRPC, ANSWER.data, last.fields, OF_CALL)
        assert story.on(last) == (Complete(story.held(), kept),)
        assert story.on(KEPT) == (PassResponseTrailers(), story.outcome(Outcome.RECORD, "grpc-status"))


def test_a_refusal_in_the_trailers_releases_the_key(tell: Teller) -> None:
    for of in RELEASED:
        story = sent(tell, RESPONSE)

        assert story.on(ends(of)) == (Release(story.held()),)
        assert story.on(KEPT) == (PassResponseTrailers(), story.outcome(Outcome.RELEASE, "grpc-status"))


def test_a_status_in_the_trailers_that_may_hide_an_execution_is_marked_unknown(tell: Teller) -> None:
    for of in UNKNOWN:
        story = sent(tell, RESPONSE, ANSWER)

        assert story.on(ends(of)) == (MarkUnknown(story.held(), UnknownReason.UPSTREAM_STATUS, OF_CALL),)
        assert story.on(KEPT) == (PassResponseTrailers(), story.outcome(Outcome.UNKNOWN, "grpc-status"))


def test_a_call_that_ends_with_its_head_is_judged_by_it(tell: Teller) -> None:
    for of, effect in ((S.NOT_FOUND, Complete), (S.UNAVAILABLE, Release), (S.INTERNAL, MarkUnknown)):
        story = sent(tell)

        (settled,) = story.on(trailers_only(of))

        assert isinstance(settled, effect)
        assert story.on(KEPT)[0] == NO_MORE


def test_trailers_only_are_recorded_as_a_head(tell: Teller) -> None:
    record = record_of(*sent(tell).on(trailers_only(S.NOT_FOUND)))

    assert (record.headers, record.body, record.trailers) == ((*GRPC, *status(S.NOT_FOUND)), b"", ())
    assert record.replayable


def test_a_status_in_a_head_that_ends_later_is_the_status_where_the_trailers_have_none(tell: Teller) -> None:
    for last in (ResponseBody(b"", end_of_stream=True), ResponseTrailers(())):
        story = sent(tell, answer(200, (*GRPC, *status(S.UNAVAILABLE))))

        assert story.on(last) == (Release(story.held()),)


def test_a_number_that_is_no_status_is_unknown(tell: Teller) -> None:
    story = sent(tell, RESPONSE)

    (marked,) = story.on(ResponseTrailers((("grpc-status", b"99"),)))

    assert isinstance(marked, MarkUnknown)


def test_a_policy_overrides_what_a_status_means_and_what_http_means_does_not_count(tell: Teller) -> None:
    rules = OutcomeRules({"grpc:OK": Outcome.RELEASE, "2xx": Outcome.UNKNOWN})
    policy = replace(POLICY, outcomes=rules)
    for last in (ends(S.OK), ends(S.NOT_FOUND)):
        story = tell(policy).after(CALL, CLAIMED, WHOLE, RESPONSE)

        (settled,) = story.on(last)

        assert isinstance(settled, Release if last == ends(S.OK) else Complete)


# --- What comes from others than a gRPC server


def test_a_response_without_a_status_is_unknown_as_it_is_to_its_client(tell: Teller) -> None:
    for last, passed in (
        (ResponseBody(b"", end_of_stream=True), PassResponseBody()),
        (ResponseTrailers((("x", b"1"),)), PassResponseTrailers()),
    ):
        story = sent(tell, RESPONSE, ANSWER)

        (marked,) = story.on(last)
        assert isinstance(marked, MarkUnknown)
        assert marked.reason is UnknownReason.UPSTREAM_STATUS
        assert story.on(KEPT) == (passed, story.outcome(Outcome.UNKNOWN, "grpc-status"))


def test_another_http_status_is_judged_at_once_whatever_status_of_grpc_comes_with_it(tell: Teller) -> None:
    for code, effect in ((503, Release), (502, MarkUnknown)):
        story = sent(tell)

        (settled,) = story.on(answer(code, status(S.OK)))

        assert isinstance(settled, effect)
    assert record_of(*sent(tell).on(answer(404, status(S.UNAVAILABLE), body=False))).status == 404


def test_a_page_of_an_announced_length_is_held_at_its_last_byte_and_a_message_is_not(tell: Teller) -> None:
    # What has no trailers may end without a word; what has them would wait for ever for what it holds.
    length: Fields = (("content-length", b"9"),)
    page = sent(tell, answer(404, length))
    message = sent(tell, answer(200, (*GRPC, *length)))

    assert record_of(*page.on(ResponseBody(b"<p>no</p>", end_of_stream=False))).status == 404
    assert message.on(ANSWER) == (PassResponseBody(),)
    assert record_of(*message.on(ends(S.OK))).replayable


def test_a_reply_of_envoys_own_is_judged_by_whether_the_call_was_sent(tell: Teller) -> None:
    for origin, effect in ((REFUSED, Release), (TIMEOUT, MarkUnknown)):
        story = sent(tell)

        (settled,) = story.on(trailers_only(S.UNAVAILABLE, origin=origin))

        assert isinstance(settled, effect)
    behind = Origin("direct_response", 0, None, 0)
    story = sent(tell)
    assert story.on(answer(200, GRPC, origin=behind)) == (Release(story.held()),)


def test_where_nobody_says_whose_a_response_is_unavailable_is_unknown(tell: Teller) -> None:
    for of, effect in ((S.UNAVAILABLE, MarkUnknown), (S.RESOURCE_EXHAUSTED, Release), (S.OK, Complete)):
        (settled,) = sent(tell).on(trailers_only(of, origin=Origin()))

        assert isinstance(settled, effect)


# --- A message is enough for an upstream to act


def test_a_client_that_leaves_after_its_message_leaves_the_outcome_unknown(tell: Teller) -> None:
    story = tell().after(CALL, CLAIMED)

    assert story.on(RequestBody(MESSAGE, end_of_stream=False)) == (PassRequestBody(),)
    assert story.state() is State.AWAITING_RESPONSE
    (marked,) = story.on(ENDED)
    assert isinstance(marked, MarkUnknown)
    assert marked.reason is UnknownReason.LOST_BEFORE_RESPONSE


def test_a_client_that_leaves_within_its_message_releases_the_key(tell: Teller) -> None:
    story = tell().after(CALL, CLAIMED, RequestBody(MESSAGE[:-1], end_of_stream=False))

    assert story.on(ENDED) == (Release(story.held()),)


def test_an_end_that_comes_apart_from_the_message_is_no_stream(tell: Teller) -> None:
    apart = RequestBody(MESSAGE, end_of_stream=False)
    for end, passed in (
        (RequestBody(b"", end_of_stream=True), PassRequestBody()),
        (RequestTrailers(), PassRequestTrailers()),
    ):
        story = tell().after(CALL, CLAIMED, apart)

        assert story.on(end) == (passed,)
        record = record_of(*story.after(RESPONSE, ANSWER).on(ends(S.OK)))
        assert (record.fingerprint, record.replayable) == (OF_CALL, True)


def test_a_message_of_an_announced_length_has_ended_with_its_last_byte(tell: Teller) -> None:
    sized = head((*GRPC_WITH_KEY, ("content-length", b"%d" % len(MESSAGE))))
    story = tell().after(sized, CLAIMED, RequestBody(MESSAGE, end_of_stream=False), RESPONSE, ANSWER)

    assert record_of(*story.on(ends(S.OK))).replayable


def test_a_request_of_nothing_but_trailers_is_a_call_without_a_message(tell: Teller) -> None:
    story = tell().after(CALL, CLAIMED)

    assert story.on(RequestTrailers()) == (PassRequestTrailers(),)
    assert record_of(*story.on(trailers_only(S.INVALID_ARGUMENT))).fingerprint == fingerprint(CALL)


def test_a_call_without_a_body_is_judged_like_any_other(tell: Teller) -> None:
    bare = head(GRPC_WITH_KEY, body=False)
    story = tell().after(bare, CLAIMED)

    assert record_of(*story.on(trailers_only(S.INVALID_ARGUMENT))).replayable


# --- It is given again


def test_a_duplicate_is_given_the_recorded_response_as_a_calls(tell: Teller) -> None:
    kept = recorded(framed(b"paid"), of=OF_CALL, headers=GRPC, trailers=status(S.OK))
    story = tell().after(CALL, kept)

    assert story.seen[-1] == ReadRequestBody()
    reply, counted = story.on(WHOLE)
    assert reply == Reply(
        201,
        (*GRPC, ("idempotent-replayed", b"true")),
        framed(b"paid"),
        "idempotency_replayed",
        status(S.OK),
        to_call=True,
    )
    assert counted == story.count("replayed")


def test_a_duplicate_whose_end_comes_apart_is_compared_at_its_end(tell: Teller) -> None:
    story = tell().after(CALL, recorded(of=OF_CALL, headers=GRPC))

    assert story.on(RequestBody(MESSAGE, end_of_stream=False)) == ()
    assert story.on(RequestBody(b"", end_of_stream=True))[1] == story.count("replayed")


def test_another_message_is_refused_without_waiting_for_the_end_of_the_request(tell: Teller) -> None:
    for pieces in ((framed(b"other"),), (MESSAGE, framed(b"more")), (MESSAGE[:4], MESSAGE[4:], b"\x00")):
        story = tell().after(CALL, recorded(of=OF_CALL, headers=GRPC))
        for piece in pieces:
            story.on(RequestBody(piece, end_of_stream=False))

        assert_aborted(story, S.FAILED_PRECONDITION, "key-reused")


def test_what_was_recorded_of_a_call_but_not_kept_is_told_by_its_own_status(tell: Teller) -> None:
    lost = recorded(b"", of=None, headers=GRPC, trailers=status(S.OK), replayable=False)

    text = assert_aborted(tell().after(CALL, lost), S.FAILED_PRECONDITION, "response-not-stored")

    assert "with status OK" in text


def test_repeated_binary_metadata_or_cookies_cannot_be_given_again(tell: Teller) -> None:
    keeping = replace(POLICY, exclude_response_headers=frozenset())
    for name in ("x-proof-bin", "set-cookie"):
        twice: Fields = ((name, b"YQ=="), (name, b"Yg=="))
        for response, last in (
            (answer(200, (*GRPC, *twice)), ends(S.OK)),
            (RESPONSE, ends(S.OK, *twice)),
        ):
            story = tell(keeping).after(CALL, CLAIMED, WHOLE, response, ANSWER)

            record = record_of(*story.on(last))

            assert (record.replayable, record.fingerprint, record.body) == (False, OF_CALL, b"")
    once = tell(keeping).after(CALL, CLAIMED, WHOLE, answer(200, (*GRPC, ("x-bin", b"YQ=="))), ANSWER)
    assert record_of(*once.on(ends(S.OK, ("x-bin", b"YQ=="), ("x", b"1"), ("x", b"2")))).replayable


# --- Refusals


def assert_aborted(story: Story, status_: GrpcStatus, kind: str, *metadata: tuple[str, bytes]) -> str:
    """The call ended in this error, was counted so, and is over; returns the text of its message."""
    reply = the_reply(story)
    assert (reply.status, reply.to_call, reply.grpc_status) == (200, True, status_)
    assert reply.headers == metadata
    assert reply.details == f"idempotency_{kind.replace('-', '_')}"
    assert reply.body.startswith(f"urn:idempotency:{kind}: ".encode())
    assert story.seen.count(story.count(kind.replace("-", "_"))) == 1
    assert story.state() is State.ANSWERED
    return reply.body.decode()


PUSHBACK = ("grpc-retry-pushback-ms", b"1000")


def test_a_refusal_is_a_status_of_grpc_with_the_type_in_its_message(tell: Teller) -> None:
    lease_expired = Unknown(1, UnknownReason.LEASE_EXPIRED)
    precondition = S.FAILED_PRECONDITION

    assert_aborted(tell().after(CALL, InFlight(1)), S.ABORTED, "in-progress", PUSHBACK)
    assert_aborted(tell().after(CALL, lease_expired), precondition, "outcome-unknown")
    assert_aborted(tell().after(CALL, Expired()), precondition, "key-expired")
    unavailable = tell().after(CALL, ClaimFailed(unavailable=True, asked=False))
    assert_aborted(unavailable, S.UNAVAILABLE, "store-unavailable", PUSHBACK)
    mangled = head((*GRPC, ("idempotency-key", b"a,b")))
    assert_aborted(tell().after(mangled), S.INVALID_ARGUMENT, "key-invalid")


def test_a_refusal_tells_when_to_retry_and_where_to_read_in_its_metadata(tell: Teller) -> None:
    busy = replace(POLICY, in_progress=InProgress(429, 7), docs_url="https://docs.example")
    link = ("link", b'<https://docs.example>; rel="describedby"')
    required = replace(busy, key=KeySource(required=True))

    story = tell(busy).after(CALL, InFlight(1))
    assert_aborted(story, S.ABORTED, "in-progress", ("grpc-retry-pushback-ms", b"7000"), link)
    assert_aborted(tell(required).after(head(GRPC)), S.INVALID_ARGUMENT, "key-missing", link)


def test_a_call_with_a_key_cannot_be_executed_detached_and_one_without_passes(tell: Teller) -> None:
    text = assert_aborted(tell(DETACHED).after(CALL), S.UNIMPLEMENTED, "key-invalid")

    assert "execution: detached" in text
    assert tell(DETACHED).after(head(GRPC)).state() is State.PASSING


# --- Under `unknown: retry`


def test_the_message_is_held_until_its_fingerprint_is_noted(tell: Teller) -> None:
    story = tell(RETRYING).after(CALL, CLAIMED)

    assert story.on(WHOLE)[0] == NoteFingerprint(story.held(), OF_CALL)
    assert story.on(NOTED) == (PassRequestBody(),)
    assert story.state() is State.AWAITING_RESPONSE


def test_an_end_that_comes_apart_while_the_message_is_noted_makes_it_comparable_after_all(
    tell: Teller,
) -> None:
    apart = RequestBody(MESSAGE, end_of_stream=False)
    for end, passed in (
        (RequestBody(b"", end_of_stream=True), PassRequestBody()),
        (RequestTrailers(), PassRequestTrailers()),
    ):
        story = tell(RETRYING).after(CALL, CLAIMED)

        assert story.on(apart)[0] == NoteFingerprint(story.held(), UNCOMPARABLE)
        assert story.on(end) == ()
        assert story.on(NOTED) == (NoteFingerprint(story.held(), OF_CALL), RenewLater(10_000))
        assert story.on(NOTED) == (PassRequestBody(), passed)
        assert story.on(ENDED) == (MarkUnknown(story.held(), UnknownReason.LOST_BEFORE_RESPONSE, OF_CALL),)


def test_nothing_of_a_message_goes_where_its_second_note_is_not_kept(tell: Teller) -> None:
    for heard, code in ((NotingFailed(), S.UNAVAILABLE), (Noted(held=False), S.ABORTED)):
        apart = (RequestBody(MESSAGE, end_of_stream=False), RequestBody(b"", end_of_stream=True))
        story = tell(RETRYING).after(CALL, CLAIMED, *apart, NOTED)

        reply, dropped = story.on(heard)

        assert isinstance(reply, Reply)
        assert (reply.grpc_status, dropped) == (code, Release(story.held()))
        assert story.state() is State.ANSWERED


def test_a_takeover_with_the_same_message_goes_on_and_with_another_is_refused_at_once(tell: Teller) -> None:
    same = tell(RETRYING).after(CALL, taken_over(OF_CALL), WHOLE)
    other = tell(RETRYING).after(CALL, taken_over(OF_CALL))

    assert same.state() is State.AWAITING_RESPONSE
    other.on(RequestBody(framed(b"other"), end_of_stream=False))
    assert first(the_reply(other).headers, "grpc-retry-pushback-ms") is None
    assert the_reply(other).grpc_status is S.FAILED_PRECONDITION
    assert other.state() is State.ANSWERED


def test_a_takeover_whose_end_comes_apart_is_compared_at_its_end_and_is_no_stream(tell: Teller) -> None:
    for end in (RequestBody(b"", end_of_stream=True), RequestTrailers()):
        story = tell(RETRYING).after(CALL, taken_over(OF_CALL))

        assert story.on(RequestBody(MESSAGE, end_of_stream=False)) == ()
        story.on(end)
        assert story.state() is State.AWAITING_RESPONSE
        assert record_of(*story.after(RESPONSE, ANSWER).on(ends(S.OK))).replayable


def test_a_store_that_cannot_note_makes_the_call_unavailable_and_nothing_was_sent(tell: Teller) -> None:
    story = tell(RETRYING).after(CALL, CLAIMED, WHOLE)

    reply, released = story.on(NotingFailed())

    assert isinstance(reply, Reply)
    assert (reply.grpc_status, reply.headers) == (S.UNAVAILABLE, (PUSHBACK,))
    assert released == Release(story.held())
