"""Waiting until an id leaves in flight, and the ping."""

import asyncio

import pytest

from sidecar.idempotency.claim import (
    InFlight,
)
from sidecar.store.port import Store
from tests.store.store_scenes import (
    HOLD,
    PATIENT_MS,
    RECORD,
    SHORT,
    SOON_S,
    WRITES,
    Clock,
    take,
    take_lapsed,
    under_way,
    wanted,
)


class WaitingContract:
    """Waiting until an id leaves in flight, and the ping."""

    # wait

    @pytest.mark.parametrize("settle", ["complete", "release", "mark_unknown"])
    async def test_whoever_waits_is_woken_when_the_id_leaves_in_flight(
        self, store: Store, settle: str
    ) -> None:
        claim = await take(store, wanted("a"))
        waits = await under_way(*(store.wait("id", PATIENT_MS) for _ in range(3)))
        assert await WRITES[settle](store, claim) is True
        async with asyncio.timeout(SOON_S):
            await asyncio.gather(*waits)

    @pytest.mark.parametrize("state", ["absent", "released", "recorded", "unknown", "lapsed"])
    async def test_there_is_nothing_to_wait_for_where_the_id_is_not_in_flight(
        self, store: Store, clock: Clock, state: str
    ) -> None:
        settle = {"released": "release", "recorded": "complete", "unknown": "mark_unknown"}
        if state == "lapsed":
            await take_lapsed(store, clock, "a")
        elif state in settle:
            await WRITES[settle[state]](store, await take(store, wanted("a")))
        async with asyncio.timeout(SOON_S):
            await store.wait("id", PATIENT_MS)

    async def test_waiting_ends_with_its_time(self, store: Store) -> None:
        await take(store, wanted("a"))
        await store.wait("id", SHORT)
        assert isinstance(await store.claim(wanted("b"), HOLD), InFlight)

    async def test_waiting_for_one_id_is_not_disturbed_by_another(self, store: Store) -> None:
        await take(store, wanted("a"))
        other = await take(store, wanted("a", "other"))
        this, that = await under_way(store.wait("id", PATIENT_MS), store.wait("other", PATIENT_MS))
        await store.complete(other, RECORD)
        async with asyncio.timeout(SOON_S):
            await that
        assert not this.done()
        this.cancel()

    async def test_one_who_waits_no_longer_leaves_the_others_waiting(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        gone, short, staying = await under_way(
            store.wait("id", PATIENT_MS), store.wait("id", 400), store.wait("id", PATIENT_MS)
        )
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        await short
        assert not staying.done()
        await store.complete(claim, RECORD)
        async with asyncio.timeout(SOON_S):
            await staying

    async def test_an_attempt_after_the_one_waited_for_can_be_waited_for_too(self, store: Store) -> None:
        for owner in ("a", "b", "c"):
            claim = await take(store, wanted(owner))
            (wait,) = await under_way(store.wait("id", PATIENT_MS))
            await store.release(claim)
            async with asyncio.timeout(SOON_S):
                await wait

    # ping

    async def test_a_ping_returns_and_touches_no_claim(self, store: Store) -> None:
        await take(store, wanted("a"))
        await store.ping()
        assert isinstance(await store.claim(wanted("b"), HOLD), InFlight)
