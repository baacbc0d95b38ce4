"""Stories of requests that are read before they are claimed: their key is in the body, or made of it.

And of those whose body counts by its meaning: they are claimed by their head, and held until they are whole.
"""

from dataclasses import replace

import pytest

from sidecar.exchange.effects import (
    ExtendTimeout,
    ForwardHeld,
    ForwardRequest,
    HoldRequest,
    PassHeld,
    PassRequest,
    PassResponseHeaders,
    ReadRequestBody,
    Release,
    Reply,
    TakeClaim,
)
from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    InFlight,
    OwnerGone,
    RequestBody,
    RequestTrailers,
)
from sidecar.exchange.states import State
from sidecar.idempotency import json_text
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.policy import BodyMode, Execution, FingerprintSpec, InProgress, KeyPlace, KeySource
from tests.unit.exchange.scenes import (
    CLAIMED,
    ENDED,
    GRPC,
    POLICY,
    UPSTREAM,
    WITHOUT_KEY,
    Story,
    Teller,
    answer,
    assert_refused,
    fingerprint,
    head,
    recorded,
    replies,
    the_reply,
)

IN_BODY = KeySource("/params/_meta/key", KeyPlace.JSON, Pointer.parse("/params/_meta/key"))
KEYED = replace(POLICY, key=IN_BODY, max_request_body=64)
DERIVED = replace(POLICY, key=KeySource("", KeyPlace.DERIVED))
BY_MEANING = replace(POLICY, fingerprint=FingerprintSpec(BodyMode.JSON), max_request_body=64)
CALL = b'{"params": {"_meta": {"key": "k1"}}}'
HELD = head(WITHOUT_KEY)


def whole(body: bytes = CALL) -> RequestBody:
    """A body in one piece."""
    return RequestBody(body, end_of_stream=True)


def read(tell: Teller, body: bytes = CALL) -> Story:
    """A request that was read to its end, and is being claimed."""
    return tell(KEYED).after(HELD, whole(body))


def test_the_body_is_read_before_anything_is_claimed_and_forwarded_with_its_head(tell: Teller) -> None:
    story = tell(KEYED)

    assert story.on(HELD) == (HoldRequest(),)
    assert story.on(RequestBody(CALL[:9], end_of_stream=False)) == ()
    assert story.state() is State.READING
    (claim,) = story.on(whole(CALL[9:]))
    assert isinstance(claim, TakeClaim)
    assert story.on(CLAIMED)[0] == ForwardHeld(1, CALL, has_trailers=False)
    assert story.on(answer())[0] == PassResponseHeaders(more=True)


def test_trailers_end_the_body_and_are_forwarded(tell: Teller) -> None:
    story = tell(KEYED).after(HELD, RequestBody(CALL, end_of_stream=False), RequestTrailers())

    assert story.on(CLAIMED)[0] == ForwardHeld(1, CALL, has_trailers=True)


def test_a_body_without_the_member_passes_as_it_came_and_is_not_looked_at_again(tell: Teller) -> None:
    attempt: Fields = (*WITHOUT_KEY, ("idempotency-attempt", b"9"))
    story = tell(KEYED).after(head(attempt))

    assert story.on(whole(b"{}")) == (PassHeld(b"{}", has_trailers=False, remove=("idempotency-attempt",)),)
    assert story.state() is State.PASSING


def test_trailers_behind_a_body_without_the_member_pass_with_it(tell: Teller) -> None:
    story = tell(KEYED).after(HELD, RequestBody(b"{}", end_of_stream=False))

    assert story.on(RequestTrailers()) == (PassHeld(b"{}", has_trailers=True),)


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        (b'{"params": {"_meta": {"key": 1}}}', "key-invalid"),
        (b'{"params": {"_meta": {"key": ""}}}', "key-invalid"),
        (b'{"params": ', "body-invalid"),
    ],
)
def test_a_body_that_cannot_have_a_key_is_refused(body: bytes, type_: str) -> None:
    assert_refused(read(Teller(), body), 400, type_)


