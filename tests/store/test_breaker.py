"""The circuit breaker: the whole contract through it, and when it opens, probes and closes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from msgspec.structs import replace

from sidecar.errand import Errand, Told
from sidecar.idempotency.body import KeptBody
from sidecar.idempotency.claim import Claim, ClaimResult, UnknownPolicy, UnknownReason
from sidecar.idempotency.record import Record
from sidecar.store.breaker import Breaker, Circuit
from sidecar.store.memory import MemoryStore
from sidecar.store.port import Store, StoreCorruptError, StoreNotAskedError, StoreUnavailableError
from tests.store.begun import Begun
from tests.store.contract import StoreContract
from tests.store.store_scenes import HOLD, PATIENT_MS, RECORD, WRITES, Write, every_write, take, wanted
from tests.store.test_memory_store import VirtualClock

GONE = StoreUnavailableError("claim on here: no connection")


class TestBreaker(StoreContract):
    """The contract, through a breaker whose circuit is closed."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def store(self, clock: VirtualClock) -> Breaker:
        return Breaker(MemoryStore(clock), clock)


class PromptMemoryStore(MemoryStore):
    """One of which claims and completions can be had without a coroutine; it counts how many were."""

    promptly = 0

    def begin_claim(self, wanted: Claim, unknown: UnknownPolicy, told: Told[ClaimResult]) -> None:
        self.promptly += 1
        Errand(self.claim(wanted, unknown), told, asyncio.get_running_loop())

    def begin_complete(self, claim: Claim, record: Record, told: Told[bool]) -> None:
        self.promptly += 1
        Errand(self.complete(claim, record), told, asyncio.get_running_loop())


class TestBegun(StoreContract):
    """The contract where claims and completions are asked of the breaker without a coroutine."""

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture(params=[MemoryStore, PromptMemoryStore])
    def store(self, request: pytest.FixtureRequest, clock: VirtualClock) -> Begun:
        return Begun(Breaker(request.param(clock), clock))


