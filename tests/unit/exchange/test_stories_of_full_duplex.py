"""Stories of bodies in full duplex: handed over before anything is decided, held if need be, and echoed."""

from msgspec.structs import replace

from sidecar.exchange.duplex import HELD_BYTES, PIECE_COST
from sidecar.exchange.effects import (
    BreakOff,
    EchoRequestBody,
    EchoResponseBody,
    Execute,
    FetchPiece,
    ForwardHeld,
    ForwardRequest,
    MarkUnknown,
    NoteFingerprint,
    PassRequest,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    RenewLater,
    Reply,
    ReplyAtOnce,
    WaitAtMost,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Event,
    Executed,
    InFlight,
    Noted,
    NotingFailed,
    OwnerGone,
    PieceFetched,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseTrailers,
    WaitOver,
)
from sidecar.exchange.machine import ProtocolViolation
from sidecar.exchange.states import State
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.fields import Fields
from tests.unit.exchange.scenes import (
    CLAIMED,
    DETACHED,
    ENDED,
    GRPC_WITH_KEY,
    KEPT,
    LARGE,
    LAST_PIECE,
    MORE_COMES,
    NO_MORE,
    PIECE,
    RETRYING,
    TIMEOUT,
    UPSTREAM,
    WAITING,
    WITH_KEY,
    WITHOUT_KEY,
    Story,
    Teller,
    answer,
    assert_refused,
    executed,
    fingerprint,
    framed,
    head,
    record_of,
    recorded,
    replies,
    taken_over,
    the_reply,
)

ECHOED = EchoRequestBody(b"x", end_of_stream=False)
LAST_ECHOED = EchoRequestBody(b"yz", end_of_stream=True)
OF_PIECES = fingerprint(head(), b"x", b"yz")
DONE = ResponseBody(b"done", end_of_stream=True)
DONE_ECHOED = EchoResponseBody(b"done", end_of_stream=True)
TYPED: Fields = (("content-type", b"text/plain"),)


def duplex(fields: Fields = WITH_KEY, *, body: bool = True) -> RequestHeaders:
    """The head of a request whose filter is configured as for an Envoy 1.37 to 1.39."""
    return replace(head(fields, body=body), request_duplex=True, response_duplex=True)


def oldest(fields: Fields = WITH_KEY, *, body: bool = True) -> RequestHeaders:
    """The same for an Envoy 1.36: its response is shown as it passes, and no reply can be streamed."""
    return replace(head(fields, body=body), request_duplex=True)


def violates(story: Story, event: Event) -> bool:
    """Whether this is a violation that leaves the exchange as it was."""
    before = story.state()
    try:
        story.on(event)
    except ProtocolViolation:
        return story.state() is before
    return False


# --- Executed


def test_each_piece_is_given_back_once_the_claim_is_held(tell: Teller) -> None:
    story = tell().after(duplex())

    assert story.on(CLAIMED)[0] == ForwardRequest(1, has_body=True)
    assert story.on(PIECE) == (ECHOED,)
    assert story.on(LAST_PIECE) == (LAST_ECHOED,)
    assert story.on(answer()) == (MORE_COMES,)
    assert story.on(ResponseBody(b"do", end_of_stream=False)) == (
        EchoResponseBody(b"do", end_of_stream=False),
    )
    (complete,) = story.on(ResponseBody(b"ne", end_of_stream=True))
    assert record_of(complete).body == b"done"
    assert record_of(complete).fingerprint == OF_PIECES
    assert story.on(KEPT)[0] == EchoResponseBody(b"ne", end_of_stream=True)


def test_pieces_that_come_before_the_claim_is_answered_wait_for_it(tell: Teller) -> None:
    story = tell().after(duplex())

    assert story.on(PIECE) == story.on(LAST_PIECE) == ()
    assert story.state() is State.CLAIMING
    forward, *_, first, last = story.on(CLAIMED)

    assert (forward, first, last) == (ForwardRequest(1, has_body=True), ECHOED, LAST_ECHOED)
    assert story.state() is State.AWAITING_RESPONSE