def test_a_required_key_that_is_missing_is_refused(tell: Teller) -> None:
    required = replace(KEYED, key=replace(IN_BODY, required=True))

    assert_refused(tell(required).after(HELD, whole(b"{}")), 400, "key-missing")
    assert_refused(
        tell(required).after(HELD, RequestBody(b"[]", end_of_stream=False), RequestTrailers()),
        400,
        "key-missing",
    )
    assert_refused(tell(required).after(head(WITHOUT_KEY, body=False)), 400, "key-missing")


def test_a_body_that_is_no_json_is_not_even_read(tell: Teller) -> None:
    story = tell(KEYED)

    assert story.on(head((("content-type", b"image/png"),))) == (PassRequest(),)


def test_a_body_of_json_by_another_name_or_by_none_is_read(tell: Teller) -> None:
    for content_type in (b"", b"application/json-rpc", b"application/jsonrequest"):
        assert tell(KEYED).on(head((("content-type", content_type),))) == (HoldRequest(),)


def test_a_larger_body_than_may_be_held_is_refused_before_anything_is_claimed(tell: Teller) -> None:
    story = tell(KEYED).after(HELD, RequestBody(b" " * 65, end_of_stream=False))

    assert_refused(story, 413, "body-too-large")
    assert replies(story.seen, TakeClaim) == []


def test_what_has_to_be_parsed_has_a_limit_of_its_own() -> None:
    generous = replace(KEYED, max_request_body=1 << 30)
    story = Teller()(generous).after(HELD, RequestBody(b" " * (json_text.MAX_BYTES + 1), end_of_stream=False))

    assert_refused(story, 413, "body-too-large")


def test_a_client_that_leaves_while_it_is_read_leaves_nothing_behind(tell: Teller) -> None:
    story = tell(KEYED).after(HELD, ENDED)

    assert story.state() is State.CLOSED
    assert replies(story.seen, TakeClaim) == []


def test_envoys_own_answer_while_it_is_read_passes(tell: Teller) -> None:
    story = tell(KEYED).after(HELD)

    assert story.on(answer(408, origin=UPSTREAM)) == (PassResponseHeaders(more=False),)
    assert story.state() is State.PASSING


def test_a_duplicate_that_was_read_is_answered_at_once(tell: Teller) -> None:
    of = fingerprint(HELD, CALL, policy=KEYED)

    assert isinstance(read(tell).on(recorded(of=of))[0], Reply)


def test_a_duplicate_of_another_payload_is_refused(tell: Teller) -> None:
    story = read(tell).after(recorded(of=b"f" * 32))

    assert_refused(story, 422, "key-reused")


def test_a_duplicate_that_was_read_waits_without_asking_envoy_to(tell: Teller) -> None:
    waiting = replace(KEYED, in_progress=InProgress(wait_ms=10_000))
    story = tell(waiting).after(HELD, whole())

    assert replies(story.on(InFlight(1)), ExtendTimeout) == []
    assert story.after(OwnerGone(), CLAIMED).state() is State.AWAITING_RESPONSE


def test_a_request_that_was_read_is_bypassed_whole(tell: Teller) -> None:
    story = tell(KEYED, bypass=True).after(HELD, whole())

    assert PassHeld(CALL, has_trailers=False) in story.on(ClaimFailed(unavailable=True))


def test_a_detached_request_that_was_read_is_executed_at_once(tell: Teller) -> None:
    detached = replace(KEYED, execution=Execution.DETACHED)

    assert tell(detached).after(HELD, whole(), CLAIMED).state() is State.EXECUTING


# --- Derived


def test_equal_requests_have_one_id_and_others_have_another(tell: Teller) -> None:
    def id_of(body: bytes, target: str = "/pay") -> str:
        story = tell(DERIVED).after(head(WITHOUT_KEY, target=target), whole(body))
        assert story.claim is not None
        return story.claim.id

    assert id_of(b"a") == id_of(b"a")
    assert len({id_of(b"a"), id_of(b"b"), id_of(b"a", "/other"), id_of(b"a", "/pay?x=1")}) == 4


