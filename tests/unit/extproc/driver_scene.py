"""A driver on a stream: the real machine and codec, a store that answers when told, virtual time."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, cast

from sidecar.errand import Errand, Told
from sidecar.exchange.effects import Count, CountOutcome, Effect, Execute, StoreEffect
from sidecar.exchange.events import Claimed, OriginEvent, Settled, StoreEvent
from sidecar.exchange.machine import Exchange
from sidecar.extproc.driver import Driver
from sidecar.extproc.timers import Timer, Timers
from sidecar.idempotency.policy import Policies, Policy
from tests.unit.extproc.envoy_messages import phase, request_headers

POLICY = Policy("default", lease_ms=30_000)
POLICIES = Policies((POLICY,))
CLAIMED, KEPT = Claimed(1), Settled(held=True)


@dataclass
class FakeStream:
    sent: list[bytes] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    writable: bool = True
    told: list[Callable[[], None]] = field(default_factory=list)
    paused: bool = False
    sent_along: dict[str, str] = field(default_factory=dict)
    """The call's initial metadata."""

    def pause_reading(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_reading(self) -> None:
        assert self.paused
        self.paused = False

    def send(self, message: bytes) -> None:
        self.sent.append(message)

    def metadata(self, name: str) -> str | None:
        return self.sent_along.get(name)

    def when_writable(self, told: Callable[[], None]) -> None:
        if self.writable:
            told()
        else:
            self.told.append(told)

    def fail(self, detail: str) -> None:
        self.failures.append(detail)

    def phases(self) -> list[str]:
        """The phases answered so far."""
        return [phase(message) for message in self.sent]


class ByErrands(ABC):
    """Begins every effect by a coroutine that performs it (`extproc.driver.Performer`)."""

    @abstractmethod
    async def perform(self, effect: StoreEffect | Execute) -> StoreEvent | OriginEvent: ...

    def begin(self, effect: StoreEffect, told: Told[StoreEvent]) -> None:
        performing = cast("Coroutine[Any, Any, StoreEvent]", self.perform(effect))
        Errand(performing, told, asyncio.get_running_loop())


class Performing(ByErrands):
    """What performs effects, where that is a function."""

    def __init__(
        self, function: Callable[[StoreEffect | Execute], Awaitable[StoreEvent | OriginEvent]]
    ) -> None:
        self._function = function

    async def perform(self, effect: StoreEffect | Execute) -> StoreEvent | OriginEvent:
        return await self._function(effect)


@dataclass
class FakeStore(ByErrands):
    """Store and origin: keeps every effect until the test says what comes of it."""

    asked: list[StoreEffect | Execute] = field(default_factory=list)
    waiting: list[asyncio.Future[StoreEvent | OriginEvent]] = field(default_factory=list)

    async def perform(self, effect: StoreEffect | Execute) -> StoreEvent | OriginEvent:
        self.asked.append(effect)
        answer: asyncio.Future[StoreEvent | OriginEvent] = asyncio.get_running_loop().create_future()
        self.waiting.append(answer)
        return await answer

    async def answers(self, outcome: StoreEvent | OriginEvent | Exception, nth: int = 0) -> None:
        """Let the nth oldest operation under way come back."""
        await turn()
        if isinstance(outcome, Exception):
            self.waiting.pop(nth).set_exception(outcome)
        else:
            self.waiting.pop(nth).set_result(outcome)
        await turn()

    def under_way(self) -> int:
        """How many operations have not come back and were not called off."""
        return sum(not answer.done() for answer in self.waiting)


@dataclass
class FakeTimer:
    due: float
    run: Callable[[], None]


@dataclass
class VirtualLoop:
    """The running loop's tasks under a clock that the test winds."""

    now: float = 100.0
    timers: list[FakeTimer] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_at(self, due: float, callback: Callable[..., None], *args: Any) -> FakeTimer:
        self.timers.append(FakeTimer(due, lambda: callback(*args)))
        return self.timers[-1]

    def create_task(self, coroutine: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().create_task(coroutine)

    def wind(self, seconds: float) -> None:
        self.now += seconds
        for timer in [timer for timer in self.timers if timer.due <= self.now]:
            self.timers.remove(timer)
            timer.run()


@dataclass
class FakeObserver:
    told: list[tuple[Any, ...]] = field(default_factory=list)

    def opened(self) -> None:
        self.told.append(("opened",))

    def closed(self) -> None:
        self.told.append(("closed",))

    def answered(self, phase: str, seconds: float) -> None:
        self.told.append(("answered", phase, round(seconds, 3)))

    def counted(self, count: Count) -> None:
        self.told.append(("counted", count.result))

    def settled(self, outcome: CountOutcome) -> None:
        self.told.append(("settled", outcome.outcome.value, str(outcome.reason)))

    def violated(self, detail: str, error: Exception | None) -> None:
        self.told.append(("violated", detail, error))

    def of(self, what: str) -> list[tuple[Any, ...]]:
        return [told[1:] for told in self.told if told[0] == what]


async def turn() -> None:
    """Let everything that is ready run."""
    for _ in range(4):
        await asyncio.sleep(0)


class Scene:
    """A driver and everything around it."""

    def __init__(
        self,
        exchange: Exchange | None = None,
        *,
        policy: Policy = POLICY,
        store: FakeStore | None = None,
    ) -> None:
        self.stream, self.observer, self.loop = FakeStream(), FakeObserver(), VirtualLoop()
        self.store = store or FakeStore()
        self.exchange = exchange or Exchange(Policies((policy,)), "owner-1")
        self.timers = Timers(cast("asyncio.AbstractEventLoop", self.loop))
        self.driver = Driver(self.stream, self.exchange, self.store, self.observer, self.timers)

    async def claimed(self, *, end: bool = True) -> "Scene":
        """Bring a keyed request to where it is forwarded."""
        self.driver.on_message(request_headers(end=end))
        await self.store.answers(CLAIMED)
        return self

    def pending(self) -> list[Timer]:
        """The exchange's timers that run."""
        return [timer for queue in self.timers._queues.values() for timer in queue.waiting]

    def asked(self) -> list[type[Effect]]:
        """What store and origin were asked for, in order."""
        return [type(effect) for effect in self.store.asked]
