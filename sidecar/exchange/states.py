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
    InFlight,
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
)


class State(Enum):
    """Where an exchange stands; each value says what it is waiting for."""

    AWAITING_REQUEST = "Waiting for the request's head."
    CLAIMING = "Waiting for the store's answer to the claim; Envoy holds the request."
    COMPARING = "Waiting for the rest of a duplicate's body, to compare it with the record's fingerprint."
    FORWARDING = "Waiting for the rest of the request, which is being forwarded."
    AWAITING_RESPONSE = "Waiting for the response; the whole request has been forwarded."
    CAPTURING_EARLY = "Waiting for the rest of a response that began before the request had ended."
    CAPTURING = "Waiting for the rest of the response."
    SETTLING = "Waiting for the store to keep the outcome; the end of the response is held until then."
    PASSING = "Waiting for the end of the stream; whatever still comes passes."
    ANSWERED = "Waiting for the end of the stream; the client has been answered here."
    ABANDONED = "Waiting for the store's answer to the claim; the stream is gone."
    SETTLING_ALONE = "Waiting for the store to keep the outcome; the stream is gone."
    CLOSED = "Over."


@dataclass(frozen=True, slots=True)
class Transition:
    """The action (a method of `machine.Exchange`) and the states it may lead to."""

    action: str
    targets: frozenset[State]


S = State
Row = tuple[State, type[Event], Transition]


def _on(state: State, event: type[Event], action: str, *targets: State) -> Row:
    return (state, event, Transition(action, frozenset(targets or (state,))))


def _rows() -> Iterator[Row]:
    yield from _before_the_claim()
    yield from _while_executing()
    yield from _after_the_decision()


def _before_the_claim() -> Iterator[Row]:
    yield _on(S.AWAITING_REQUEST, RequestHeaders, "admit", S.PASSING, S.CLAIMING, S.ANSWERED)
    # Envoy's reply to a request that never reached this filter opens a stream with its response.
    yield _on(S.AWAITING_REQUEST, ResponseHeaders, "pass_on", S.PASSING)
    yield _on(S.AWAITING_REQUEST, StreamEnded, "close", S.CLOSED)

    yield _on(S.CLAIMING, Claimed, "forward", S.FORWARDING, S.AWAITING_RESPONSE)
    yield _on(S.CLAIMING, InFlight, "refuse_in_flight", S.ANSWERED)
    yield _on(S.CLAIMING, Recorded, "consult_record", S.COMPARING, S.ANSWERED)
    yield _on(S.CLAIMING, Unknown, "refuse_unknown", S.ANSWERED)
    yield _on(S.CLAIMING, ClaimFailed, "cope_without_claim", S.ANSWERED, S.PASSING)
    yield _on(S.CLAIMING, StreamEnded, "abandon", S.ABANDONED)

    yield _on(S.ABANDONED, Claimed, "drop_claim", S.SETTLING_ALONE)
    yield _on(S.ABANDONED, ClaimFailed, "drop_unseen_claim", S.CLOSED)
    for refused in (InFlight, Recorded, Unknown):
        yield _on(S.ABANDONED, refused, "close", S.CLOSED)

    yield _on(S.COMPARING, RequestBody, "compare", S.COMPARING, S.ANSWERED)
    yield _on(S.COMPARING, RequestTrailers, "compare_at_trailers", S.ANSWERED)
    yield _on(S.COMPARING, StreamEnded, "close", S.CLOSED)


def _while_executing() -> Iterator[Row]:
    yield _on(S.FORWARDING, RequestBody, "forward_body", S.FORWARDING, S.AWAITING_RESPONSE)
    yield _on(S.FORWARDING, RequestTrailers, "forward_trailers", S.AWAITING_RESPONSE)
    yield _on(S.FORWARDING, ResponseHeaders, "judge_response", S.CAPTURING_EARLY, S.SETTLING)
    yield _on(S.FORWARDING, StreamEnded, "release_unsent", S.SETTLING_ALONE)

    yield _on(S.AWAITING_RESPONSE, ResponseHeaders, "judge_response", S.CAPTURING, S.SETTLING)
    yield _on(S.AWAITING_RESPONSE, StreamEnded, "lose_response", S.SETTLING_ALONE)

    yield _on(S.CAPTURING_EARLY, RequestBody, "forward_body", S.CAPTURING_EARLY, S.CAPTURING)
    yield _on(S.CAPTURING_EARLY, RequestTrailers, "forward_trailers", S.CAPTURING)
    for capturing in (S.CAPTURING_EARLY, S.CAPTURING):
        yield _on(capturing, ResponseBody, "capture", capturing, S.SETTLING)
        yield _on(capturing, ResponseTrailers, "capture_trailers", S.SETTLING)
        yield _on(capturing, StreamEnded, "lose_rest", S.SETTLING_ALONE)

    for executing in sorted(EXECUTING, key=lambda state: state.name):
        yield _on(executing, RenewalDue, "renew")
        yield _on(executing, Renewed, "keep_renewing")
        yield _on(executing, RenewalFailed, "keep_renewing")


def _after_the_decision() -> Iterator[Row]:
    yield _on(S.SETTLING, Settled, "let_go", S.PASSING)
    yield _on(S.SETTLING, SettlingFailed, "let_go_unsettled", S.PASSING)
    # An upstream that answered early may still be sent the rest of the request.
    yield _on(S.SETTLING, RequestBody, "pass_on")
    yield _on(S.SETTLING, RequestTrailers, "pass_on")
    yield _on(S.SETTLING, ResponseBody, "hold")
    yield _on(S.SETTLING, ResponseTrailers, "hold")
    yield _on(S.SETTLING, StreamEnded, "settle_alone", S.SETTLING_ALONE)

    yield _on(S.SETTLING_ALONE, Settled, "close", S.CLOSED)
    yield _on(S.SETTLING_ALONE, SettlingFailed, "close_unsettled", S.CLOSED)

    for message in (RequestBody, RequestTrailers, ResponseHeaders, ResponseBody, ResponseTrailers):
        yield _on(S.PASSING, message, "pass_on")
        # Pieces already on their way when the reply was sent. Full duplex: none waits for an answer.
        yield _on(S.ANSWERED, message, "ignore")
    for decided in (S.PASSING, S.ANSWERED):
        yield _on(decided, StreamEnded, "close", S.CLOSED)

    # A claim whose answer never came is dropped behind the client's back; nobody waits for that.
    for done in (S.ANSWERED, S.CLOSED):
        yield _on(done, Settled, "ignore")
        yield _on(done, SettlingFailed, "ignore")
    # A renewal that was under way when the exchange was decided.
    for decided in (S.SETTLING, S.SETTLING_ALONE, S.PASSING, S.CLOSED):
        for renewal in (RenewalDue, Renewed, RenewalFailed):
            yield _on(decided, renewal, "ignore")


EXECUTING = frozenset({S.FORWARDING, S.AWAITING_RESPONSE, S.CAPTURING_EARLY, S.CAPTURING})
"""Where the claim is held and its lease renewed."""

TABLE: Mapping[tuple[State, type[Event]], Transition] = {
    (state, event): transition for state, event, transition in _rows()
}
