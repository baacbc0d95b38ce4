"""Who is granted an id, who is not, and what is left of it past its ttl."""

import asyncio
import time

import pytest
from msgspec.structs import replace

from sidecar.idempotency.claim import (
    Claimed,
    Expired,
    InFlight,
    Recorded,
    Unknown,
    UnknownPolicy,
    UnknownReason,
)
from sidecar.store.port import Store
from tests.store.store_scenes import (
    FINGERPRINT,
    HOLD,
    LONG,
    OTHER_RECORD,
    RECORD,
    RETRY,
    SHORT,
    WRITES,
    Clock,
    ask,
    both_policies,
    outlive,
    take,
    take_lapsed,
    take_over,
    wanted,
)

SLACK_MS = 5_000
"""How far the clocks of store and test, on one machine, may be apart, and how long the test may take."""


class ClaimingContract:
    """Who is granted an id, who is not, and what is left of it past its ttl."""

    # claim

    async def test_an_absent_id_is_claimed_as_the_first_attempt(self, store: Store) -> None:
        assert await ask(store, wanted("a"), HOLD) == Claimed(1, None)

    async def test_a_claim_and_a_record_tell_when_their_ttl_ends(self, store: Store) -> None:
        before = time.time() * 1000
        claimed = await store.claim(wanted("a"), HOLD)
        assert isinstance(claimed, Claimed)
        assert await store.complete(wanted("a").granted(1), RECORD)
        recorded = await store.claim(wanted("b"), HOLD)
        assert isinstance(recorded, Recorded)

        assert before - SLACK_MS <= claimed.expires_ms - wanted("a").ttl_ms <= time.time() * 1000 + SLACK_MS
        assert claimed.expires_ms <= recorded.expires_ms <= claimed.expires_ms + SLACK_MS

    async def test_ids_are_independent(self, store: Store) -> None:
        await take(store, wanted("a", "one"))
        assert await ask(store, wanted("b", "two"), HOLD) == Claimed(1)

    @both_policies
    async def test_a_second_owner_is_told_how_long_the_lease_lasts(
        self, store: Store, policy: UnknownPolicy
    ) -> None:
        await take(store, wanted("a", lease_ms=60_000))
        result = await store.claim(wanted("b"), policy)
        assert isinstance(result, InFlight)
        assert 0 < result.lease_left_ms <= 60_000

    async def test_a_claim_repeated_by_its_owner_is_granted_again_with_a_new_lease(
        self, store: Store
    ) -> None:
        await take(store, wanted("a", lease_ms=60_000))
        assert await ask(store, wanted("a", lease_ms=120_000), HOLD) == Claimed(1)
        result = await store.claim(wanted("b"), HOLD)
        assert isinstance(result, InFlight)
        assert result.lease_left_ms > 60_000

    async def test_a_repeated_takeover_answers_with_the_earlier_fingerprint_again(self, store: Store) -> None:
        first = await take(store, wanted("a"))
        await store.mark_unknown(first, UnknownReason.UPSTREAM_STATUS, FINGERPRINT)
        answers = [await ask(store, wanted("b"), RETRY) for _ in range(2)]
        assert answers == [Claimed(2, FINGERPRINT, taken_over=True)] * 2

    @both_policies
    async def test_a_recorded_id_answers_with_its_record(self, store: Store, policy: UnknownPolicy) -> None:
        await store.complete(await take(store, wanted("a")), RECORD)
        assert await ask(store, wanted("b"), policy) == Recorded(RECORD)
        assert await ask(store, wanted("a"), policy) == Recorded(RECORD)

    @pytest.mark.parametrize("reason", list(UnknownReason))
    async def test_an_unknown_outcome_is_held_with_its_reason(
        self, store: Store, reason: UnknownReason
    ) -> None:
        await store.mark_unknown(await take(store, wanted("a")), reason, FINGERPRINT)
        assert await store.claim(wanted("b"), HOLD) == Unknown(1, reason)

    async def test_an_unknown_outcome_is_taken_over_with_its_fingerprint(self, store: Store) -> None:
        await store.mark_unknown(await take(store, wanted("a")), UnknownReason.ENVOY_REPLY, FINGERPRINT)
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)
        assert isinstance(await store.claim(wanted("c"), RETRY), InFlight)

    async def test_a_lease_that_ran_out_is_read_as_unknown(self, store: Store, clock: Clock) -> None:
        await take_lapsed(store, clock, "a")
        for owner in ("a", "b"):
            assert await store.claim(wanted(owner), HOLD) == Unknown(1, UnknownReason.LEASE_EXPIRED)

    async def test_a_lease_that_ran_out_is_taken_over(self, store: Store, clock: Clock) -> None:
        first = await take_lapsed(store, clock, "a")
        await store.note_fingerprint(first, FINGERPRINT)
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    async def test_the_earlier_fingerprint_outlives_a_second_takeover(self, store: Store) -> None:
        await store.mark_unknown(await take(store, wanted("a")), UnknownReason.ENVOY_REPLY, FINGERPRINT)
        second = await take(store, wanted("b"), RETRY)
        await store.mark_unknown(second, UnknownReason.ENVOY_REPLY, None)
        assert await ask(store, wanted("c"), RETRY) == Claimed(3, FINGERPRINT, taken_over=True)

    async def test_an_id_is_absent_again_after_its_ttl(self, store: Store, clock: Clock) -> None:
        await take(store, wanted("a", ttl_ms=SHORT))
        await clock.advance(SHORT + 1)
        assert await ask(store, wanted("b"), HOLD) == Claimed(1)

    async def test_of_64_simultaneous_claims_exactly_one_wins(self, store: Store) -> None:
        owners = [f"owner-{number}" for number in range(64)]
        results = await asyncio.gather(*(store.claim(wanted(owner), HOLD) for owner in owners))
        assert sum(isinstance(result, Claimed) for result in results) == 1
        assert sum(isinstance(result, InFlight) for result in results) == 63

    async def test_of_64_simultaneous_takeovers_exactly_one_wins(self, store: Store) -> None:
        await store.mark_unknown(await take(store, wanted("a"), RETRY), UnknownReason.ENVOY_REPLY, None)
        owners = [f"owner-{number}" for number in range(64)]
        results = await asyncio.gather(*(ask(store, wanted(owner), RETRY) for owner in owners))
        assert [result for result in results if isinstance(result, Claimed)] == [Claimed(2, taken_over=True)]

    # a claim that takes over

    async def test_a_takeover_is_told_to_everybody_after_it(self, store: Store) -> None:
        second = await take_over(store)
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)
        assert await store.renew(second) is True
        await store.note_fingerprint(second, FINGERPRINT)
        assert await ask(store, wanted("b"), HOLD) == Claimed(2, FINGERPRINT, taken_over=True)
        await store.mark_unknown(second, UnknownReason.EARLIER_ATTEMPT, None)
        assert await ask(store, wanted("c"), RETRY) == Claimed(3, FINGERPRINT, taken_over=True)

    async def test_an_attempt_after_a_release_took_nothing_over(self, store: Store) -> None:
        await store.release(await take(store, wanted("a")))
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, None, taken_over=False)
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, None, taken_over=False)

    async def test_its_own_lapsed_attempt_is_taken_over_like_any_other(
        self, store: Store, clock: Clock
    ) -> None:
        await take_lapsed(store, clock, "a")
        assert await ask(store, wanted("a"), RETRY) == Claimed(2, None, taken_over=True)

    # a claim that takes over an attempt of which no fingerprint stands

    async def test_an_attempt_that_would_have_noted_its_fingerprint_is_taken_over_by_anybody(
        self, store: Store, clock: Clock
    ) -> None:
        first = await take_lapsed(store, clock, "a", RETRY)
        assert await store.renew(first) is True
        await store.mark_unknown(first, UnknownReason.ENVOY_REPLY, None)
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, None, taken_over=True)

    async def test_an_attempt_claimed_under_hold_is_held_though_the_policy_is_retry_now(
        self, store: Store, clock: Clock
    ) -> None:
        first = await take_lapsed(store, clock, "a", HOLD)
        assert await store.claim(wanted("b"), RETRY) == Unknown(1, UnknownReason.LEASE_EXPIRED)
        await store.mark_unknown(first, UnknownReason.ENVOY_REPLY, None)
        assert await store.claim(wanted("b"), RETRY) == Unknown(1, UnknownReason.ENVOY_REPLY)

    @pytest.mark.parametrize("noted", [True, False], ids=["noted", "marked"])
    async def test_an_attempt_claimed_under_hold_is_taken_over_once_its_fingerprint_stands(
        self, store: Store, clock: Clock, noted: bool
    ) -> None:
        first = await take_lapsed(store, clock, "a", HOLD)
        if noted:
            await store.note_fingerprint(first, FINGERPRINT)
        else:
            await store.mark_unknown(first, UnknownReason.ENVOY_REPLY, FINGERPRINT)
        assert await ask(store, wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    async def test_an_attempt_that_was_put_back_without_its_fingerprint_is_held(
        self, store: Store, clock: Clock
    ) -> None:
        put_back = replace(wanted("a", lease_ms=SHORT), attempt=1)
        assert await store.renew(put_back) is True
        await clock.advance(SHORT + 1)
        assert await store.claim(wanted("b"), RETRY) == Unknown(1, UnknownReason.LEASE_EXPIRED)

    # a claim past the ttl

    async def test_a_record_past_its_ttl_is_refused_until_its_tombstone_ends(
        self, store: Store, clock: Clock
    ) -> None:
        claim = await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=LONG))
        await store.complete(claim, RECORD)
        await outlive(clock)
        for _ in range(2):
            assert await store.claim(wanted("b"), RETRY) == Expired()
        assert await store.complete(claim, OTHER_RECORD) is True
        assert await store.complete(replace(claim, owner="b"), OTHER_RECORD) is False
        assert await store.claim(wanted("a"), RETRY) == Expired()

    @both_policies
    async def test_an_unknown_outcome_past_its_ttl_is_refused(
        self, store: Store, clock: Clock, policy: UnknownPolicy
    ) -> None:
        claim = await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=LONG))
        await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, FINGERPRINT)
        await outlive(clock)
        assert await store.claim(wanted("b"), policy) == Expired()

    @both_policies
    async def test_an_attempt_whose_lease_and_ttl_ended_is_refused(
        self, store: Store, clock: Clock, policy: UnknownPolicy
    ) -> None:
        await take(store, wanted("a", lease_ms=SHORT, ttl_ms=SHORT, tombstone_ms=LONG))
        await outlive(clock)
        for owner in ("a", "b"):
            assert await store.claim(wanted(owner), policy) == Expired()

    async def test_an_attempt_with_a_lease_is_in_flight_whatever_its_ttl(
        self, store: Store, clock: Clock
    ) -> None:
        await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=LONG))
        await outlive(clock)
        assert isinstance(await store.claim(wanted("b"), RETRY), InFlight)
        assert await ask(store, wanted("a"), HOLD) == Claimed(1)

    @pytest.mark.parametrize("settle", ["take", "complete", "mark_unknown"])
    async def test_an_id_is_absent_again_after_its_tombstone(
        self, store: Store, clock: Clock, settle: str
    ) -> None:
        claim = await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=SHORT))
        if settle != "take":
            await WRITES[settle](store, claim)
        await clock.advance(2 * SHORT + 1)
        assert await ask(store, wanted("b"), HOLD) == Claimed(1)

    async def test_a_released_id_leaves_no_tombstone(self, store: Store, clock: Clock) -> None:
        await store.release(await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=LONG)))
        await outlive(clock)
        assert await ask(store, wanted("b"), HOLD) == Claimed(1)

    @pytest.mark.parametrize("write", ["renew", "note_fingerprint", "mark_unknown"])
    async def test_the_owner_in_flight_begins_the_ttl_anew_past_its_end(
        self, store: Store, clock: Clock, write: str
    ) -> None:
        claim = await take(store, wanted("a", lease_ms=SHORT, ttl_ms=SHORT, tombstone_ms=LONG))
        await outlive(clock)
        assert await WRITES[write](store, replace(claim, ttl_ms=LONG)) is True
        await clock.advance(SHORT + 1)
        assert isinstance(await store.claim(wanted("b"), HOLD), Unknown)

    async def test_a_late_answer_is_recorded_for_a_ttl_of_its_own(self, store: Store, clock: Clock) -> None:
        claim = await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=LONG))
        await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, None)
        await outlive(clock)
        assert await store.complete(replace(claim, ttl_ms=LONG), RECORD) is True
        assert await ask(store, wanted("b"), HOLD) == Recorded(RECORD)