def test_trailers_that_come_before_the_claim_is_answered_wait_for_it(tell: Teller) -> None:
    story = tell().after(duplex(), PIECE)

    assert story.on(RequestTrailers()) == ()
    assert story.on(CLAIMED)[-2:] == (ECHOED, PassRequestTrailers())


def test_the_last_piece_of_a_response_is_held_and_what_follows_its_length_is_echoed(tell: Teller) -> None:
    sized = answer(fields=(("content-length", b"4"),))
    story = tell().after(duplex(body=False), CLAIMED, sized)

    assert record_of(*story.on(ResponseBody(b"done", end_of_stream=False))).body == b"done"
    assert story.on(ResponseBody(b"", end_of_stream=True)) == ()
    assert replies(story.on(KEPT), EchoResponseBody) == [
        EchoResponseBody(b"done", end_of_stream=False),
        EchoResponseBody(b"", end_of_stream=True),
    ]


def test_a_response_that_is_not_kept_waits_with_its_head_and_then_passes_in_order(tell: Teller) -> None:
    story = tell().after(duplex(body=False), CLAIMED, answer(503))

    assert story.on(ResponseBody(b"a", end_of_stream=False)) == ()
    assert story.on(KEPT)[:2] == (NO_MORE, EchoResponseBody(b"a", end_of_stream=False))
    assert story.on(ResponseBody(b"b", end_of_stream=True)) == (EchoResponseBody(b"b", end_of_stream=True),)


def test_a_response_is_shown_and_not_handed_over_where_only_the_request_is(tell: Teller) -> None:
    story = tell().after(oldest(), CLAIMED, PIECE, LAST_PIECE, answer())

    assert story.on(ResponseBody(b"do", end_of_stream=False)) == (PassResponseBody(),)
    assert story.seen.count(LAST_ECHOED) == 1


def test_a_request_that_needs_no_claim_is_echoed(tell: Teller) -> None:
    for story in (tell().after(duplex(WITHOUT_KEY)), tell(None).after(duplex())):
        assert story.seen == [PassRequest()]
        assert story.on(PIECE) == (ECHOED,)
        assert story.on(RequestTrailers()) == (PassRequestTrailers(),)
        assert story.on(answer()) == (NO_MORE,)
        assert story.on(DONE) == (DONE_ECHOED,)


def test_a_request_that_passes_unprotected_takes_along_what_came_early(tell: Teller) -> None:
    story = tell(bypass=True).after(duplex(), PIECE)

    assert story.on(ClaimFailed(unavailable=True)) == (PassRequest(), story.count("bypassed"), ECHOED)


def test_a_reply_of_envoys_own_that_opens_a_stream_is_echoed(tell: Teller) -> None:
    story = tell().after(answer(404))

    assert story.on(DONE) == (DONE_ECHOED,)


# --- Compared


def test_a_duplicates_body_is_compared_without_being_asked_for(tell: Teller) -> None:
    story = tell().after(duplex())

    assert story.on(recorded(of=OF_PIECES)) == ()
    assert story.state() is State.COMPARING
    assert story.on(PIECE) == ()
    assert story.on(LAST_PIECE)[1] == story.count("replayed")
    assert the_reply(story).body == b"done"


def test_a_body_that_came_before_its_record_is_compared_at_once(tell: Teller) -> None:
    same, other = (tell().after(duplex(), PIECE, LAST_PIECE) for _ in range(2))

    same.on(recorded(of=OF_PIECES))
    other.on(recorded(of=fingerprint(head(), b"something else")))

    assert the_reply(same).body == b"done"
    assert_refused(other, 422, "key-reused")


def test_what_still_comes_after_a_refusal_is_nobodys(tell: Teller) -> None:
    story = tell().after(duplex(), PIECE, InFlight(1))

    assert_refused(story, 409, "in-progress")
    assert story.on(LAST_PIECE) == ()