def test_a_request_without_a_body_is_derived_from_its_head(tell: Teller) -> None:
    story = tell(DERIVED).after(head(WITHOUT_KEY, body=False))

    assert story.state() is State.CLAIMING
    assert story.on(CLAIMED)[0] == ForwardRequest(1, has_body=False)


def test_a_derived_key_is_made_of_what_a_json_body_means(tell: Teller) -> None:
    by_meaning = replace(DERIVED, fingerprint=FingerprintSpec(BodyMode.JSON, omit=(Pointer.parse("/at"),)))

    def id_of(body: bytes) -> str:
        story = tell(by_meaning).after(HELD, whole(body))
        assert story.claim is not None
        return story.claim.id

    assert id_of(b'{"a": 1, "b": 2, "at": 3}') == id_of(b'{"b":2,"a":1.0}')
    assert id_of(b'{"a": 1}') != id_of(b'{"a": 2}')


def test_a_derived_key_of_a_body_that_is_no_json_is_refused(tell: Teller) -> None:
    by_meaning = replace(DERIVED, fingerprint=FingerprintSpec(BodyMode.JSON))

    assert_refused(tell(by_meaning).after(HELD, whole(b"{")), 400, "body-invalid")


def test_a_grpc_call_is_told_that_its_policy_is_not_for_it(tell: Teller) -> None:
    reply = the_reply(tell(DERIVED).after(head(GRPC)))

    assert b"key.from: derived" in reply.body


# --- A body that counts by its meaning


def test_such_a_request_is_claimed_by_its_head_and_held_until_it_is_whole(tell: Teller) -> None:
    story = tell(BY_MEANING).after(head())

    assert story.on(CLAIMED)[0] == HoldRequest()
    assert story.state() is State.HOLDING
    assert story.on(whole(b'{"a": 1}'))[0] == ForwardHeld(1, b'{"a": 1}', has_trailers=False)


def test_another_spelling_of_the_same_payload_is_a_duplicate(tell: Teller) -> None:
    of = fingerprint(head(), b'{"a": 1, "b": [1.0]}', policy=BY_MEANING)
    story = tell(BY_MEANING).after(head())

    assert story.on(recorded(of=of)) == (ReadRequestBody(),)
    assert isinstance(story.on(whole(b'{"b":[1],"a":1}'))[0], Reply)


def test_malformed_json_is_refused_and_its_claim_let_go(tell: Teller) -> None:
    story = tell(BY_MEANING).after(head(), CLAIMED, whole(b'{"a": '))

    assert replies(story.seen, Release) == [Release(story.held())]
    assert replies(story.seen, ForwardHeld) == []
    assert b"cannot be read as JSON" in the_reply(story).body


def test_a_duplicate_that_is_no_json_is_refused(tell: Teller) -> None:
    of = fingerprint(head(), b"{}", policy=BY_MEANING)

    assert_refused(tell(BY_MEANING).after(head(), recorded(of=of), whole(b"{")), 400, "body-invalid")


def test_a_duplicate_too_large_to_be_parsed_is_refused(tell: Teller) -> None:
    of = fingerprint(head(), b"{}", policy=BY_MEANING)
    story = tell(BY_MEANING).after(head(), recorded(of=of))

    assert_refused(story.after(RequestBody(b" " * 65, end_of_stream=False)), 413, "body-too-large")


def test_a_body_of_another_type_counts_byte_by_byte_and_streams_by(tell: Teller) -> None:
    text: Fields = (("content-type", b"text/plain"), ("idempotency-key", b'"k1"'))
    story = tell(BY_MEANING).after(head(text))

    assert story.on(CLAIMED)[0] == ForwardRequest(1, has_body=True)


def test_a_request_without_a_body_is_forwarded_at_once(tell: Teller) -> None:
    assert tell(BY_MEANING).after(head(body=False)).on(Claimed(1))[0] == ForwardRequest(1, has_body=False)
