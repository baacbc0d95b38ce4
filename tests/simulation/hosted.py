"""One exchange on a worker, carried as the driver carries it: events in, effects performed, rules checked."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from sidecar.exchange.effects import (
    Answer,
    AwaitOwner,
    BreakOff,
    Complete,
    Count,
    CountOutcome,
    Effect,
    Execute,
    FetchPiece,
    ForwardHeld,
    ForwardRequest,
    MarkUnknown,
    NoteFingerprint,
    PassRequest,
    Release,
    Renew,
    RenewLater,
    Reply,
    SettleEffect,
    StoreEffect,
    TakeClaim,
    WaitAtMost,
)
from sidecar.exchange.events import (
    EnvoyEvent,
    Event,
    Executed,
    Noted,
    NotingFailed,
    Recorded,
    RenewalDue,
    RequestBody,
    ResponseBody,
    Settled,
    SettlingFailed,
    StoreEvent,
    StreamEnded,
    WaitOver,
)
from sidecar.exchange.machine import Exchange, ProtocolViolation
from sidecar.exchange.states import TIMED, State
from sidecar.idempotency.claim import Claim
from tests.simulation.answers import OF_RESPONSE, Answers
from tests.simulation.conduct import Conduct
from tests.simulation.guarantees import Execution, Guarantees
from tests.simulation.plan import CallScript
from tests.simulation.processes import Process
from tests.simulation.store import StoreLink
from tests.simulation.timeline import Alarm, Timeline
from tests.simulation.tracing import brief, briefly
from tests.simulation.violation import Violation

EXECUTED = "idempotency_executed"
"""The detail of a reply with what was executed for this very client."""
_WITH_BODY = (RequestBody, ResponseBody, Recorded, Executed)
FIRST_PAUSE_MS, LONGEST_PAUSE_MS, MAKE_SURE_AFTER_MS = 100, 2_000, 1_000
"""When a write that ends an attempt is repeated."""
LARGEST_PIECE = 16
"""Bytes of the piece of a request that may be kept beside what the policy allows: it is refused for it."""


class OriginCall(Protocol):
    """A detached call under way."""

    def drop(self) -> None:
        """The sidecar that made it is gone."""
        ...


class Stream(Protocol):
    """Envoy's side of an exchange."""

    call: CallScript
    owner: str
    execution: Execution | None
    """What the upstream itself has answered to this exchange; None also while Envoy answers in its place."""

    def hear(self, answer: Answer) -> None:
        """An answer is sent; it arrives a little later."""
        ...

    def lose_sidecar(self) -> None:
        """The process at the other end is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every exchange of a schedule shares. `note` is told what happens, where somebody reads it."""

    timeline: Timeline
    guarantees: Guarantees
    link: StoreLink
    call_origin: Callable[["Hosted", Execute], OriginCall]
    note: Callable[[str, str], None] | None