def test_a_duplicate_that_envoy_gives_up_on_gets_envoys_answer(tell: Teller) -> None:
    story = tell().after(duplex(), recorded(of=OF_PIECES), PIECE)

    assert story.on(answer(408, origin=TIMEOUT)) == (NO_MORE,)
    assert story.on(DONE) == (DONE_ECHOED,)
    assert story.state() is State.PASSING


def test_a_duplicate_waits_with_its_body_and_asks_envoy_for_no_patience(tell: Teller) -> None:
    story = tell(WAITING).after(duplex())

    assert story.on(InFlight(1))[0] == WaitAtMost(10_000)
    assert story.on(PIECE) == story.on(RequestTrailers()) == ()
    assert story.after(OwnerGone()).state() is State.CLAIMING
    story.on(recorded(of=fingerprint(head(), b"x")))
    assert the_reply(story).body == b"done"


def test_a_wait_that_is_over_forgets_the_body(tell: Teller) -> None:
    story = tell(WAITING).after(duplex(), InFlight(1), PIECE, WaitOver())

    assert_refused(story, 409, "in-progress")


# --- Held


def test_a_takeover_is_held_and_forwarded_whole(tell: Teller) -> None:
    story = tell().after(duplex(), PIECE)

    assert story.on(taken_over(OF_PIECES)) == (RenewLater(10_000),)
    assert story.on(LAST_PIECE)[0] == ForwardHeld(2, b"xyz", has_trailers=False)


def test_a_detached_call_takes_its_body_as_it_comes(tell: Teller) -> None:
    story = tell(DETACHED).after(duplex(), PIECE, LAST_PIECE)

    (execute,) = replies(story.on(CLAIMED), Execute)
    assert isinstance(execute, Execute)
    assert execute.body == b"xyz"
    assert story.state() is State.EXECUTING


def test_a_detached_call_without_a_body_asks_envoy_for_no_patience(tell: Teller) -> None:
    story = tell(DETACHED).after(duplex(body=False))

    assert isinstance(story.on(CLAIMED)[0], Execute)


def test_the_fingerprint_is_noted_before_the_last_piece_is_given_back(tell: Teller) -> None:
    story = tell(RETRYING).after(duplex(), PIECE, LAST_PIECE)

    *_, echoed, note, _ = story.on(CLAIMED)
    assert (echoed, note) == (ECHOED, NoteFingerprint(story.held(), OF_PIECES))
    assert story.on(Noted(held=True)) == (LAST_ECHOED,)


def test_what_follows_the_whole_length_is_held_with_it(tell: Teller) -> None:
    sized = duplex((*WITH_KEY, ("content-length", b"1")))
    story = tell(RETRYING).after(sized, PIECE, RequestBody(b"", end_of_stream=True), CLAIMED)

    assert story.state() is State.NOTING
    assert story.on(Noted(held=True)) == (ECHOED, EchoRequestBody(b"", end_of_stream=True))


def early_answer(tell: Teller) -> Story:
    """An upstream has answered before the request had ended, and that is being noted."""
    return tell(RETRYING).after(duplex(), CLAIMED, PIECE, answer())


def test_the_body_of_an_early_answer_waits_until_that_is_noted(tell: Teller) -> None:
    story = early_answer(tell)

    assert story.on(ResponseBody(b"do", end_of_stream=False)) == ()
    assert story.on(ResponseTrailers(())) == ()
    passed, piece, complete = story.on(Noted(held=True))

    assert (passed, piece) == (MORE_COMES, EchoResponseBody(b"do", end_of_stream=False))
    assert record_of(complete).body == b""  # of a request that nobody saw whole nothing is given again
    assert story.on(KEPT)[0] == PassResponseTrailers()


def test_an_early_answer_whose_stream_ends_while_that_is_noted_is_unknown(tell: Teller) -> None:
    story = early_answer(tell).after(ResponseBody(b"do", end_of_stream=False))

    (lost,) = story.on(ENDED)
    assert isinstance(lost, MarkUnknown)
    assert lost.reason is UnknownReason.LOST_MID_RESPONSE


# --- Bounded


def large(size: int, *, last: bool = False) -> RequestBody:
    return RequestBody(b"x" * size, end_of_stream=last)


