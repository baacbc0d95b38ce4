"""The writes that end an attempt: complete, release, mark_unknown."""

import pytest
from msgspec.structs import replace

from sidecar.idempotency.claim import (
    Claimed,
    InFlight,
    Recorded,
    Unknown,
    UnknownReason,
)
from sidecar.idempotency.record import Record
from sidecar.store.port import Store
from tests.store.store_scenes import (
    FINGERPRINT,
    HOLD,
    OTHER_FINGERPRINT,
    OTHER_RECORD,
    RECORD,
    RETRY,
    SHORT,
    WRITES,
    Clock,
    ask,
    take,
    take_lapsed,
    take_over,
    wanted,
)


class SettlingContract:
    """The writes that end an attempt: complete, release, mark_unknown."""

    # complete

    async def test_a_lapsed_owner_may_still_complete(self, store: Store, clock: Clock) -> None:
        assert await store.complete(await take_lapsed(store, clock, "a"), RECORD) is True
        assert await ask(store, wanted("b"), RETRY) == Recorded(RECORD)

    async def test_an_owner_resolves_its_own_unknown(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.mark_unknown(claim, UnknownReason.LOST_MID_RESPONSE, None)
        assert await store.complete(claim, RECORD) is True
        assert await ask(store, wanted("b"), RETRY) == Recorded(RECORD)

    async def test_a_record_is_written_even_where_the_claim_was_lost(self, store: Store) -> None:
        assert await store.complete(replace(wanted("a"), attempt=1), RECORD) is True
        assert await ask(store, wanted("b"), HOLD) == Recorded(RECORD)

    async def test_a_record_is_never_overwritten(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.complete(claim, RECORD)
        assert await store.complete(claim, OTHER_RECORD) is True
        assert await store.complete(replace(claim, owner="b"), OTHER_RECORD) is False
        assert await ask(store, wanted("c"), HOLD) == Recorded(RECORD)

    async def test_a_repeated_complete_does_not_change_how_long_the_record_is_kept(
        self, store: Store, clock: Clock
    ) -> None:
        claim = await take(store, wanted("a"))
        await store.complete(claim, RECORD)
        await store.complete(replace(claim, ttl_ms=SHORT), RECORD)
        await clock.advance(SHORT + 1)
        assert await ask(store, wanted("b"), HOLD) == Recorded(RECORD)

    async def test_what_was_released_cannot_be_completed(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.release(claim)
        assert await store.complete(claim, RECORD) is False
        assert await ask(store, wanted("b"), HOLD) == Claimed(2)

    async def test_a_record_without_a_body_or_a_fingerprint_comes_back_as_it_was(self, store: Store) -> None:
        bare = Record(status=204, headers=(), body=b"", trailers=(), fingerprint=None, replayable=False)
        await store.complete(await take(store, wanted("a")), bare)
        assert await ask(store, wanted("b"), HOLD) == Recorded(bare)

    # release

    async def test_a_released_id_counts_on_and_forgets_the_fingerprint(self, store: Store) -> None:
        for attempt in (1, 2, 3):
            claim = await take(store, wanted("a"))
            assert claim.attempt == attempt
            await store.note_fingerprint(claim, FINGERPRINT)
            assert await store.release(claim) is True
        assert await ask(store, wanted("b"), HOLD) == Claimed(4, None)

    async def test_a_lapsed_owner_may_still_release(self, store: Store, clock: Clock) -> None:
        assert await store.release(await take_lapsed(store, clock, "a")) is True
        assert await ask(store, wanted("b"), HOLD) == Claimed(2)

    async def test_a_repeated_release_stands(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        assert [await store.release(claim) for _ in range(2)] == [True, True]
        assert await ask(store, wanted("b"), HOLD) == Claimed(2)

    async def test_releasing_a_lost_claim_writes_nothing(self, store: Store) -> None:
        assert await store.release(replace(wanted("a"), attempt=7)) is True
        assert await ask(store, wanted("b"), HOLD) == Claimed(1)

    @pytest.mark.parametrize("settle", ["complete", "mark_unknown"])
    async def test_what_is_settled_cannot_be_released(self, store: Store, settle: str) -> None:
        claim = await take(store, wanted("a"))
        await WRITES[settle](store, claim)
        assert await store.release(claim) is False
        assert not isinstance(await store.claim(wanted("b"), HOLD), Claimed)

    async def test_an_attempt_that_took_over_may_not_release(self, store: Store) -> None:
        second = await take_over(store)
        assert await store.release(second) is False
        assert isinstance(await store.claim(wanted("c"), RETRY), InFlight)
        assert await store.mark_unknown(second, UnknownReason.EARLIER_ATTEMPT, None) is True
        assert await store.release(second) is False
        assert await store.claim(wanted("c"), HOLD) == Unknown(2, UnknownReason.EARLIER_ATTEMPT)

    async def test_an_attempt_that_took_over_may_record(self, store: Store) -> None:
        second = await take_over(store)
        assert await store.complete(second, RECORD) is True
        assert await ask(store, wanted("c"), RETRY) == Recorded(RECORD)

    # mark_unknown

    async def test_a_fingerprint_given_late_replaces_the_one_noted(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.note_fingerprint(claim, FINGERPRINT)
        assert await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, OTHER_FINGERPRINT) is True
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, OTHER_FINGERPRINT, taken_over=True)

    async def test_the_fingerprint_noted_before_is_kept_where_none_is_given(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.note_fingerprint(claim, FINGERPRINT)
        assert await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, None) is True
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    async def test_a_lost_claim_is_marked_all_the_same(self, store: Store) -> None:
        lost = replace(wanted("a"), attempt=2)
        assert await store.mark_unknown(lost, UnknownReason.ENVOY_REPLY, FINGERPRINT) is True
        assert await store.claim(wanted("b"), HOLD) == Unknown(2, UnknownReason.ENVOY_REPLY)
        assert await ask(store, wanted("b"), RETRY) == Claimed(3, FINGERPRINT, taken_over=True)

    async def test_the_first_mark_stands(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.mark_unknown(claim, UnknownReason.UPSTREAM_STATUS, FINGERPRINT)
        assert await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, OTHER_FINGERPRINT) is True
        assert await store.claim(wanted("b"), HOLD) == Unknown(1, UnknownReason.UPSTREAM_STATUS)
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    @pytest.mark.parametrize("settle", ["complete", "release"])
    async def test_what_is_settled_cannot_be_marked(self, store: Store, settle: str) -> None:
        claim = await take(store, wanted("a"))
        await WRITES[settle](store, claim)
        assert await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, None) is False
        assert not isinstance(await store.claim(wanted("b"), HOLD), Unknown)