class FaultyStore(MemoryStore):
    """A store that fails while it has an `error`, counts what it is asked, and answers when `open`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.error: Exception | None = None
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()

    async def _meet(self) -> None:
        self.asked += 1
        error = self.error
        await self.open.wait()
        if error is not None:
            raise error

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        await self._meet()
        return await super().claim(wanted, unknown)

    async def renew(self, claim: Claim) -> bool:
        await self._meet()
        return await super().renew(claim)

    async def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        await self._meet()
        return await super().note_fingerprint(claim, fingerprint)

    async def complete(self, claim: Claim, record: Record) -> bool:
        await self._meet()
        return await super().complete(claim, record)

    async def read_piece(self, body: KeptBody, number: int) -> bytes:
        await self._meet()
        return b"%d of %d" % (number, body.count)

    async def release(self, claim: Claim) -> bool:
        await self._meet()
        return await super().release(claim)

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        await self._meet()
        return await super().mark_unknown(claim, reason, fingerprint)

    async def wait(self, claim_id: str, timeout_ms: int) -> None:
        await self._meet()
        return await super().wait(claim_id, timeout_ms)

    async def ping(self) -> None:
        await self._meet()


class PromptFaultyStore(PromptMemoryStore, FaultyStore):
    """Both at once."""


@dataclass
class Bench:
    """A breaker around a faulty store, the states it went through, and whoever asks it."""

    kind: type[FaultyStore] = FaultyStore
    begun: bool = False
    clock: VirtualClock = field(default_factory=VirtualClock)
    states: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = self.kind(self.clock)
        self.breaker = Breaker(
            self.store, self.clock, failures=3, open_for_s=1.0, on_change=self.states.append
        )
        self.front: Store = Begun(self.breaker) if self.begun else self.breaker

    async def claim(self, id_: str = "id") -> object:
        return await self.front.claim(wanted("a", id_), HOLD)

    async def fail(self, times: int) -> None:
        self.store.error = GONE
        for _ in range(times):
            with pytest.raises(StoreUnavailableError, match="no connection"):
                await self.claim()

    async def open(self) -> None:
        await self.fail(3)
        assert self.breaker.state is Circuit.OPEN
        self.store.asked = 0


WAYS = {
    "awaited": partial(Bench),
    "begun": partial(Bench, begun=True),
    "begun-promptly": partial(Bench, PromptFaultyStore, begun=True),
}


@pytest.fixture(params=WAYS)
def bench(request: pytest.FixtureRequest) -> Bench:
    return WAYS[request.param]()


async def refused(operation: Awaitable[object]) -> str:
    with pytest.raises(StoreUnavailableError) as refusal:
        await operation
    assert isinstance(refusal.value, StoreNotAskedError) == ("not asked" in str(refusal.value))
    return str(refusal.value)


# Closed


async def test_it_opens_when_enough_operations_failed_in_a_row(bench: Bench) -> None:
    await bench.fail(2)
    assert bench.states == []
    await bench.fail(1)
    assert bench.states == ["open"]


async def test_a_success_between_failures_keeps_it_closed(bench: Bench) -> None:
    for _ in range(5):
        await bench.fail(2)
        bench.store.error = None
        await bench.claim()
    assert bench.states == []


@every_write
async def test_the_failures_of_writes_count_too(bench: Bench, write: Write) -> None:
    bench.store.error = GONE
    for _ in range(3):
        await refused(write(bench.front, replace(wanted("a"), attempt=1)))
    assert bench.states == ["open"]


async def test_an_entry_that_cannot_be_read_is_an_answer(bench: Bench) -> None:
    for _ in range(5):
        await bench.fail(2)
        bench.store.error = StoreCorruptError("damaged")
        with pytest.raises(StoreCorruptError):
            await bench.claim()
    assert bench.states == []


async def test_operations_that_fail_together_open_it_once(bench: Bench) -> None:
    bench.store.error = GONE
    bench.store.open.clear()
    claims = [asyncio.create_task(bench.claim(f"id-{number}")) for number in range(20)]
    await asyncio.sleep(0)
    bench.store.open.set()
    results = await asyncio.gather(*claims, return_exceptions=True)
    assert results == [GONE] * 20
    assert bench.states == ["open"]


async def test_waits_that_fail_together_do_not_open_it(bench: Bench) -> None:
    bench.store.error = GONE
    waits = [bench.breaker.wait("id", PATIENT_MS) for _ in range(20)]
    assert await asyncio.gather(*waits, return_exceptions=True) == [GONE] * 20
    assert bench.states == []


# Open


async def test_open_a_claim_and_a_wait_fail_at_once_and_say_why(bench: Bench) -> None:
    await bench.open()
    await bench.clock.advance(400)
    why = "not asked, the store has failed 3 times in a row; a claim may try again in 0.6 s"
    assert await refused(bench.claim()) == f"claim: {why}"
    assert await refused(bench.breaker.wait("id", PATIENT_MS)) == f"wait: {why}"
    assert bench.store.asked == 0


@every_write
async def test_open_a_write_passes_and_its_success_closes(bench: Bench, write: Write) -> None:
    claim = await take(bench.front, wanted("a"))
    await bench.open()
    await refused(write(bench.front, claim))
    assert bench.states == ["open"]
    bench.store.error = None
    assert await write(bench.front, claim) is True
    assert bench.store.asked == 2
    assert bench.states == ["open", "closed"]
    await bench.claim("other")


async def test_open_the_release_of_a_claim_that_was_never_answered_waits(bench: Bench) -> None:
    never_answered = wanted("a")
    await bench.open()
    with pytest.raises(StoreNotAskedError, match="release: not asked"):
        await bench.breaker.release(never_answered)
    assert bench.store.asked == 0
    bench.store.error = None
    await bench.breaker.ping()
    assert await bench.breaker.release(never_answered) is True


async def test_open_a_ping_passes_and_its_success_closes(bench: Bench) -> None:
    await bench.open()
    await refused(bench.breaker.ping())
    bench.store.error = None
    await bench.breaker.ping()
    assert bench.store.asked == 2
    assert bench.states == ["open", "closed"]


async def test_open_failing_writes_do_not_put_the_probe_off(bench: Bench) -> None:
    await bench.open()
    for _ in range(10):
        await refused(bench.breaker.ping())
        await bench.clock.advance(101)
    bench.store.error = None
    await bench.claim()
    assert bench.states == ["open", "half-open", "closed"]


# Half-open


async def test_one_probe_that_succeeds_closes(bench: Bench) -> None:
    await bench.open()
    await bench.clock.advance(1000)
    bench.store.error = None
    await bench.claim()
    await bench.breaker.wait("id-of-nobody", PATIENT_MS)
    assert bench.states == ["open", "half-open", "closed"]
    await bench.fail(2)  # it counts from nought again
    assert bench.states == ["open", "half-open", "closed"]


async def test_a_probe_that_fails_opens_for_as_long_again(bench: Bench) -> None:
    await bench.open()
    await bench.clock.advance(1000)
    await bench.fail(1)
    assert bench.states == ["open", "half-open", "open"]
    await bench.clock.advance(999)
    assert "not asked" in await refused(bench.claim())
    await bench.clock.advance(1)
    await bench.fail(1)
    assert bench.store.asked == 2


async def test_while_one_probes_the_others_fail_at_once(bench: Bench) -> None:
    await bench.open()
    await bench.clock.advance(1000)
    bench.store.error = None
    bench.store.open.clear()
    probe = asyncio.create_task(bench.claim())
    await asyncio.sleep(0)
    for other in (bench.claim("other"), bench.breaker.wait("id", PATIENT_MS)):
        assert "a claim is just trying again" in await refused(other)
    bench.store.open.set()
    await probe
    assert bench.store.asked == 1
    assert bench.states == ["open", "half-open", "closed"]


async def test_a_probe_that_is_cancelled_makes_room_for_the_next() -> None:
    bench = Bench()
    await bench.open()
    await bench.clock.advance(1000)
    bench.store.error = None
    bench.store.open.clear()
    probe = asyncio.create_task(bench.claim())
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    bench.store.open.set()
    await bench.claim()
    assert bench.states == ["open", "half-open", "closed"]


async def test_a_probe_that_reads_damage_closes(bench: Bench) -> None:
    await bench.open()
    await bench.clock.advance(1000)
    bench.store.error = StoreCorruptError("damaged")
    with pytest.raises(StoreCorruptError):
        await bench.claim()
    assert bench.states == ["open", "half-open", "closed"]


async def test_a_probe_that_fails_after_a_write_succeeded_opens_nothing(bench: Bench) -> None:
    await bench.open()
    await bench.clock.advance(1000)
    held = bench.store.open = asyncio.Event()
    probe = asyncio.create_task(bench.claim())
    await asyncio.sleep(0)
    bench.store.open, bench.store.error = asyncio.Event(), None
    bench.store.open.set()
    await bench.breaker.ping()
    assert bench.states == ["open", "half-open", "closed"]
    held.set()
    assert "no connection" in await refused(probe)
    assert bench.states == ["open", "half-open", "closed"]


async def test_while_the_circuit_is_closed_a_claim_needs_no_coroutine_and_a_completion_never_does() -> None:
    bench = Bench(PromptFaultyStore, begun=True)
    store = bench.store
    assert isinstance(store, PromptFaultyStore)
    claim = await take(bench.front, wanted("a"))
    assert store.promptly == 1
    await bench.open()
    store.promptly, store.error = 0, None
    await bench.clock.advance(1000)
    await bench.claim()
    assert (store.asked, store.promptly) == (1, 0)
    await bench.open()
    store.promptly, store.error = 0, None
    assert await bench.front.complete(claim, RECORD) is True
    assert (store.asked, store.promptly) == (1, 1)
    assert bench.breaker.state is Circuit.CLOSED


async def test_a_bug_in_the_store_is_told_and_neither_counts_nor_closes(bench: Bench) -> None:
    bug = LookupError("a bug")
    await bench.fail(2)
    bench.store.error = bug
    for _ in range(5):
        with pytest.raises(LookupError) as raised:
            await bench.claim()
        assert raised.value is bug
    assert bench.states == []
    await bench.fail(1)
    assert bench.states == ["open"]


async def test_it_is_a_store(bench: Bench) -> None:
    store = bench.front
    claim = await take(store, wanted("a"))
    assert await WRITES["complete"](store, replace(claim, attempt=1)) is True
    await store.close()


async def test_what_a_client_has_the_beginning_of_is_read_on_while_the_circuit_is_open(bench: Bench) -> None:
    body = KeptBody("id", "a", 6, 4, (1, 2), compressed=False)
    await bench.open()
    bench.store.error = None

    assert await bench.breaker.read_piece(body, 1) == b"1 of 2"
    assert bench.breaker.state is Circuit.CLOSED


async def test_pieces_that_cannot_be_read_open_the_circuit_and_damaged_ones_do_not(bench: Bench) -> None:
    body = KeptBody("id", "a", 6, 4, (1, 2), compressed=False)
    for error in (StoreCorruptError("damaged"), GONE):
        bench.store.error = error
        for _ in range(3):
            with pytest.raises(type(error)):
                await bench.breaker.read_piece(body, 1)
        assert bench.states == (["open"] if error is GONE else [])
