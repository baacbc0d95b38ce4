"""The states of an exchange and, in one table, every transition between them.

`TABLE[(state, event type)]` names the action of `machine.Exchange` that carries the transition out and the
states it may lead to. What is not in the table is a protocol violation: the machine raises, the stream is
failed, and Envoy fails closed. `docs/exchange.md` is generated from this table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from sidecar.exchange.events import (
    Claimed,
    ClaimFailed,
    Event,
    Executed,
    ExecutionFailed,
    Expired,
    InFlight,
    Noted,
    NotingFailed,
    OwnerGone,
    PieceFetched,
    PieceLost,
    Recorded,
    RenewalDue,
    RenewalFailed,
    Renewed,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    Settled,
    SettlingFailed,
    StreamEnded,
    Unknown,
    WaitFailed,
    WaitOver,
)


class State(Enum):
    """Where an exchange stands; each value says what it is waiting for."""

    AWAITING_REQUEST = "Waiting for the request's head."
    READING = (
        "Waiting for the rest of the request's body, which its key is in or made of; Envoy holds the request."
    )
    CLAIMING = "Waiting for the store's answer to the claim; Envoy holds the request."
    WAITING = "Waiting for the owner of the claim to be done; Envoy holds the request."
    COMPARING = "Waiting for the rest of a duplicate's body, to compare it with the record's fingerprint."
    HOLDING = "Waiting for the rest of the request, none of which may be sent before all of it is known."
    FORWARDING = "Waiting for the rest of the request, which is being forwarded."
    NOTING = "Waiting for the store to keep the request's fingerprint; what would make it whole is held."
    AWAITING_RESPONSE = "Waiting for the response; the whole request has been forwarded."
    CAPTURING_EARLY = "Waiting for the rest of a response that began before the request had ended."
    CAPTURING = "Waiting for the rest of the response."
    EXECUTING = "Waiting for the answer to a detached execution."
    EXECUTING_ALONE = "Waiting for the answer to a detached execution; the stream is gone."
    SETTLING = "Waiting for the store to keep the outcome; the end of the response is held until then."
    PASSING = "Waiting for the end of the stream; whatever still comes passes."
    REPLYING = "Waiting for the next piece of the large body that the client is being answered with."
    ANSWERED = "Waiting for the end of the stream; the client has been answered here."
    SHADOWING = "Watching an exchange that passes unchanged, as its policy says `mode: shadow`."
    SHADOWING_ALONE = (
        "Waiting for the store's answer to the claim of an exchange that was watched; the stream is gone."
    )
    ABANDONED = "Waiting for the store's answer to the claim; the stream is gone."
    SETTLING_ALONE = "Waiting for the store to keep the outcome; the stream is gone."
    CLOSED = "Over."

    # A member is one object: it may be hashed by identity, and is, many times in each exchange.
    __hash__ = object.__hash__


# The same by their names alone, in the order of the class. Until Python 3.12 a member of an enum is found by
# way of a hook of its class, thirty times as long as it takes to read a name of this module.
(
    AWAITING_REQUEST, READING, CLAIMING, WAITING, COMPARING, HOLDING, FORWARDING, NOTING, AWAITING_RESPONSE,
    CAPTURING_EARLY, CAPTURING, EXECUTING, EXECUTING_ALONE, SETTLING, PASSING, REPLYING, ANSWERED, SHADOWING,
    SHADOWING_ALONE, ABANDONED, SETTLING_ALONE, CLOSED,
) = State  # fmt: skip


@dataclass(frozen=True, slots=True)
class Transition:
    """The action (a method of `machine.Exchange`) and the states it may lead to."""

    action: str
    targets: frozenset[State]


S = State
Row = tuple[State, type[Event], Transition]

_SENDING = frozenset({S.HOLDING, S.FORWARDING, S.NOTING})
_RESPONDING = frozenset({S.AWAITING_RESPONSE, S.CAPTURING_EARLY, S.CAPTURING})
LEASED = _SENDING | _RESPONDING | {S.EXECUTING, S.EXECUTING_ALONE, S.SHADOWING}
"""Where the claim is held and its lease renewed."""

TIMED = LEASED | {S.CLAIMING, S.WAITING}
"""Where the timer may run: for the next renewal, or for the end of a wait."""


def _on(state: State, event: type[Event], action: str, *targets: State) -> Row:
    return (state, event, Transition(action, frozenset(targets or (state,))))


def _rows() -> Iterator[Row]:
    yield from _before_the_claim()
    yield from _while_reading_for_the_key()
    yield from _while_sending()
    yield from _while_responding()
    yield from _while_executing_detached()
    yield from _while_shadowing()
    yield from _on_the_lease()
    yield from _after_the_decision()
    yield from _while_replying()
    yield from _too_late_to_matter()


def _before_the_claim() -> Iterator[Row]:
    yield _on(
        S.AWAITING_REQUEST,
        RequestHeaders,
        "admit",
        S.AWAITING_REQUEST,
        S.PASSING,
        S.READING,
        S.CLAIMING,
        S.ANSWERED,
        S.SHADOWING,
    )
    # Envoy's reply to a request that never reached this filter opens a stream with its response.
    yield _on(S.AWAITING_REQUEST, ResponseHeaders, "pass_on", S.PASSING)
    yield _on(S.AWAITING_REQUEST, StreamEnded, "close", S.CLOSED)

    begun = (S.HOLDING, S.FORWARDING, S.NOTING, S.AWAITING_RESPONSE, S.EXECUTING, S.ANSWERED)
    yield _on(S.CLAIMING, Claimed, "begin", *begun)
    yield _on(S.CLAIMING, InFlight, "meet_owner", S.WAITING, S.ANSWERED)
    yield _on(S.CLAIMING, Recorded, "consult_record", S.COMPARING, S.REPLYING, S.ANSWERED)
    yield _on(S.CLAIMING, Unknown, "refuse_unknown", S.ANSWERED)
    yield _on(S.CLAIMING, Expired, "refuse_expired", S.ANSWERED)
    yield _on(S.CLAIMING, ClaimFailed, "cope_without_claim", S.ANSWERED, S.PASSING)
    yield _on(S.CLAIMING, WaitOver, "lose_patience_soon")
    yield _on(S.CLAIMING, StreamEnded, "abandon", S.ABANDONED)
    for asking in (S.CLAIMING, S.WAITING):
        # In full duplex Envoy waits for no answer before it sends the body.
        yield _on(asking, RequestBody, "put_off")
        yield _on(asking, RequestTrailers, "put_off")
        yield _on(asking, ResponseHeaders, "break_off_answered")

    yield _on(S.WAITING, OwnerGone, "claim_again", S.CLAIMING)
    yield _on(S.WAITING, WaitFailed, "give_up_waiting", S.CLAIMING)
    yield _on(S.WAITING, WaitOver, "lose_patience", S.ANSWERED)
    yield _on(S.WAITING, StreamEnded, "close", S.CLOSED)

    yield _on(S.ABANDONED, Claimed, "drop_claim", S.SETTLING_ALONE)
    yield _on(S.ABANDONED, ClaimFailed, "drop_unseen_claim", S.CLOSED)
    for refused in (InFlight, Recorded, Unknown, Expired):
        yield _on(S.ABANDONED, refused, "close", S.CLOSED)

    yield _on(S.COMPARING, RequestBody, "compare", S.COMPARING, S.REPLYING, S.ANSWERED)
    yield _on(S.COMPARING, RequestTrailers, "compare_at_trailers", S.REPLYING, S.ANSWERED)
    yield _on(S.COMPARING, ResponseHeaders, "pass_on", S.PASSING)
    yield _on(S.COMPARING, StreamEnded, "close", S.CLOSED)


def _while_reading_for_the_key() -> Iterator[Row]:
    read = (S.CLAIMING, S.PASSING, S.ANSWERED)
    yield _on(S.READING, RequestBody, "read_for_key", S.READING, *read)
    yield _on(S.READING, RequestTrailers, "read_for_key_to_trailers", *read)
    # Envoy will not wait for the rest of the body.
    yield _on(S.READING, ResponseHeaders, "pass_on", S.PASSING)
    yield _on(S.READING, StreamEnded, "close", S.CLOSED)


def _while_sending() -> Iterator[Row]:
    whole = (S.ANSWERED, S.NOTING, S.AWAITING_RESPONSE, S.EXECUTING)
    yield _on(S.HOLDING, RequestBody, "hold_body", S.HOLDING, *whole)
    yield _on(S.HOLDING, RequestTrailers, "hold_trailers", *whole)
    # Envoy may answer itself: it would not wait for the rest of the body.
    yield _on(S.HOLDING, ResponseHeaders, "overtake", S.SETTLING)

    yield _on(S.FORWARDING, RequestBody, "forward_body", S.FORWARDING, S.NOTING, S.AWAITING_RESPONSE)
    yield _on(S.FORWARDING, RequestTrailers, "forward_trailers", S.NOTING, S.AWAITING_RESPONSE)
    yield _on(S.FORWARDING, ResponseHeaders, "answer_early", S.CAPTURING_EARLY, S.NOTING, S.SETTLING)

    for message in (RequestBody, RequestTrailers):
        yield _on(S.NOTING, message, "forward_rest")
    answered = (S.CAPTURING, S.CAPTURING_EARLY, S.SETTLING)
    # A gRPC call whose request ends while it is noted is noted a second time.
    noted = (S.NOTING, S.AWAITING_RESPONSE, S.EXECUTING, S.ANSWERED)
    yield _on(S.NOTING, Noted, "go_on_noted", *noted, *answered)
    yield _on(S.NOTING, NotingFailed, "cope_unnoted", S.ANSWERED, *answered)
    yield _on(S.NOTING, ResponseHeaders, "answer_unnoted", S.NOTING, S.SETTLING)
    # In full duplex a response's body does not wait for the answer to its head.
    yield _on(S.NOTING, ResponseBody, "put_off")
    yield _on(S.NOTING, ResponseTrailers, "put_off")

    yield _on(S.HOLDING, StreamEnded, "release_unsent", S.SETTLING_ALONE)
    yield _on(S.FORWARDING, StreamEnded, "release_unsent", S.SETTLING_ALONE)
    yield _on(S.NOTING, StreamEnded, "lose_unnoted", S.SETTLING_ALONE)


def _while_responding() -> Iterator[Row]:
    yield _on(S.AWAITING_RESPONSE, ResponseHeaders, "judge_response", S.CAPTURING, S.SETTLING)
    yield _on(S.AWAITING_RESPONSE, StreamEnded, "lose_response", S.SETTLING_ALONE)
    for whole in (S.AWAITING_RESPONSE, S.CAPTURING):
        # What follows a request that was whole by its length: an empty piece, or trailers.
        yield _on(whole, RequestBody, "forward_rest")
        yield _on(whole, RequestTrailers, "forward_rest")

    yield _on(S.CAPTURING_EARLY, RequestBody, "forward_body", S.CAPTURING_EARLY, S.CAPTURING)
    yield _on(S.CAPTURING_EARLY, RequestTrailers, "forward_trailers", S.CAPTURING)
    for capturing in (S.CAPTURING_EARLY, S.CAPTURING):
        yield _on(capturing, ResponseBody, "capture", capturing, S.SETTLING)
        yield _on(capturing, ResponseTrailers, "capture_trailers", S.SETTLING)
        yield _on(capturing, StreamEnded, "lose_rest", S.SETTLING_ALONE)


def _while_executing_detached() -> Iterator[Row]:
    yield _on(S.EXECUTING, Executed, "keep_answer", S.SETTLING)
    yield _on(S.EXECUTING, ExecutionFailed, "lose_answer", S.SETTLING)
    yield _on(S.EXECUTING, ResponseHeaders, "break_off_answered")
    yield _on(S.EXECUTING, StreamEnded, "go_on_alone", S.EXECUTING_ALONE)
    yield _on(S.EXECUTING_ALONE, Executed, "keep_answer", S.SETTLING_ALONE)
    yield _on(S.EXECUTING_ALONE, ExecutionFailed, "lose_answer", S.SETTLING_ALONE)


def _while_shadowing() -> Iterator[Row]:
    decided = (S.SHADOWING, S.PASSING)
    for compared in (Claimed, Recorded):
        yield _on(S.SHADOWING, compared, "take_answer_in_shadow", *decided)
    yield _on(S.SHADOWING_ALONE, Claimed, "take_late_answer_in_shadow", S.SETTLING_ALONE, S.CLOSED)
    yield _on(S.SHADOWING_ALONE, Recorded, "take_late_answer_in_shadow", S.CLOSED)
    for plain in (InFlight, Unknown, Expired):
        yield _on(S.SHADOWING, plain, "take_answer_in_shadow", S.PASSING)
        yield _on(S.SHADOWING_ALONE, plain, "take_late_answer_in_shadow", S.CLOSED)
    yield _on(S.SHADOWING, ClaimFailed, "fail_in_shadow", S.PASSING)
    yield _on(S.SHADOWING_ALONE, ClaimFailed, "drop_unseen_claim", S.CLOSED)
    yield _on(S.SHADOWING, RequestBody, "watch_request", *decided)
    yield _on(S.SHADOWING, RequestTrailers, "watch_request", *decided)
    yield _on(S.SHADOWING, ResponseHeaders, "watch_response_head")
    yield _on(S.SHADOWING, ResponseBody, "watch_response")
    yield _on(S.SHADOWING, ResponseTrailers, "watch_response")
    yield _on(S.SHADOWING, Settled, "count_in_shadow")
    yield _on(S.SHADOWING, SettlingFailed, "count_in_shadow")
    yield _on(S.SHADOWING, StreamEnded, "leave_shadow", S.SHADOWING_ALONE, S.SETTLING_ALONE, S.CLOSED)


def _on_the_lease() -> Iterator[Row]:
    for leased in sorted(LEASED, key=_name):
        yield _on(leased, RenewalDue, "renew")
        yield _on(leased, Renewed, "keep_renewing")
        yield _on(leased, RenewalFailed, "keep_renewing")


def _after_the_decision() -> Iterator[Row]:
    given = (S.PASSING, S.REPLYING, S.ANSWERED)
    yield _on(S.SETTLING, Settled, "let_go", *given)
    yield _on(S.SETTLING, SettlingFailed, "let_go_unsettled", *given)
    # An upstream that answered early may still be sent the rest of the request.
    yield _on(S.SETTLING, RequestBody, "pass_on")
    yield _on(S.SETTLING, RequestTrailers, "pass_on")
    # A detached execution is about to be answered; its client took too long.
    yield _on(S.SETTLING, ResponseHeaders, "break_off_answered")
    yield _on(S.SETTLING, ResponseBody, "hold")
    yield _on(S.SETTLING, ResponseTrailers, "hold")
    yield _on(S.SETTLING, StreamEnded, "settle_alone", S.SETTLING_ALONE)

    yield _on(S.SETTLING_ALONE, Settled, "close_settled", S.CLOSED)
    yield _on(S.SETTLING_ALONE, SettlingFailed, "close_unsettled", S.CLOSED)

    for message in (RequestBody, RequestTrailers, ResponseHeaders, ResponseBody, ResponseTrailers):
        yield _on(S.PASSING, message, "pass_on")
        # Pieces already on their way when the reply was sent: nobody waits for an answer to them.
        yield _on(S.ANSWERED, message, "ignore")
        if message is not ResponseHeaders:
            yield _on(S.REPLYING, message, "ignore")
    for decided in (S.PASSING, S.REPLYING, S.ANSWERED):
        yield _on(decided, StreamEnded, "close", S.CLOSED)


def _while_replying() -> Iterator[Row]:
    yield _on(S.REPLYING, PieceFetched, "give_piece", S.REPLYING, S.ANSWERED)
    yield _on(S.REPLYING, PieceLost, "break_off", S.ANSWERED)
    yield _on(S.REPLYING, ResponseHeaders, "break_off_answered")


def _too_late_to_matter() -> Iterator[Row]:
    """Answers to what an exchange asked before it was decided otherwise."""
    # A claim dropped behind the back of a client that was refused; nobody waits for that.
    for done in (S.REPLYING, S.ANSWERED, S.CLOSED):
        yield _on(done, Settled, "ignore")
        yield _on(done, SettlingFailed, "ignore")
        yield _on(done, OwnerGone, "ignore")
        yield _on(done, WaitFailed, "ignore")
    # One dropped in shadow.
    yield _on(S.PASSING, Settled, "ignore")
    yield _on(S.PASSING, SettlingFailed, "ignore")
    for decided in (S.SETTLING, S.SETTLING_ALONE, S.PASSING, S.REPLYING, S.ANSWERED, S.CLOSED):
        for renewal in (RenewalDue, Renewed, RenewalFailed):
            yield _on(decided, renewal, "ignore")
    # A piece that was under way when the client left.
    yield _on(S.CLOSED, PieceFetched, "ignore")
    yield _on(S.CLOSED, PieceLost, "ignore")
    # A note that was under way when Envoy answered itself or the stream ended.
    for later in (S.SETTLING, S.SETTLING_ALONE, S.PASSING, S.CLOSED):
        yield _on(later, Noted, "ignore")
        yield _on(later, NotingFailed, "ignore")


def _name(state: State) -> str:
    return state.name


TABLE: Mapping[tuple[State, type[Event]], Transition] = {
    (state, event): transition for state, event, transition in _rows()
}
