"""What every write keeps to; renewing a lease and noting a fingerprint."""

import pytest
from msgspec.structs import replace

from sidecar.idempotency.claim import (
    Claimed,
    InFlight,
    Recorded,
    Unknown,
    UnknownReason,
)
from sidecar.store.port import Store
from tests.store.store_scenes import (
    FINGERPRINT,
    HOLD,
    LONG,
    RECORD,
    RETRY,
    SHORT,
    WRITES,
    Clock,
    Write,
    ask,
    every_write,
    take,
    take_lapsed,
    wanted,
)


class WritingContract:
    """What every write keeps to; renewing a lease and noting a fingerprint."""

    # every write

    @every_write
    async def test_a_replaced_owner_can_change_nothing(
        self, store: Store, clock: Clock, write: Write
    ) -> None:
        paused = await take_lapsed(store, clock, "a")
        newer = await take(store, wanted("b"), RETRY)
        assert await write(store, paused) is False
        assert await ask(store, wanted("b"), HOLD) == Claimed(2, taken_over=True)
        await store.complete(newer, RECORD)
        assert await write(store, paused) is False
        assert await ask(store, wanted("c"), HOLD) == Recorded(RECORD)

    @every_write
    async def test_a_stranger_cannot_write_to_an_unknown_outcome(self, store: Store, write: Write) -> None:
        await store.mark_unknown(await take(store, wanted("a")), UnknownReason.ENVOY_REPLY, FINGERPRINT)
        assert await write(store, replace(wanted("b"), attempt=1)) is False
        assert await ask(store, wanted("c"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    @every_write
    async def test_a_stranger_cannot_write_to_a_released_id(self, store: Store, write: Write) -> None:
        await store.release(await take(store, wanted("a")))
        assert await write(store, replace(wanted("b"), attempt=1)) is False
        assert await ask(store, wanted("c"), HOLD) == Claimed(2)

    @every_write
    async def test_what_is_written_is_kept_for_the_ttl_from_that_moment(
        self, store: Store, clock: Clock, write: Write
    ) -> None:
        claim = await take(store, wanted("a"))
        assert await write(store, replace(claim, ttl_ms=SHORT)) is True
        await clock.advance(SHORT + 1)
        assert await ask(store, wanted("b"), HOLD) == Claimed(1)

    # renew

    async def test_renewing_extends_the_lease_from_now(self, store: Store) -> None:
        claim = await take(store, wanted("a", lease_ms=60_000))
        assert await store.renew(replace(claim, lease_ms=120_000)) is True
        result = await store.claim(wanted("b"), HOLD)
        assert isinstance(result, InFlight)
        assert result.lease_left_ms > 60_000

    async def test_a_late_renewal_counts_while_nobody_took_over(self, store: Store, clock: Clock) -> None:
        claim = await take_lapsed(store, clock, "a")
        assert await store.renew(replace(claim, lease_ms=LONG)) is True
        assert isinstance(await store.claim(wanted("b"), RETRY), InFlight)

    async def test_renewing_keeps_the_fingerprint(self, store: Store, clock: Clock) -> None:
        claim = await take(store, wanted("a", lease_ms=SHORT))
        await store.note_fingerprint(claim, FINGERPRINT)
        assert await store.renew(claim) is True
        await clock.advance(SHORT + 1)
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    async def test_renewing_a_lost_claim_puts_it_back(self, store: Store) -> None:
        assert await store.renew(replace(wanted("a"), attempt=3)) is True
        assert isinstance(await store.claim(wanted("b"), RETRY), InFlight)
        assert await ask(store, wanted("a"), HOLD) == Claimed(3)

    @pytest.mark.parametrize("settle", ["complete", "release", "mark_unknown"])
    async def test_a_settled_claim_is_neither_renewed_nor_noted(self, store: Store, settle: str) -> None:
        claim = await take(store, wanted("a"))
        await WRITES[settle](store, claim)
        assert await store.renew(claim) is False
        assert await store.note_fingerprint(claim, FINGERPRINT) is False
        assert not isinstance(await store.claim(wanted("b"), HOLD), InFlight)

    # note_fingerprint

    async def test_a_noted_fingerprint_does_not_extend_the_lease(self, store: Store, clock: Clock) -> None:
        claim = await take_lapsed(store, clock, "a")
        assert await store.note_fingerprint(replace(claim, lease_ms=LONG), FINGERPRINT) is True
        assert await store.claim(wanted("b"), HOLD) == Unknown(1, UnknownReason.LEASE_EXPIRED)

    async def test_noting_on_a_lost_claim_puts_both_back(self, store: Store) -> None:
        claim = replace(wanted("a"), attempt=2)
        assert await store.note_fingerprint(claim, FINGERPRINT) is True
        assert isinstance(await store.claim(wanted("b"), RETRY), InFlight)
        await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, None)
        assert await ask(store, wanted("b"), RETRY) == Claimed(3, FINGERPRINT, taken_over=True)
