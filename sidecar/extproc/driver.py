"""One exchange on one stream: decodes messages, feeds the machine, performs its effects, encodes answers.

Driven by calls on the event loop's thread: the transport's, the store's answers, one timer. What the
machine can answer at once is answered in the same call.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, Protocol, TypeAlias, get_args

from sidecar.errand import Told
from sidecar.exchange import states
from sidecar.exchange.effects import (
    Answer,
    AwaitOwner,
    BreakOff,
    Complete,
    Count,
    CountOutcome,
    Effect,
    Execute,
    ExtendTimeout,
    FetchPiece,
    MarkUnknown,
    NoteFingerprint,
    Release,
    Renew,
    RenewLater,
    StoreEffect,
    TakeClaim,
    WaitAtMost,
)
from sidecar.exchange.events import (
    EnvoyEvent,
    Event,
    ExecutionFailed,
    Failure,
    OriginEvent,
    RenewalDue,
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
    StoreEvent,
    StreamEnded,
    TimerEvent,
    WaitOver,
)
from sidecar.exchange.machine import Exchange, ProtocolViolation
from sidecar.extproc.codec import UndecodableMessageError, decode, encode
from sidecar.extproc.timers import Timer, Timers
from sidecar.extproc.transport.port import Stream

_Task: TypeAlias = asyncio.Task[StoreEvent | OriginEvent]
_BUG = "internal error"
"""What Envoy is told of one."""
_CALL_LOST = ExecutionFailed(Failure.LOST)


class Performer(Protocol):
    """Performs the effects of the store and of the origin.

    A failure comes back as an event; only a bug is an error.
    """

    def begin(self, effect: StoreEffect, told: Told[StoreEvent], /) -> None:
        """Perform one that nobody calls off; `told` is never called before this returns."""
        ...

    def perform(self, effect: AwaitOwner | Execute, /) -> Coroutine[Any, Any, StoreEvent | OriginEvent]:
        """Perform one that takes long, and that may be called off."""
        ...


class Observer(Protocol):
    """What is told of exchanges, for metrics and logs."""

    def opened(self) -> None:
        """A stream was accepted."""
        ...

    def closed(self) -> None:
        """A stream has ended and everything it asked of the store is done."""
        ...

    def answered(self, phase: str, seconds: float) -> None:
        """Envoy waited `seconds` for the answer to a message of this phase."""
        ...

    def counted(self, count: Count) -> None:
        """A request was decided."""
        ...

    def settled(self, outcome: CountOutcome) -> None:
        """An execution ended."""
        ...

    def violated(self, detail: str, error: Exception | None) -> None:
        """A stream was failed: Envoy broke the protocol (no error), or there is a bug (the error)."""
        ...


class Driver:
    """The handler of one stream (`transport.port.Handler`)."""

    __slots__ = (
        "_arrived",
        "_closed",
        "_ended",
        "_exchange",
        "_loop",
        "_observer",
        "_paused",
        "_pending",
        "_performer",
        "_phase",
        "_stream",
        "_timer",
        "_timers",
        "_wait",
    )

    def __init__(
        self,
        stream: Stream,
        exchange: Exchange,
        performer: Performer,
        observer: Observer,
        timers: Timers,
    ) -> None:
        self._stream = stream
        self._exchange = exchange
        self._performer = performer
        self._observer = observer
        self._loop = timers.loop
        self._pending = 0
        self._timers = timers
        self._timer: Timer | None = None
        self._wait: _Task | None = None
        self._phase: str | None = None
        """Of the message that Envoy waits for an answer to; None where it has been answered."""
        self._arrived = 0.0
        self._paused = False
        self._ended = False
        self._closed = False
        observer.opened()

    # --- Called by the transport

    def on_message(self, message: bytes) -> None:
        """Decode a message and act on it; what cannot be decoded fails the stream."""
        if self._ended:
            return
        try:
            event = decode(message, self._exchange.reads)
        except UndecodableMessageError as error:
            self._fail(str(error))
            return
        self._phase, self._arrived = _PHASES[type(event)], self._loop.time()
        self._feed(event)

    def on_end(self) -> None:
        """The stream is over."""
        if not self._ended:
            self._ended = True
            self._feed(StreamEnded())
            self._close_when_done()

    # --- The machine

    def _feed(self, event: Event) -> None:
        exchange, acts = self._exchange, self._ACTS
        try:
            for effect in exchange.handle(event):
                acts[type(effect)](self, effect)
        except ProtocolViolation as violation:
            self._fail(str(violation))
            return
        except Exception as error:  # noqa: BLE001 (a bug here must fail closed, whatever it is)
            self._fail(_BUG, error)
            return
        # The exchange may have no use any more for its timer, or for its wait.
        if self._timer is not None and exchange.state not in states.TIMED:
            self._timer.cancel()
            self._timer = None
        if self._wait is not None and exchange.state is not states.WAITING:
            self._wait.cancel()
            self._wait = None
        if exchange.is_full is not self._paused:
            self._keep_pace()

    def _keep_pace(self) -> None:
        """Read no more of the stream while the exchange holds all that it may."""
        self._paused = self._exchange.is_full
        if self._paused:
            self._stream.pause_reading()
        else:
            self._stream.resume_reading()

    # --- Its effects

    def _await_owner(self, effect: AwaitOwner) -> None:
        self._wait = self._ask_at_length(effect)

    def _extend_timeout(self, effect: ExtendTimeout) -> None:
        for message in encode(effect):
            self._stream.send(message)

    def _wait_at_most(self, effect: WaitAtMost) -> None:
        self._start_timer(effect.after_ms, WaitOver())

    def _renew_later(self, effect: RenewLater) -> None:
        self._start_timer(effect.after_ms, RenewalDue())

    def _count(self, effect: Count) -> None:
        self._observer.counted(effect)

    def _count_outcome(self, effect: CountOutcome) -> None:
        self._observer.settled(effect)

    def _answer(self, answer: Answer) -> None:
        for message in encode(answer):
            self._stream.send(message)  # which drops it once the stream is over
        if self._phase is not None and not self._ended:
            phase, self._phase = self._phase, None
            self._observer.answered(phase, self._loop.time() - self._arrived)

    def _fetch_piece(self, effect: FetchPiece) -> None:
        """Ask for it once most of what was sent is with the peer: else all of a body would pile up here."""
        self._stream.when_writable(partial(self._ask, effect))

    def _break_off(self, effect: BreakOff) -> None:
        self._fail(effect.detail)

    def _start_timer(self, after_ms: int, event: TimerEvent) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timers.start(after_ms, self._feed, event)

    # --- Store and origin. Calls to them live longer than the stream: nothing after the last answer is safe
    # from cancellation, so nothing of the stream's ends them.

    def _ask(self, effect: StoreEffect) -> None:
        self._pending += 1
        self._performer.begin(effect, self._on_answer)

    def _execute(self, effect: Execute) -> None:
        """Make the call. A bug in that leaves open what it did, and the exchange has to settle it."""
        self._ask_at_length(effect, bug=_CALL_LOST)

    def _ask_at_length(self, effect: AwaitOwner | Execute, bug: OriginEvent | None = None) -> _Task:
        """What takes long needs time-outs, and may be called off: a task.

        Args:
            effect: What is asked.
            bug: What the exchange is told where there is a bug in it; None: its stream fails.
        """
        self._pending += 1
        task = self._loop.create_task(self._performer.perform(effect))
        task.add_done_callback(partial(self._on_task, bug))
        return task

    def _on_task(self, bug: OriginEvent | None, task: _Task) -> None:
        if task.cancelled():
            self._on_answer(None, None)
            return
        error = task.exception()
        if bug is not None and isinstance(error, Exception):
            self._observer.violated(_BUG, error)
            self._on_answer(bug, None)
        else:
            self._on_answer(None if error else task.result(), error)

    def _on_answer(self, event: StoreEvent | OriginEvent | None, error: BaseException | None) -> None:
        """What was asked has come back: with an event, with a bug, or with nothing, as it was called off."""
        self._pending -= 1
        if error is not None:
            self._fail(_BUG, error if isinstance(error, Exception) else None)
        elif event is not None:
            self._feed(event)
        if self._ended:
            self._close_when_done()

    # --- The end

    def _fail(self, detail: str, error: Exception | None = None) -> None:
        self._observer.violated(detail, error)
        if not self._ended:
            self._stream.fail(detail)
            self.on_end()

    def _close_when_done(self) -> None:
        if not self._pending and not self._closed:
            self._closed = True
            if self._timer is not None:  # after a bug: nobody is left for whom a claim would be renewed
                self._timer.cancel()
                self._timer = None
            self._observer.closed()

    # --- What carries out which kind of effect.

    _ACTS: ClassVar[dict[type[Effect], Callable[["Driver", Any], object]]] = {
        **dict.fromkeys(get_args(Answer), _answer),
        **dict.fromkeys((TakeClaim, Renew, Complete, Release, MarkUnknown, NoteFingerprint), _ask),
        Execute: _execute,
        AwaitOwner: _await_owner,
        FetchPiece: _fetch_piece,
        BreakOff: _break_off,
        ExtendTimeout: _extend_timeout,
        WaitAtMost: _wait_at_most,
        RenewLater: _renew_later,
        Count: _count,
        CountOutcome: _count_outcome,
    }


_PHASES: dict[type[EnvoyEvent], str] = {
    RequestHeaders: "request_headers",
    RequestBody: "request_body",
    RequestTrailers: "request_trailers",
    ResponseHeaders: "response_headers",
    ResponseBody: "response_body",
    ResponseTrailers: "response_trailers",
}
"""What the metrics call the phase of a message."""