class Hosted:
    """One exchange on one process, and everything it has asked for."""

    def __init__(self, exchange: Exchange, process: Process, stream: Stream, around: Surroundings) -> None:
        self.exchange = exchange
        self.stream = stream
        self._process = process
        self._around = around
        self._timeline = around.timeline
        self._guarantees = around.guarantees
        self._luck = Random(stream.call.luck)
        self._answers = Answers()
        self._alarm: Alarm | None = None
        self._waits = 0
        self._origin_call: OriginCall | None = None
        self._ended = False
        self._claim: Claim | None = None
        self._conduct = Conduct()

    @property
    def lives(self) -> bool:
        """Whether it is carried on, and has something left to do."""
        return self._process.alive and self.exchange.state is not State.CLOSED

    # --- What arrives

    def hand(self, act: Callable[..., None], *arguments: Any) -> None:
        """See `Process.hand`."""
        self._process.hand(act, *arguments)

    def on_message(self, event: EnvoyEvent, completes: bool) -> None:
        """A message of Envoy; `completes`: with it the client would have the whole response."""
        if self._ended:
            return
        self._answers.expect(event, completes)
        execution = self.stream.execution
        if execution is not None and not self._answers.replied and isinstance(event, OF_RESPONSE):
            execution.answered = True
            execution.judged = execution.judged or completes or not self.stream.call.grpc
        self.feed(event)

    def on_end(self) -> None:
        """The stream is over."""
        if not self._ended:
            self._ended = True
            self.feed(StreamEnded())

    def on_executed(self, event: Event, execution: Execution | None) -> None:
        """A detached call has come to its end."""
        self._origin_call = None
        if execution is not None and isinstance(event, Executed):
            execution.answered = execution.judged = True
        self.feed(event)

    def feed(self, event: Event) -> None:
        """Let the machine hear it, and do what it wants done."""
        try:
            effects = self.exchange.handle(event)
        except (ProtocolViolation, AssertionError) as refused:
            raise Violation("invariant 3", f"what can happen is refused: {refused}") from refused
        if self._around.note is not None:
            self._around.note(
                self.stream.owner, f"{brief(event)}  =>  {briefly(effects)}  [{self.exchange.state.name}]"
            )
        for effect in effects:
            self._do(effect)
        if self._alarm is not None and self.exchange.state not in TIMED:
            self._alarm.cancel()
        if isinstance(event, _WITH_BODY):
            self._check_memory()

    def vanish(self) -> None:
        """The process has crashed."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._origin_call is not None:
            self._origin_call.drop()
        self.stream.lose_sidecar()

    # --- What is to be done

    def _do(self, effect: Effect) -> None:
        match effect:
            case TakeClaim(wanted=wanted):
                self._claim = wanted
                self._guarantees.asked(self.stream.call, wanted)
                self._ask(effect)
            case Complete() | Release() | MarkUnknown():
                self._conduct.settles(effect)
                self._guarantees.settles(self.stream.execution, effect)
                self._ask(effect)
            case Renew() | NoteFingerprint():
                self._ask(effect)
            case AwaitOwner():
                self._waits += 1
                self._around.link.ask(effect, self._luck, self._hear_wait(self._waits))
            case RenewLater(after_ms=after_ms):
                self._set_alarm(after_ms, RenewalDue())
            case WaitAtMost(after_ms=after_ms):
                self._set_alarm(after_ms, WaitOver())
            case Execute():
                self._guarantees.forwarded(self.stream.owner, attempt_of(effect))
                self._origin_call = self._around.call_origin(self, effect)
            case CountOutcome():
                self._conduct.counts(effect)
            case Count() | FetchPiece():
                pass  # the second only comes where a body is large; none is here
            case _:
                self._answer(effect)

    def _break_off(self) -> None:
        """The stream is failed: Envoy hears of it, and the exchange that it is over."""
        self.stream.lose_sidecar()
        self.on_end()

    def _set_alarm(self, after_ms: int, event: Event) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = Alarm(lambda: self.feed(event))
        self._timeline.after(after_ms, self._process.hand, self._alarm.ring)

    def _ask(self, effect: StoreEffect) -> None:
        self._conduct.asks()
        self._around.link.ask(effect, self._luck, lambda event: self._process.hand(self._hear, effect, event))

    def _hear(self, effect: StoreEffect, event: StoreEvent) -> None:
        self._conduct.hears(event)
        if isinstance(event, NotingFailed) or event == Noted(held=False):
            self._go_on_unnoted()
        if isinstance(effect, MarkUnknown) and event == Settled(held=True):
            self._guarantees.marked(self.stream.execution, effect.claim)
        if isinstance(effect, Complete | Release | MarkUnknown):
            self._make_sure(effect, event, FIRST_PAUSE_MS)
        self.feed(event)

    def _go_on_unnoted(self) -> None:
        """Who has answered has the request in hand, noted or not; else it must not get the rest of it."""
        execution = self.stream.execution
        if execution is not None and execution.answered:
            execution.unnoted = True

    def _make_sure(self, effect: SettleEffect, heard: StoreEvent, pause_ms: int) -> None:
        """A write that ends an attempt is repeated until the store has answered it, as the process does it.

        So is, here once, the release of a claim that was never answered: it may have overtaken the claim.
        """
        if isinstance(heard, SettlingFailed):
            self._timeline.after(pause_ms, self._process.hand, self._repeat, effect, pause_ms)
        elif isinstance(effect, Release) and not effect.claim.attempt and pause_ms:
            self._timeline.after(MAKE_SURE_AFTER_MS, self._process.hand, self._repeat, effect, 0)

    def _repeat(self, effect: SettleEffect, pause_ms: int) -> None:
        def hear(event: StoreEvent) -> None:
            longer = min(max(2 * pause_ms, FIRST_PAUSE_MS), LONGEST_PAUSE_MS) if pause_ms else 0
            self._process.hand(self._make_sure, effect, event, longer)

        self._around.link.ask(effect, self._luck, hear)

    def _hear_wait(self, number: int) -> Callable[[StoreEvent], None]:
        """A wait is called off when the exchange has stopped waiting."""

        def hear(event: StoreEvent) -> None:
            if number == self._waits and self.exchange.state is State.WAITING:
                self.feed(event)

        return lambda event: self._process.hand(hear, event)

    # --- What it may do

    def _answer(self, answer: Answer | BreakOff) -> None:
        if isinstance(answer, BreakOff):
            self._break_off()
            return
        if self._ended:
            raise Violation("invariant 3", f"{type(answer).__name__} after the end of the stream")
        if self._answers.give(answer):
            self._check_end(answer)
        match answer:
            case ForwardRequest(attempt=attempt) | ForwardHeld(attempt=attempt):
                self._guarantees.forwarded(self.stream.owner, attempt)
            case PassRequest(remove=remove):
                self._conduct.bypassed = True
                met_owner = self._conduct.met_owner
                self._guarantees.passed(remove, claim_failed=self._conduct.claim_failed, met_owner=met_owner)
            case _:
                pass
        self.stream.hear(answer)

    def _check_end(self, answer: Answer) -> None:
        """The client is about to have the whole of an answer."""
        if isinstance(answer, Reply) and answer.details != EXECUTED:
            self._guarantees.replied(self.stream.call, self.stream.owner, answer)
        elif self._claim is not None and not self._conduct.claim_failed:
            self._guarantees.released_end(self._claim, self.stream.execution, self._conduct.settled)

    def _check_memory(self) -> None:
        policy = self._guarantees.row.policy
        limit = policy.max_request_body + policy.max_response_body + LARGEST_PIECE
        if retained(self.exchange) > limit:
            raise Violation("invariant 5", f"an exchange keeps more than {limit} bytes")

    def check_closed(self) -> None:
        """Nothing will happen any more: the exchange has to be over."""
        if not self._process.alive:
            return
        state = self.exchange.state
        if state is not State.CLOSED:
            raise Violation("invariant 5", f"{self.stream.owner} was left open: {state.name} ({state.value})")
        if self._alarm is not None and self._alarm.live:
            raise Violation("invariant 5", f"{self.stream.owner} left a timer behind")
        self._conduct.check_over(self.stream.owner)


def retained(exchange: Exchange) -> int:
    """The bytes of bodies that an exchange keeps."""
    kept = 0
    for value in vars(exchange).values():
        if isinstance(value, bytes | bytearray):
            kept += len(value)
        elif type(value).__name__ == "Capture":
            kept += len(value._kept or b"")
    return kept


def attempt_of(effect: Execute) -> int:
    """The attempt that a detached call tells the upstream."""
    return next(int(value) for name, value in effect.request.headers if name == "idempotency-attempt")
