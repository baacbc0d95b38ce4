"""What every store keeps, as tests: subclass `StoreContract`, provide the fixtures `store` and `clock`."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeAlias

import pytest

from sidecar.idempotency.claim import (
    Claim,
    Claimed,
    Expired,
    InFlight,
    Recorded,
    Unknown,
    UnknownPolicy,
    UnknownReason,
)
from sidecar.idempotency.record import Record
from sidecar.store.port import Store

HOLD, RETRY = UnknownPolicy.HOLD, UnknownPolicy.RETRY
LONG, SHORT = 600_000, 20
"""Milliseconds: longer than any test, and short enough to wait for."""

BEGUN_S, SOON_S, PATIENT_MS = 0.05, 5.0, 60_000
"""A wait has begun by then, is over by then, and would go on for much longer."""

RECORD = Record(
    status=201,
    headers=(
        ("content-type", b"application/json"),
        ("link", b"<a>"),
        ("link", b"<b>"),
        ("x-raw", b"\xff\x00"),
    ),
    body=bytes(range(256)),
    trailers=(("grpc-status", b"0"),),
    fingerprint=bytes(32),
)
OTHER_RECORD = replace(RECORD, status=500, body=b"not this one")
FINGERPRINT, OTHER_FINGERPRINT = b"\x00f" * 16, b"\xffg" * 16

Write: TypeAlias = Callable[[Store, Claim], Awaitable[bool]]

WRITES: dict[str, Write] = {
    "renew": lambda store, claim: store.renew(claim),
    "note_fingerprint": lambda store, claim: store.note_fingerprint(claim, OTHER_FINGERPRINT),
    "complete": lambda store, claim: store.complete(claim, OTHER_RECORD),
    "release": lambda store, claim: store.release(claim),
    "mark_unknown": lambda store, claim: store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, None),
}
every_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
both_policies = pytest.mark.parametrize("policy", list(UnknownPolicy))


class Clock(Protocol):
    """The store's time, as a test can move it."""

    async def advance(self, ms: int) -> None:
        """Return when at least `ms` milliseconds of the store's time have passed."""
        ...


def wanted(
    owner: str, id_: str = "id", *, lease_ms: int = LONG, ttl_ms: int = LONG, tombstone_ms: int = 0
) -> Claim:
    return Claim(id=id_, owner=owner, attempt=0, lease_ms=lease_ms, ttl_ms=ttl_ms, tombstone_ms=tombstone_ms)


async def take(store: Store, claim: Claim, policy: UnknownPolicy = HOLD) -> Claim:
    """Claim an id that is free to take; the handle for later operations."""
    result = await store.claim(claim, policy)
    assert isinstance(result, Claimed), result
    return replace(claim, attempt=result.attempt)


async def take_lapsed(store: Store, clock: Clock, owner: str) -> Claim:
    """Claim an id and let the lease run out."""
    claim = await take(store, wanted(owner, lease_ms=SHORT))
    await clock.advance(SHORT + 1)
    return claim


async def take_over(store: Store, *, earlier: str = "a", later: str = "b") -> Claim:
    """Claim an id whose earlier attempt, of a known payload, may have executed."""
    await store.mark_unknown(await take(store, wanted(earlier)), UnknownReason.ENVOY_REPLY, FINGERPRINT)
    return await take(store, wanted(later), RETRY)


async def outlive(clock: Clock) -> None:
    """Let a ttl of `SHORT` end."""
    await clock.advance(SHORT + 1)


