"""One exchange on one stream: decodes messages, feeds the machine, performs its effects, encodes answers.

Driven by calls on the event loop's thread: the transport's, the store's answers, one timer. What the
machine can answer at once is answered in the same call.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from sidecar.exchange.effects import (
    Complete,
    Count,
    CountOutcome,
    Effect,
    MarkUnknown,
    Release,
    Renew,
    RenewLater,
    StoreEffect,
    TakeClaim,
)
from sidecar.exchange.events import Event, RenewalDue, StoreEvent, StreamEnded
from sidecar.exchange.machine import Exchange, ProtocolViolation
from sidecar.exchange.states import EXECUTING
from sidecar.extproc.codec import UndecodableMessageError, decode, encode
from sidecar.extproc.transport.port import Stream

PerformStore: TypeAlias = Callable[[StoreEffect], Coroutine[Any, Any, StoreEvent]]
"""Performs one store effect. Never raises: a store that fails answers with an event that says so."""


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
        "_pending",
        "_perform",
        "_stream",
        "_timer",
    )

    def __init__(
        self,
        stream: Stream,
        exchange: Exchange,
        perform: PerformStore,
        observer: Observer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._stream = stream
        self._exchange = exchange
        self._perform = perform
        self._observer = observer
        self._loop = loop
        self._pending: set[asyncio.Task[StoreEvent]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._arrived: tuple[str, float] | None = None
        self._ended = False
        self._closed = False
        observer.opened()

    # --- Called by the transport

    def on_message(self, message: bytes) -> None:
        """Decode a message and act on it; what cannot be decoded fails the stream."""
        if self._ended:
            return
        try:
            event = decode(message)
        except UndecodableMessageError as error:
            self._fail(str(error))
            return
        self._arrived = (type(event).__name__, self._loop.time())
        self._feed(event)

    def on_end(self) -> None:
        """The stream is over."""
        if not self._ended:
            self._ended = True
            self._feed(StreamEnded())
            self._close_when_done()

    # --- The machine

    def _feed(self, event: Event) -> None:
        try:
            for effect in self._exchange.handle(event):
                self._act(effect)
        except ProtocolViolation as violation:
            self._fail(str(violation))
            return
        except Exception as error:  # noqa: BLE001 (a bug here must fail closed, whatever it is)
            self._fail("internal error", error)
            return
        if self._timer is not None and self._exchange.state not in EXECUTING:
            self._timer.cancel()
            self._timer = None

    def _act(self, effect: Effect) -> None:
        match effect:
            case TakeClaim() | Renew() | Complete() | Release() | MarkUnknown():
                self._ask(effect)
            case RenewLater(after_ms=after_ms):
                self._timer = self._loop.call_later(after_ms / 1000, self._feed, RenewalDue())
            case Count():
                self._observer.counted(effect)
            case CountOutcome():
                self._observer.settled(effect)
            case _:
                self._answer(encode(effect))

    def _answer(self, messages: tuple[bytes, ...]) -> None:
        if self._ended:
            return
        for message in messages:
            self._stream.send(message)
        if self._arrived is not None:
            phase, since = self._arrived
            self._arrived = None
            self._observer.answered(phase, self._loop.time() - since)

    # --- The store. Its calls live longer than the stream: nothing after the last answer is safe from
    # cancellation, so they are tasks of their own.

    def _ask(self, effect: StoreEffect) -> None:
        task = self._loop.create_task(self._perform(effect))
        self._pending.add(task)
        task.add_done_callback(self._on_store_answer)

    def _on_store_answer(self, task: asyncio.Task[StoreEvent]) -> None:
        self._pending.discard(task)
        if not task.cancelled():
            error = task.exception()
            if error is None:
                self._feed(task.result())
            else:
                self._fail("internal error", error if isinstance(error, Exception) else None)
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
            self._observer.closed()
