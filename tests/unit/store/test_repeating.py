"""Writes that the store did not answer are repeated until it does, within limits, on a virtual clock."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from sidecar.exchange.effects import Complete, MarkUnknown, Release, SettleEffect
from sidecar.idempotency.body import HeldBody
from sidecar.idempotency.claim import Claim, Claimed, Recorded, Unknown, UnknownPolicy, UnknownReason
from sidecar.idempotency.record import Record
from sidecar.store.memory import MemoryStore
from sidecar.store.observing import RepeatEnd
from sidecar.store.port import StoreCorruptError, StoreError, StoreUnavailableError
from sidecar.store.repeating import MOST_OF_NOTHING, RepeatedWrites, settle
from tests.store.store_scenes import ask

CLAIM = Claim("id", "owner", 1, 30_000, 3_600_000)
RECORD = Record(201, (("x", b"12"),), b"done", (("y", b"3"),), b"f" * 32)
RECORD_SIZE = len(b"done") + len("x12") + len("y3")
COMPLETE, RELEASE = Complete(CLAIM, RECORD), Release(CLAIM)
MARK = MarkUnknown(CLAIM, UnknownReason.LOST_MID_RESPONSE, b"f" * 32)
HOLD, RETRY = UnknownPolicy.HOLD, UnknownPolicy.RETRY


class RecoveringStore(MemoryStore):
    """A store whose writes fail with `error` until `back_at`, and always for the ids in `never`."""

    def __init__(self, bench: "Bench") -> None:
        super().__init__(lambda: bench.now)
        self.bench = bench
        self.back_at = 0.0
        self.error: StoreError = StoreUnavailableError("no connection")
        self.never: set[str] = set()
        self.tried: list[tuple[str, float]] = []
        self.on_try: Callable[[], None] | None = None

    def _meet(self, claim: Claim) -> None:
        self.tried.append((claim.id, round(self.bench.now, 3)))
        if self.on_try is not None:
            on_try, self.on_try = self.on_try, None
            on_try()
        if self.bench.now < self.back_at or claim.id in self.never:
            raise self.error

    async def complete(self, claim: Claim, record: Record) -> bool:
        self._meet(claim)
        return await super().complete(claim, record)

    async def release(self, claim: Claim) -> bool:
        self._meet(claim)
        return await super().release(claim)

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        self._meet(claim)
        return await super().mark_unknown(claim, reason, fingerprint)


@dataclass
class Bench:
    """Repeated writes on a store that comes back, and what was told of them. Sleeping moves the clock."""

    now: float = 0.0
    observed: list[tuple[str, str, StoreError | None]] = field(default_factory=list)
    ended: list[RepeatEnd] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = RecoveringStore(self)
        self.repeats = self.repeating()

    def repeating(
        self, *, most: int = 1000, most_of_nothing: int = MOST_OF_NOTHING, most_bytes: int = 1_000_000
    ) -> RepeatedWrites:
        return RepeatedWrites(
            self.store,
            lambda operation, result, _, error: self.observed.append((operation, result, error)),
            self.ended.append,
            lambda: self.now,
            most=most,
            most_of_nothing=most_of_nothing,
            most_bytes=most_bytes,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    async def finish(self) -> None:
        """Let every write come to its end by itself."""
        assert self.repeats._task is not None
        await self.repeats._task
        assert len(self.repeats) == 0
        assert self.repeats._bytes == 0
        assert not self.repeats._due

    async def claim(self, claim: Claim = CLAIM) -> Claimed:
        result = await self.store.claim(claim, RETRY)
        assert isinstance(result, Claimed)
        return result


@pytest.fixture
def bench() -> Bench:
    return Bench()


def numbered(number: int) -> Complete:
    return Complete(replace(CLAIM, id=f"id-{number}"), RECORD)


# What becomes of a write


@pytest.mark.parametrize(("effect", "operation"), [(COMPLETE, "complete"), (RELEASE, "release")])
async def test_a_lost_write_is_made_once_the_store_is_back_and_told(
    bench: Bench, effect: SettleEffect, operation: str
) -> None:
    await bench.claim()
    bench.store.back_at = 5.0
    bench.repeats.add(effect)
    await bench.finish()
    assert bench.observed == [(operation, "held", None)]
    (end,) = bench.ended
    assert (end.operation, end.claim_id, end.result, end.error) == (operation, "id", "held", None)
    assert end.tries > 3
    assert 5.0 <= end.seconds < 7.1
    result = await ask(bench.store, replace(CLAIM, owner="b"), HOLD)
    assert result == (Recorded(RECORD) if effect is COMPLETE else Claimed(2))


async def test_a_lost_mark_is_made_with_its_fingerprint(bench: Bench) -> None:
    await bench.claim()
    bench.store.back_at = 1.0
    bench.repeats.add(MARK)
    await bench.finish()
    other = replace(CLAIM, owner="b")
    assert await bench.store.claim(other, HOLD) == Unknown(1, UnknownReason.LOST_MID_RESPONSE)
    assert await ask(bench.store, other, RETRY) == Claimed(2, b"f" * 32, taken_over=True)


async def test_a_late_record_resolves_the_attempts_own_unknown(bench: Bench) -> None:
    await bench.claim()
    await settle(bench.store, MARK)
    bench.store.back_at = 1.0
    bench.repeats.add(COMPLETE)
    await bench.finish()
    assert await ask(bench.store, replace(CLAIM, owner="b"), RETRY) == Recorded(RECORD)


async def test_both_ends_of_one_attempt_come_to_the_record_in_either_order(bench: Bench) -> None:
    for effects in ((COMPLETE, MARK), (MARK, COMPLETE)):
        await bench.claim()
        bench.store.back_at = bench.now + 1.0
        for effect in effects:
            bench.repeats.add(effect)
        await bench.finish()
        assert await ask(bench.store, replace(CLAIM, owner="b"), HOLD) == Recorded(RECORD)
        bench.store._entries.clear()
        bench.store._due.clear()


@pytest.mark.parametrize("effect", [COMPLETE, RELEASE, MARK], ids=lambda effect: type(effect).__name__)
async def test_a_write_that_was_taken_over_meanwhile_changes_nothing(
    bench: Bench, effect: SettleEffect
) -> None:
    await bench.claim(replace(CLAIM, lease_ms=1))
    bench.now += 1
    await bench.claim(replace(CLAIM, owner="b"))
    bench.repeats.add(effect)
    await bench.finish()
    assert [end.result for end in bench.ended] == ["lost"]
    assert await ask(bench.store, replace(CLAIM, owner="b"), HOLD) == Claimed(2, taken_over=True)


async def test_an_entry_that_cannot_be_read_ends_the_write(bench: Bench) -> None:
    bench.store.error = StoreCorruptError("damaged")
    bench.store.never.add("id")
    bench.repeats.add(COMPLETE)
    await bench.finish()
    assert bench.observed == [("complete", "error", bench.store.error)]
    assert bench.ended[0].tries == 1


# When it is tried


async def test_the_pause_doubles_from_a_tenth_of_a_second_to_two(bench: Bench) -> None:
    bench.store.back_at = 12.0
    bench.repeats.add(COMPLETE)
    await bench.finish()
    times = [0.0, *(when for _, when in bench.store.tried)]
    pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
    assert pauses == pytest.approx([0.1, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0], abs=0.11)


async def test_while_the_store_is_out_one_write_is_tried_at_a_time(bench: Bench) -> None:
    bench.store.back_at = 10.0
    for number in range(500):
        bench.repeats.add(numbered(number))
    await bench.finish()
    before = [when for _, when in bench.store.tried if when < 10.0]
    assert len(before) < 12
    assert bench.now < 12.5  # and once it answers, all of them at once
    assert sorted(end.claim_id for end in bench.ended) == sorted(f"id-{number}" for number in range(500))


async def test_a_write_that_alone_is_refused_holds_up_no_other(bench: Bench) -> None:
    bench.store.never.add("id-0")
    for number in range(5):
        bench.repeats.add(numbered(number))
    await bench.finish()
    ends = {end.claim_id: end for end in bench.ended}
    assert ends["id-0"].result == "error"
    assert all(ends[f"id-{number}"].seconds < 1.0 for number in range(1, 5))


async def test_a_write_added_while_others_are_repeated_joins_them(bench: Bench) -> None:
    bench.store.back_at = 3.0
    bench.repeats.add(numbered(1))
    await asyncio.sleep(0)
    bench.repeats.add(numbered(2))
    await bench.finish()
    bench.repeats.add(numbered(3))  # and one after they are done begins anew
    await bench.finish()
    assert [end.result for end in bench.ended] == ["held"] * 3


# When it is given up


async def test_a_write_is_given_up_after_its_time(bench: Bench) -> None:
    bench.store.never.add("id")
    bench.repeats.add(COMPLETE)
    await bench.finish()
    ((operation, result, error),) = bench.observed
    assert (operation, result) == ("complete", "error")
    assert isinstance(error, StoreUnavailableError)
    (end,) = bench.ended
    assert str(error) == f"complete given up after {end.tries} more tries: no connection"
    assert 60.0 <= end.seconds < 60.2
    assert end.error is error


async def test_no_write_is_repeated_for_longer_than_its_claim_is_remembered(bench: Bench) -> None:
    bench.store.never.add("id")
    bench.repeats.add(Complete(replace(CLAIM, ttl_ms=5000), RECORD))
    await bench.finish()
    assert 5.0 <= bench.ended[0].seconds < 5.2


async def test_none_of_many_is_tried_after_its_time(bench: Bench) -> None:
    bench.store.back_at = 60.5
    for number in range(100):
        bench.repeats.add(numbered(number))
    await bench.finish()
    assert [end.result for end in bench.ended] == ["error"] * 100
    assert max(when for _, when in bench.store.tried) < 60.0
    assert "no connection" in str(bench.ended[0].error)
    assert "it was not tried" in str(bench.ended[99].error)


async def test_over_the_number_the_oldest_is_dropped(bench: Bench) -> None:
    bench.repeats = bench.repeating(most=3)
    bench.store.back_at = 1.0
    for number in range(5):
        bench.repeats.add(numbered(number))
    assert [(end.claim_id, end.result) for end in bench.ended] == [("id-0", "error"), ("id-1", "error")]
    assert "too many writes wait for the store" in str(bench.ended[0].error)
    await bench.finish()
    assert [end.result for end in bench.ended[2:]] == ["held"] * 3


async def test_over_the_bytes_the_oldest_are_dropped_and_only_records_count(bench: Bench) -> None:
    bench.repeats = bench.repeating(most_bytes=2 * RECORD_SIZE)
    bench.store.back_at = 1.0
    for number in range(2):
        bench.repeats.add(numbered(number))
    bench.repeats.add(RELEASE)
    assert bench.ended == []
    bench.repeats.add(numbered(2))
    assert [end.claim_id for end in bench.ended] == ["id-0"]
    bench.repeats.add(Complete(replace(CLAIM, id="great"), replace(RECORD, body=bytes(1000))))
    assert [end.claim_id for end in bench.ended] == ["id-0", "id-1", "id-2", "great"]
    assert "too many bytes" in str(bench.ended[0].error)
    await bench.finish()
    assert [end.claim_id for end in bench.ended[4:]] == ["id"]
    assert {claim_id for claim_id, _ in bench.store.tried} == {"id"}


async def test_the_pieces_of_a_large_body_count_as_its_bytes(bench: Bench) -> None:
    bench.store.back_at = 1000.0
    bench.repeats = bench.repeating(most_bytes=100)
    large = Complete(CLAIM, replace(RECORD, headers=(), trailers=(), body=HeldBody((b"a" * 60, b"b" * 40))))
    bench.repeats.add(large)
    assert bench.repeats._bytes == 100
    bench.repeats.add(numbered(1))
    assert [end.claim_id for end in bench.ended] == [CLAIM.id]
    await bench.repeats.drain(0)


def of_nothing(name: str) -> Release:
    """The release of a claim that was never answered."""
    return Release(replace(CLAIM, id=name, attempt=0))


async def test_releases_of_claims_that_were_never_answered_push_nothing_else_out(bench: Bench) -> None:
    bench.repeats = bench.repeating(most=2, most_of_nothing=2)
    bench.store.back_at = 1.0
    bench.repeats.add(COMPLETE)
    for name in ("first", "second", "third", "fourth"):
        bench.repeats.add(of_nothing(name))
    assert [end.claim_id for end in bench.ended] == ["third", "fourth"]
    assert "too many releases wait for the store" in str(bench.ended[0].error)
    bench.repeats.add(numbered(1))
    assert len(bench.ended) == 2
    bench.repeats.add(numbered(2))
    assert [end.claim_id for end in bench.ended] == ["third", "fourth", "id"]
    await bench.finish()
    assert {(end.claim_id, end.result) for end in bench.ended[3:]} == {
        ("first", "held"),
        ("second", "held"),
        ("id-1", "held"),
        ("id-2", "held"),
    }


async def test_as_many_wait_as_a_stall_of_the_store_may_leave(bench: Bench) -> None:
    bench.store.back_at = 1.0
    for number in range(MOST_OF_NOTHING):
        bench.repeats.add(of_nothing(f"id-{number}"))
    assert bench.ended == []
    await bench.finish()
    assert [end.result for end in bench.ended] == ["held"] * MOST_OF_NOTHING


async def test_a_write_dropped_while_it_is_tried_ends_once(bench: Bench) -> None:
    bench.repeats = bench.repeating(most=1)
    bench.store.on_try = lambda: bench.repeats.add(numbered(2))
    bench.repeats.add(numbered(1))
    await bench.finish()
    assert [(end.claim_id, end.result) for end in bench.ended] == [("id-1", "error"), ("id-2", "held")]


# A release that may have overtaken its claim


@pytest.mark.parametrize("late_s", [0.5, 5.0])
@pytest.mark.parametrize("out_s", [0.0, 3.0])
async def test_a_release_made_again_drops_a_claim_that_arrived_after_it(
    bench: Bench, late_s: float, out_s: float
) -> None:
    lost = replace(CLAIM, attempt=0)
    if out_s:
        bench.store.back_at = out_s
        bench.repeats.add(Release(lost))
        while not bench.ended:  # noqa: ASYNC110 - others do the work
            await asyncio.sleep(0)
    else:
        assert await bench.store.release(lost) is True
        bench.repeats.make_sure(Release(lost))
    answered_at = bench.now
    while bench.now < answered_at + late_s:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0)
    await bench.claim(lost)
    await bench.finish()
    assert bench.now == pytest.approx(answered_at + 11.0, abs=0.2)
    assert await ask(bench.store, replace(CLAIM, owner="b"), HOLD) == Claimed(2)


async def test_a_release_that_is_made_again_is_told_of_once(bench: Bench) -> None:
    bench.store.back_at = 1.0
    bench.repeats.add(of_nothing("id"))
    bench.repeats.make_sure(of_nothing("sure"))
    await bench.finish()
    assert bench.observed == [("release", "held", None)]
    assert [(end.claim_id, end.result) for end in bench.ended] == [("id", "held")]
    assert bench.ended[0].seconds < 2.0
    made = [claim_id for claim_id, when in bench.store.tried if when >= 1.0]
    assert sorted(made) == ["id"] * 3 + ["sure"] * 2


async def test_only_a_release_of_a_claim_that_was_never_answered_is_made_again(bench: Bench) -> None:
    for effect in (RELEASE, COMPLETE, MARK):
        bench.repeats.add(effect)
    await bench.finish()
    assert len(bench.store.tried) == 3


# The end of the sidecar


async def test_draining_waits_until_everything_is_written(bench: Bench) -> None:
    bench.store.back_at = 30.0
    for number in range(3):
        bench.repeats.add(numbered(number))
    await bench.repeats.drain(10.0)
    assert [end.result for end in bench.ended] == ["held"] * 3
    assert bench.now < 33.0


async def test_draining_gives_up_what_could_not_be_written_in_time(bench: Bench) -> None:
    repeats = RepeatedWrites(bench.store, lambda *_: None, bench.ended.append, lambda: 0.0)
    bench.store.never.add("id")
    repeats.add(COMPLETE)
    repeats.add(RELEASE)
    await repeats.drain(0.0)
    assert len(repeats) == 0
    assert [(end.operation, end.result) for end in bench.ended] == [
        ("complete", "error"),
        ("release", "error"),
    ]
    assert "the sidecar stops" in str(bench.ended[0].error)
    repeats.add(MARK)  # too late
    assert bench.ended[2].operation == "mark_unknown"
    assert repeats._task is not None
    assert repeats._task.done()


async def test_draining_does_not_wait_to_make_sure_but_does_so_at_once(bench: Bench) -> None:
    bench.repeats.make_sure(of_nothing("id"))
    await asyncio.sleep(0)
    await bench.repeats.drain(30.0)
    assert [claim_id for claim_id, _ in bench.store.tried] == ["id"]
    assert bench.now < 0.2
    assert len(bench.repeats) == 0
    assert (bench.observed, bench.ended) == ([], [])


async def test_draining_with_nothing_lost_returns_at_once(bench: Bench) -> None:
    await bench.repeats.drain(60.0)
    assert bench.ended == []