async def under_way(*waits: Awaitable[None]) -> list[asyncio.Task[None]]:
    """Start to wait, and return once the waiting has certainly begun."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.sleep(BEGUN_S)
    assert not any(task.done() for task in tasks), tasks
    return tasks


class StoreContract:
    """Every clause of `sidecar/store/port.py`."""

    # claim

    async def test_an_absent_id_is_claimed_as_the_first_attempt(self, store: Store) -> None:
        assert await store.claim(wanted("a"), HOLD) == Claimed(1, None)

    async def test_ids_are_independent(self, store: Store) -> None:
        await take(store, wanted("a", "one"))
        assert await store.claim(wanted("b", "two"), HOLD) == Claimed(1)

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
        assert await store.claim(wanted("a", lease_ms=120_000), HOLD) == Claimed(1)
        result = await store.claim(wanted("b"), HOLD)
        assert isinstance(result, InFlight)
        assert result.lease_left_ms > 60_000

    async def test_a_repeated_takeover_answers_with_the_earlier_fingerprint_again(self, store: Store) -> None:
        first = await take(store, wanted("a"))
        await store.mark_unknown(first, UnknownReason.UPSTREAM_STATUS, FINGERPRINT)
        answers = [await store.claim(wanted("b"), RETRY) for _ in range(2)]
        assert answers == [Claimed(2, FINGERPRINT, taken_over=True)] * 2

    @both_policies
    async def test_a_recorded_id_answers_with_its_record(self, store: Store, policy: UnknownPolicy) -> None:
        await store.complete(await take(store, wanted("a")), RECORD)
        assert await store.claim(wanted("b"), policy) == Recorded(RECORD)
        assert await store.claim(wanted("a"), policy) == Recorded(RECORD)

    @pytest.mark.parametrize("reason", list(UnknownReason))
    async def test_an_unknown_outcome_is_held_with_its_reason(
        self, store: Store, reason: UnknownReason
    ) -> None:
        await store.mark_unknown(await take(store, wanted("a")), reason, FINGERPRINT)
        assert await store.claim(wanted("b"), HOLD) == Unknown(1, reason)

    async def test_an_unknown_outcome_is_taken_over_with_its_fingerprint(self, store: Store) -> None:
        await store.mark_unknown(await take(store, wanted("a")), UnknownReason.ENVOY_REPLY, FINGERPRINT)
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)
        assert isinstance(await store.claim(wanted("c"), RETRY), InFlight)

    async def test_a_lease_that_ran_out_is_read_as_unknown(self, store: Store, clock: Clock) -> None:
        await take_lapsed(store, clock, "a")
        for owner in ("a", "b"):
            assert await store.claim(wanted(owner), HOLD) == Unknown(1, UnknownReason.LEASE_EXPIRED)

    async def test_a_lease_that_ran_out_is_taken_over(self, store: Store, clock: Clock) -> None:
        first = await take_lapsed(store, clock, "a")
        await store.note_fingerprint(first, FINGERPRINT)
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    async def test_the_earlier_fingerprint_outlives_a_second_takeover(self, store: Store) -> None:
        await store.mark_unknown(await take(store, wanted("a")), UnknownReason.ENVOY_REPLY, FINGERPRINT)
        second = await take(store, wanted("b"), RETRY)
        await store.mark_unknown(second, UnknownReason.ENVOY_REPLY, None)
        assert await store.claim(wanted("c"), RETRY) == Claimed(3, FINGERPRINT, taken_over=True)

    async def test_an_id_is_absent_again_after_its_ttl(self, store: Store, clock: Clock) -> None:
        await take(store, wanted("a", ttl_ms=SHORT))
        await clock.advance(SHORT + 1)
        assert await store.claim(wanted("b"), HOLD) == Claimed(1)

    async def test_of_64_simultaneous_claims_exactly_one_wins(self, store: Store) -> None:
        owners = [f"owner-{number}" for number in range(64)]
        results = await asyncio.gather(*(store.claim(wanted(owner), HOLD) for owner in owners))
        assert sum(isinstance(result, Claimed) for result in results) == 1
        assert sum(isinstance(result, InFlight) for result in results) == 63

    async def test_of_64_simultaneous_takeovers_exactly_one_wins(self, store: Store) -> None:
        await store.mark_unknown(await take(store, wanted("a")), UnknownReason.ENVOY_REPLY, None)
        owners = [f"owner-{number}" for number in range(64)]
        results = await asyncio.gather(*(store.claim(wanted(owner), RETRY) for owner in owners))
        assert [result for result in results if isinstance(result, Claimed)] == [Claimed(2, taken_over=True)]

    # a claim that takes over

    async def test_a_takeover_is_told_to_everybody_after_it(self, store: Store) -> None:
        second = await take_over(store)
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)
        assert await store.renew(second) is True
        await store.note_fingerprint(second, FINGERPRINT)
        assert await store.claim(wanted("b"), HOLD) == Claimed(2, FINGERPRINT, taken_over=True)
        await store.mark_unknown(second, UnknownReason.EARLIER_ATTEMPT, None)
        assert await store.claim(wanted("c"), RETRY) == Claimed(3, FINGERPRINT, taken_over=True)

    async def test_an_attempt_after_a_release_took_nothing_over(self, store: Store) -> None:
        await store.release(await take(store, wanted("a")))
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, None, taken_over=False)
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, None, taken_over=False)

    async def test_its_own_lapsed_attempt_is_taken_over_like_any_other(
        self, store: Store, clock: Clock
    ) -> None:
        await take_lapsed(store, clock, "a")
        assert await store.claim(wanted("a"), RETRY) == Claimed(2, None, taken_over=True)

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
        assert await store.claim(wanted("a"), HOLD) == Claimed(1)

    @pytest.mark.parametrize("settle", ["take", "complete", "mark_unknown"])
    async def test_an_id_is_absent_again_after_its_tombstone(
        self, store: Store, clock: Clock, settle: str
    ) -> None:
        claim = await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=SHORT))
        if settle != "take":
            await WRITES[settle](store, claim)
        await clock.advance(2 * SHORT + 1)
        assert await store.claim(wanted("b"), HOLD) == Claimed(1)

    async def test_a_released_id_leaves_no_tombstone(self, store: Store, clock: Clock) -> None:
        await store.release(await take(store, wanted("a", ttl_ms=SHORT, tombstone_ms=LONG)))
        await outlive(clock)
        assert await store.claim(wanted("b"), HOLD) == Claimed(1)

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
        assert await store.claim(wanted("b"), HOLD) == Recorded(RECORD)

    # every write

    @every_write
    async def test_a_replaced_owner_can_change_nothing(
        self, store: Store, clock: Clock, write: Write
    ) -> None:
        paused = await take_lapsed(store, clock, "a")
        newer = await take(store, wanted("b"), RETRY)
        assert await write(store, paused) is False
        assert await store.claim(wanted("b"), HOLD) == Claimed(2, taken_over=True)
        await store.complete(newer, RECORD)
        assert await write(store, paused) is False
        assert await store.claim(wanted("c"), HOLD) == Recorded(RECORD)

    @every_write
    async def test_a_stranger_cannot_write_to_an_unknown_outcome(self, store: Store, write: Write) -> None:
        await store.mark_unknown(await take(store, wanted("a")), UnknownReason.ENVOY_REPLY, FINGERPRINT)
        assert await write(store, replace(wanted("b"), attempt=1)) is False
        assert await store.claim(wanted("c"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    @every_write
    async def test_a_stranger_cannot_write_to_a_released_id(self, store: Store, write: Write) -> None:
        await store.release(await take(store, wanted("a")))
        assert await write(store, replace(wanted("b"), attempt=1)) is False
        assert await store.claim(wanted("c"), HOLD) == Claimed(2)

    @every_write
    async def test_what_is_written_is_kept_for_the_ttl_from_that_moment(
        self, store: Store, clock: Clock, write: Write
    ) -> None:
        claim = await take(store, wanted("a"))
        assert await write(store, replace(claim, ttl_ms=SHORT)) is True
        await clock.advance(SHORT + 1)
        assert await store.claim(wanted("b"), HOLD) == Claimed(1)

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
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    async def test_renewing_a_lost_claim_puts_it_back(self, store: Store) -> None:
        assert await store.renew(replace(wanted("a"), attempt=3)) is True
        assert isinstance(await store.claim(wanted("b"), RETRY), InFlight)
        assert await store.claim(wanted("a"), HOLD) == Claimed(3)

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
        assert await store.claim(wanted("b"), RETRY) == Claimed(3, FINGERPRINT, taken_over=True)

    # complete

    async def test_a_lapsed_owner_may_still_complete(self, store: Store, clock: Clock) -> None:
        assert await store.complete(await take_lapsed(store, clock, "a"), RECORD) is True
        assert await store.claim(wanted("b"), RETRY) == Recorded(RECORD)

    async def test_an_owner_resolves_its_own_unknown(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.mark_unknown(claim, UnknownReason.LOST_MID_RESPONSE, None)
        assert await store.complete(claim, RECORD) is True
        assert await store.claim(wanted("b"), RETRY) == Recorded(RECORD)

    async def test_a_record_is_written_even_where_the_claim_was_lost(self, store: Store) -> None:
        assert await store.complete(replace(wanted("a"), attempt=1), RECORD) is True
        assert await store.claim(wanted("b"), HOLD) == Recorded(RECORD)

    async def test_a_record_is_never_overwritten(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.complete(claim, RECORD)
        assert await store.complete(claim, OTHER_RECORD) is True
        assert await store.complete(replace(claim, owner="b"), OTHER_RECORD) is False
        assert await store.claim(wanted("c"), HOLD) == Recorded(RECORD)

    async def test_a_repeated_complete_does_not_change_how_long_the_record_is_kept(
        self, store: Store, clock: Clock
    ) -> None:
        claim = await take(store, wanted("a"))
        await store.complete(claim, RECORD)
        await store.complete(replace(claim, ttl_ms=SHORT), RECORD)
        await clock.advance(SHORT + 1)
        assert await store.claim(wanted("b"), HOLD) == Recorded(RECORD)

    async def test_what_was_released_cannot_be_completed(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.release(claim)
        assert await store.complete(claim, RECORD) is False
        assert await store.claim(wanted("b"), HOLD) == Claimed(2)

    async def test_a_record_without_a_body_or_a_fingerprint_comes_back_as_it_was(self, store: Store) -> None:
        bare = Record(status=204, headers=(), body=b"", trailers=(), fingerprint=None, replayable=False)
        await store.complete(await take(store, wanted("a")), bare)
        assert await store.claim(wanted("b"), HOLD) == Recorded(bare)

    # release

    async def test_a_released_id_counts_on_and_forgets_the_fingerprint(self, store: Store) -> None:
        for attempt in (1, 2, 3):
            claim = await take(store, wanted("a"))
            assert claim.attempt == attempt
            await store.note_fingerprint(claim, FINGERPRINT)
            assert await store.release(claim) is True
        assert await store.claim(wanted("b"), HOLD) == Claimed(4, None)

    async def test_a_lapsed_owner_may_still_release(self, store: Store, clock: Clock) -> None:
        assert await store.release(await take_lapsed(store, clock, "a")) is True
        assert await store.claim(wanted("b"), HOLD) == Claimed(2)

    async def test_a_repeated_release_stands(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        assert [await store.release(claim) for _ in range(2)] == [True, True]
        assert await store.claim(wanted("b"), HOLD) == Claimed(2)

    async def test_releasing_a_lost_claim_writes_nothing(self, store: Store) -> None:
        assert await store.release(replace(wanted("a"), attempt=7)) is True
        assert await store.claim(wanted("b"), HOLD) == Claimed(1)

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
        assert await store.claim(wanted("c"), RETRY) == Recorded(RECORD)

    # mark_unknown

    async def test_a_fingerprint_given_late_replaces_the_one_noted(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.note_fingerprint(claim, FINGERPRINT)
        assert await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, OTHER_FINGERPRINT) is True
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, OTHER_FINGERPRINT, taken_over=True)

    async def test_the_fingerprint_noted_before_is_kept_where_none_is_given(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.note_fingerprint(claim, FINGERPRINT)
        assert await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, None) is True
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    async def test_a_lost_claim_is_marked_all_the_same(self, store: Store) -> None:
        lost = replace(wanted("a"), attempt=2)
        assert await store.mark_unknown(lost, UnknownReason.ENVOY_REPLY, FINGERPRINT) is True
        assert await store.claim(wanted("b"), HOLD) == Unknown(2, UnknownReason.ENVOY_REPLY)
        assert await store.claim(wanted("b"), RETRY) == Claimed(3, FINGERPRINT, taken_over=True)

    async def test_the_first_mark_stands(self, store: Store) -> None:
        claim = await take(store, wanted("a"))
        await store.mark_unknown(claim, UnknownReason.UPSTREAM_STATUS, FINGERPRINT)
        assert await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, OTHER_FINGERPRINT) is True
        assert await store.claim(wanted("b"), HOLD) == Unknown(1, UnknownReason.UPSTREAM_STATUS)
        assert await store.claim(wanted("b"), RETRY) == Claimed(2, FINGERPRINT, taken_over=True)

    @pytest.mark.parametrize("settle", ["complete", "release"])
    async def test_what_is_settled_cannot_be_marked(self, store: Store, settle: str) -> None:
        claim = await take(store, wanted("a"))
        await WRITES[settle](store, claim)
        assert await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, None) is False
        assert not isinstance(await store.claim(wanted("b"), HOLD), Unknown)

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