def test_an_exchange_that_holds_much_is_full_until_it_has_let_go(tell: Teller) -> None:
    story = tell().after(duplex(), large(HELD_BYTES - PIECE_COST))
    assert not story.exchange.is_full

    assert story.after(PIECE).exchange.is_full
    assert not story.after(CLAIMED).exchange.is_full


def test_many_small_pieces_fill_an_exchange_too(tell: Teller) -> None:
    story = tell().after(duplex())

    story.after(*[RequestBody(b"", end_of_stream=False)] * (HELD_BYTES // PIECE_COST))

    assert not story.exchange.is_full
    assert story.after(PIECE).exchange.is_full


def test_a_response_that_waits_for_the_store_fills_an_exchange(tell: Teller) -> None:
    story = tell().after(duplex(body=False), CLAIMED, answer(503))

    story.after(ResponseBody(b"x" * HELD_BYTES, end_of_stream=False))

    assert story.exchange.is_full
    assert not story.after(KEPT).exchange.is_full


def test_messages_that_follow_one_being_noted_fill_an_exchange(tell: Teller) -> None:
    call = duplex(GRPC_WITH_KEY)
    story = tell(RETRYING).after(call, RequestBody(framed(b"m"), end_of_stream=False), CLAIMED)

    story.after(RequestBody(framed(b"x" * HELD_BYTES), end_of_stream=False))

    assert (story.state(), story.exchange.is_full) == (State.NOTING, True)
    assert not story.after(Noted(held=True)).exchange.is_full


def test_an_exchange_that_is_refused_lets_go_of_what_it_holds_and_is_full_no_more(tell: Teller) -> None:
    for refusal in (NotingFailed(), Noted(held=False)):
        call = duplex(GRPC_WITH_KEY)
        story = tell(RETRYING).after(call, RequestBody(framed(b"m"), end_of_stream=False), CLAIMED)
        story.after(RequestBody(framed(b"x" * HELD_BYTES), end_of_stream=False))
        assert story.exchange.is_full

        assert not story.after(refusal).exchange.is_full


def test_an_exchange_whose_body_only_passes_is_never_full(tell: Teller) -> None:
    story = tell().after(duplex(), CLAIMED)

    story.after(*[large(HELD_BYTES)] * 3)

    assert not story.exchange.is_full


# --- Broken


def test_envoys_own_answer_to_what_is_held_here_ends_the_stream(tell: Teller) -> None:
    claiming, waiting = tell().after(duplex()), tell(WAITING).after(duplex(), InFlight(1))
    executing = tell(DETACHED).after(duplex(body=False), CLAIMED)
    replying = tell().after(duplex(body=False), recorded(LARGE, of=None))

    for story in (claiming, waiting, executing, replying):
        before = story.state()
        assert story.on(answer(408, origin=TIMEOUT)) == (BreakOff("Envoy has answered the request itself"),)
        assert story.state() is before
    ends = [story.after(ENDED).state() for story in (claiming, waiting, executing, replying)]
    assert ends == [State.ABANDONED, State.CLOSED, State.EXECUTING_ALONE, State.CLOSED]


def test_envoys_own_answer_while_a_detached_one_is_kept_ends_the_stream(tell: Teller) -> None:
    story = tell(DETACHED).after(duplex(body=False), CLAIMED, executed())

    assert story.on(answer(408, origin=TIMEOUT)) == (BreakOff("Envoy has answered the request itself"),)
    assert story.after(ENDED).state() is State.SETTLING_ALONE


def test_envoys_own_answer_that_crosses_ours_is_nobodys(tell: Teller) -> None:
    story = tell(DETACHED).after(duplex(body=False), CLAIMED, executed(), KEPT)

    assert story.on(answer(408, origin=TIMEOUT)) == ()


def test_a_client_that_leaves_early_takes_its_body_along(tell: Teller) -> None:
    story = tell().after(duplex(), PIECE, ENDED)

    assert story.state() is State.ABANDONED
    (released,) = story.on(CLAIMED)
    assert released == story.seen[-1]
    assert story.state() is State.SETTLING_ALONE


def test_a_body_that_comes_before_its_time_is_a_violation_elsewhere(tell: Teller) -> None:
    assert violates(tell().after(head()), PIECE)
    assert violates(tell().after(head()), RequestTrailers())
    assert violates(tell(WAITING).after(head(), InFlight(1)), PIECE)


def test_what_follows_the_end_of_a_body_is_a_violation(tell: Teller) -> None:
    assert violates(tell().after(duplex(body=False)), PIECE)
    assert violates(tell().after(duplex(), LAST_PIECE), PIECE)
    assert violates(tell().after(duplex(), RequestTrailers()), PIECE)


def test_a_response_body_without_a_head_is_a_violation(tell: Teller) -> None:
    story = tell(RETRYING).after(duplex(), CLAIMED, LAST_PIECE)

    assert violates(story, DONE)
    assert violates(story, ResponseTrailers(()))


# --- What an Envoy that streams no reply can be answered with


def test_a_plain_response_is_replayed(tell: Teller) -> None:
    story = tell().after(oldest(body=False), recorded(of=None, headers=TYPED))

    assert the_reply(story).status == 201


def test_what_only_a_streamed_reply_could_give_is_refused_as_not_stored(tell: Teller) -> None:
    untyped = tell().after(oldest(body=False), recorded(of=None))
    with_trailers = tell().after(
        oldest(body=False), recorded(of=None, headers=TYPED, trailers=(("a", b"b"),))
    )

    for story in (untyped, with_trailers):
        reply = assert_refused(story, 409, "response-not-stored")
        assert b'"original_status": 201' in reply.body
        assert b"too old to give that response again" in reply.body


def test_a_grpc_call_is_refused_as_not_stored_with_what_it_ended_in(tell: Teller) -> None:
    ended = recorded(b"", of=None, trailers=(("grpc-status", b"5"),))
    story = tell().after(oldest(GRPC_WITH_KEY, body=False), ended)

    reply = the_reply(story)
    assert reply.grpc_status == 9  # FAILED_PRECONDITION
    assert reply.body.startswith(b"urn:idempotency:response-not-stored: ")
    assert b"status NOT_FOUND" in reply.body


def test_a_large_response_is_replayed_in_one_message(tell: Teller) -> None:
    story = tell().after(oldest(body=False), recorded(LARGE, of=None, headers=TYPED))
    pieces = [PieceFetched(b"x" * 8), PieceFetched(b"y" * 8)]

    assert [type(effect) for piece in pieces for effect in story.on(piece)] == [FetchPiece] * 2
    at_once, counted = story.on(PieceFetched(b"z" * 4))

    assert isinstance(at_once, ReplyAtOnce)
    assert at_once.body.size == LARGE.size
    assert counted == story.count("replayed")


def test_a_detached_answer_that_needs_a_stream_is_kept_and_refused_as_not_stored(tell: Teller) -> None:
    plain, with_trailers = (tell(DETACHED).after(oldest(body=False), CLAIMED) for _ in range(2))
    kept = plain.on(replace(executed(), headers=TYPED))
    record = record_of(
        *with_trailers.on(Executed(201, TYPED, b"done", trailers=(("a", b"b"),), origin=UPSTREAM))
    )

    assert record_of(*kept).replayable
    assert [reply.body for reply in plain.on(KEPT) if isinstance(reply, Reply)] == [b"done"]
    assert record.replayable  # another Envoy can give it
    (reply,) = [effect for effect in with_trailers.on(KEPT) if isinstance(effect, Reply)]
    assert (reply.status, b"response-not-stored" in reply.body) == (409, True)


def test_a_mark_of_a_replay_is_taken_off_whatever_the_mode(tell: Teller) -> None:
    story = tell().after(duplex(body=False), CLAIMED)

    assert story.on(answer(fields=(("idempotent-replayed", b"true"),))) == (
        PassResponseHeaders(more=True, remove=("idempotent-replayed",)),
    )
