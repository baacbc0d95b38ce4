import asyncio

import pytest

from sidecar.idempotency.body import KeptBody
from sidecar.idempotency.claim import Claimed, Expired, InFlight, Recorded, Unknown, UnknownReason
from sidecar.store.memory import SWEEP_LIMIT, MemoryStore
from sidecar.store.port import StoreCorruptError
from tests.store.contract import StoreContract
from tests.store.store_scenes import (
    HOLD,
    LARGE_RECORD,
    LONG,
    PATIENT_MS,
    RECORD,
    SHORT,
    SOON_S,
    ask,
    take,
    under_way,
    wanted,
)


class VirtualClock:
    """A clock that only a test moves, in seconds as `time.monotonic` gives them."""

    def __init__(self) -> None:
        self.seconds = 1_000_000.25

    def __call__(self) -> float:
        return self.seconds

    async def advance(self, ms: int) -> None:
        self.seconds += ms / 1000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store(clock: VirtualClock) -> MemoryStore:
    return MemoryStore(clock)


class TestMemoryStore(StoreContract):
    """The contract, over memory."""


async def test_a_lease_ends_on_its_last_millisecond(store: MemoryStore, clock: VirtualClock) -> None:
    await take(store, wanted("a", lease_ms=1000))
    await clock.advance(999)
    assert await store.claim(wanted("b"), HOLD) == InFlight(1)
    await clock.advance(1)
    assert await store.claim(wanted("b"), HOLD) == Unknown(1, UnknownReason.LEASE_EXPIRED)


async def test_expired_entries_are_dropped_by_whatever_comes_next(
    store: MemoryStore, clock: VirtualClock
) -> None:
    for number in range(SWEEP_LIMIT):
        await take(store, wanted("a", f"id-{number}", ttl_ms=SHORT))
    await clock.advance(SHORT)
    await take(store, wanted("a", "another"))
    assert list(store._entries) == ["another"]
    assert [id_ for _, id_ in store._due] == ["another"]


async def test_one_operation_clears_a_bounded_number_away(store: MemoryStore, clock: VirtualClock) -> None:
    for number in range(3 * SWEEP_LIMIT):
        await take(store, wanted("a", f"id-{number}", ttl_ms=SHORT))
    await clock.advance(SHORT)
    await store.renew(wanted("nobody", "absent"))
    assert len(store._entries) == 2 * SWEEP_LIMIT + 1


async def test_an_expired_entry_that_is_not_cleared_away_yet_is_absent_all_the_same(
    store: MemoryStore, clock: VirtualClock
) -> None:
    for number in range(3 * SWEEP_LIMIT):
        await take(store, wanted("a", f"id-{number:02}", ttl_ms=SHORT))
    await clock.advance(SHORT)
    assert await ask(store, wanted("b", f"id-{3 * SWEEP_LIMIT - 1:02}"), HOLD) == Claimed(1)


async def test_a_claim_renewed_for_ever_is_queued_once(store: MemoryStore, clock: VirtualClock) -> None:
    claim = await take(store, wanted("a", ttl_ms=100))
    for _ in range(1000):
        await clock.advance(60)
        assert await store.renew(claim)
    assert len(store._due) == 1
    await store.complete(claim, RECORD)
    await clock.advance(100)
    assert await ask(store, wanted("b"), HOLD) == Claimed(1)


async def test_a_shorter_ttl_than_before_is_kept_to(store: MemoryStore, clock: VirtualClock) -> None:
    await take(store, wanted("a", ttl_ms=LONG))
    await take(store, wanted("a", ttl_ms=SHORT))
    await clock.advance(SHORT)
    assert await ask(store, wanted("b"), HOLD) == Claimed(1)


async def test_no_operation_gives_way_to_another(store: MemoryStore) -> None:
    other_ran = False

    async def other() -> None:
        nonlocal other_ran
        other_ran = True

    waiting = asyncio.create_task(other())
    claim = await take(store, wanted("a"))
    await store.renew(claim)
    await store.complete(claim, RECORD)
    await store.ping()
    await store.close()
    assert not other_ran
    await waiting


async def test_whoever_waits_is_told_when_the_lease_that_stands_would_end(store: MemoryStore) -> None:
    await take(store, wanted("a", lease_ms=SHORT))
    async with asyncio.timeout(SOON_S):
        await store.wait("id", PATIENT_MS)


async def test_nothing_is_left_of_those_who_waited(store: MemoryStore) -> None:
    claim = await take(store, wanted("a"))
    cancelled, settled = await under_way(store.wait("id", PATIENT_MS), store.wait("id", PATIENT_MS))
    cancelled.cancel()
    await store.wait("id", 1)
    await store.complete(claim, RECORD)
    await settled
    assert not store._waiting


async def test_the_bytes_of_a_record_past_its_ttl_are_let_go(store: MemoryStore, clock: VirtualClock) -> None:
    await store.complete(await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=LONG)), RECORD)
    await clock.advance(SHORT)
    assert await store.claim(wanted("b"), HOLD) == Expired()
    assert "Record(" not in repr(store._entries)


async def test_a_large_record_is_handed_out_with_its_body_and_has_no_pieces_to_read(
    store: MemoryStore,
) -> None:
    await store.complete(await take(store, wanted("a")), LARGE_RECORD)
    assert await ask(store, wanted("b"), HOLD) == Recorded(LARGE_RECORD)
    with pytest.raises(StoreCorruptError, match="keeps no bodies in pieces"):
        await store.read_piece(KeptBody("id", "a", 6, 4, (1, 2), compressed=False), 0)
