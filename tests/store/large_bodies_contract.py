"""Records whose bodies are large: written in pieces, there as a whole or not at all."""

import pytest
from msgspec.structs import replace

from sidecar.idempotency.body import PIECE_BYTES, HeldBody
from sidecar.idempotency.claim import Claimed, InFlight, UnknownReason
from sidecar.idempotency.record import Record
from sidecar.store.port import Store
from tests.store.store_scenes import (
    FINGERPRINT,
    HOLD,
    LARGE_RECORD,
    OTHER_LARGE_RECORD,
    RECORD,
    RETRY,
    SHORT,
    Clock,
    ask,
    take,
    take_lapsed,
    take_over,
    wanted,
    whole,
)


class LargeBodiesContract:
    """Records whose bodies are large."""

    @pytest.mark.parametrize("record", [LARGE_RECORD, OTHER_LARGE_RECORD], ids=["text", "noise"])
    async def test_a_large_record_comes_back_as_it_was(self, store: Store, record: Record) -> None:
        assert await store.complete(await take(store, wanted("a")), record) is True
        assert await whole(store, await store.claim(wanted("b"), HOLD)) == record

    async def test_a_body_of_whole_pieces_only_comes_back_as_it_was(self, store: Store) -> None:
        record = replace(RECORD, body=HeldBody((b"a" * PIECE_BYTES, b"b" * PIECE_BYTES)))
        await store.complete(await take(store, wanted("a")), record)
        assert await whole(store, await store.claim(wanted("b"), HOLD)) == record

    async def test_a_repeated_complete_of_a_large_record_changes_nothing(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        assert [await store.complete(claim, LARGE_RECORD) for _ in range(2)] == [True, True]
        assert await store.complete(claim, RECORD) is True
        assert await whole(store, await store.claim(wanted("b"), HOLD)) == LARGE_RECORD

    async def test_a_replaced_owner_cannot_record_a_large_body(self, store: Store, clock: Clock) -> None:
        paused = await take_lapsed(store, clock, "a")
        newer = await take(store, wanted("b"), RETRY)
        assert await store.complete(paused, LARGE_RECORD) is False
        assert isinstance(await store.claim(wanted("c"), HOLD), InFlight)
        assert await store.complete(newer, OTHER_LARGE_RECORD) is True
        assert await store.complete(paused, LARGE_RECORD) is False
        assert await whole(store, await store.claim(wanted("c"), HOLD)) == OTHER_LARGE_RECORD

    async def test_a_large_record_resolves_the_attempts_own_unknown(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.mark_unknown(claim, UnknownReason.LOST_MID_RESPONSE, FINGERPRINT)
        assert await store.complete(claim, LARGE_RECORD) is True
        assert await whole(store, await store.claim(wanted("b"), RETRY)) == LARGE_RECORD

    async def test_an_attempt_that_took_over_may_record_a_large_body(self, store: Store) -> None:
        assert await store.complete(await take_over(store), LARGE_RECORD) is True
        assert await whole(store, await store.claim(wanted("c"), RETRY)) == LARGE_RECORD

    async def test_a_large_record_is_written_even_where_the_claim_was_lost(self, store: Store) -> None:
        assert await store.complete(replace(wanted("a"), attempt=1), LARGE_RECORD) is True
        assert await whole(store, await store.claim(wanted("b"), HOLD)) == LARGE_RECORD

    async def test_what_was_released_cannot_be_completed_with_a_large_body(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.release(claim)
        assert await store.complete(claim, LARGE_RECORD) is False
        assert await ask(store, wanted("b"), HOLD) == Claimed(2)

    async def test_a_large_record_is_forgotten_after_its_ttl_and_the_id_is_free(
        self, store: Store, clock: Clock
    ) -> None:
        await store.complete(await take(store, wanted("a", ttl_ms=SHORT)), LARGE_RECORD)
        await clock.advance(SHORT + 1)
        claim = await take(store, wanted("b"))
        assert claim.attempt == 1
        await store.complete(claim, OTHER_LARGE_RECORD)
        assert await whole(store, await store.claim(wanted("c"), HOLD)) == OTHER_LARGE_RECORD
