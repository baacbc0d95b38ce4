"""A store's answers and failures become the exchange's events, and each operation is observed."""

from dataclasses import dataclass, field

import pytest

from sidecar.exchange.effects import Complete, MarkUnknown, Release, Renew, StoreEffect, TakeClaim
from sidecar.exchange.events import ClaimFailed, RenewalFailed, Renewed, Settled, SettlingFailed, StoreEvent
from sidecar.idempotency.claim import (
    Claim,
    Claimed,
    ClaimResult,
    InFlight,
    Recorded,
    Unknown,
    UnknownPolicy,
    UnknownReason,
)
from sidecar.idempotency.record import Record
from sidecar.store.memory import MemoryStore
from sidecar.store.performing import StorePerformer
from sidecar.store.port import StoreCorruptError, StoreError, StoreUnavailableError

CLAIM = Claim("id", "owner", 1, 30_000, 60_000)
RECORD = Record(201, (), b"done", (), b"f" * 32)

TAKE = TakeClaim(CLAIM, UnknownPolicy.HOLD)
RENEW, RELEASE, COMPLETE = Renew(CLAIM), Release(CLAIM), Complete(CLAIM, RECORD)
MARK = MarkUnknown(CLAIM, UnknownReason.LOST_MID_RESPONSE, b"f" * 32)


class ScriptedStore(MemoryStore):
    """Answers or fails as told, and notes what it was asked."""

    def __init__(self, answer: ClaimResult | bool | Exception) -> None:
        super().__init__(lambda: 0.0)
        self.answer = answer
        self.asked: list[tuple[object, ...]] = []

    def _say(self, *asked: object) -> ClaimResult | bool:
        self.asked.append(asked)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        answer = self._say("claim", wanted, unknown)
        assert not isinstance(answer, bool)
        return answer

    async def renew(self, claim: Claim) -> bool:
        return self._say("renew", claim) is True

    async def complete(self, claim: Claim, record: Record) -> bool:
        return self._say("complete", claim, record) is True

    async def release(self, claim: Claim) -> bool:
        return self._say("release", claim) is True

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        return self._say("mark_unknown", claim, reason, fingerprint) is True


@dataclass
class Bench:
    """A performer on a scripted store, with a clock that moves a quarter of a second at each look."""

    answer: ClaimResult | bool | Exception
    observed: list[tuple[str, str, float, StoreError | None]] = field(default_factory=list)
    now: float = 0.0

    def clock(self) -> float:
        self.now += 0.25
        return self.now

    async def perform(self, effect: StoreEffect) -> StoreEvent:
        self.store = ScriptedStore(self.answer)
        observe = lambda *told: self.observed.append(told)  # noqa: E731 (the shortest way to note a call)
        return await StorePerformer(self.store, observe, self.clock).perform(effect)


@pytest.mark.parametrize(
    ("effect", "asked"),
    [
        (TAKE, ("claim", CLAIM, UnknownPolicy.HOLD)),
        (TakeClaim(CLAIM, UnknownPolicy.RETRY), ("claim", CLAIM, UnknownPolicy.RETRY)),
        (RENEW, ("renew", CLAIM)),
        (COMPLETE, ("complete", CLAIM, RECORD)),
        (RELEASE, ("release", CLAIM)),
        (MARK, ("mark_unknown", CLAIM, UnknownReason.LOST_MID_RESPONSE, b"f" * 32)),
    ],
    ids=lambda part: type(part).__name__,
)
async def test_each_effect_is_one_operation_of_the_port(
    effect: StoreEffect, asked: tuple[object, ...]
) -> None:
    bench = Bench(Claimed(1) if isinstance(effect, TakeClaim) else True)

    await bench.perform(effect)

    assert bench.store.asked == [asked]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Claimed(1), "claimed"),
        (InFlight(5), "inflight"),
        (Recorded(RECORD), "recorded"),
        (Unknown(1, UnknownReason.LEASE_EXPIRED), "unknown"),
    ],
    ids=lambda part: type(part).__name__,
)
async def test_the_answer_to_a_claim_is_the_event(answer: ClaimResult, result: str) -> None:
    bench = Bench(answer)

    assert await bench.perform(TAKE) is answer
    assert bench.observed == [("claim", result, 0.25, None)]


@pytest.mark.parametrize(("held", "result"), [(True, "held"), (False, "lost")])
async def test_other_answers_say_whether_the_claim_was_still_ours(held: bool, result: str) -> None:
    bench = Bench(held)

    assert await bench.perform(RENEW) == Renewed(held)
    for effect in (COMPLETE, RELEASE, MARK):
        assert await bench.perform(effect) == Settled(held)
    operations = ["renew", "complete", "release", "mark_unknown"]
    assert bench.observed == [(operation, result, 0.25, None) for operation in operations]


@pytest.mark.parametrize(
    ("effect", "event"),
    [
        (TAKE, ClaimFailed(unavailable=True)),
        (RENEW, RenewalFailed()),
        (COMPLETE, SettlingFailed()),
        (RELEASE, SettlingFailed()),
        (MARK, SettlingFailed()),
    ],
    ids=lambda part: type(part).__name__,
)
async def test_a_store_that_is_unavailable_is_an_event_too(effect: StoreEffect, event: StoreEvent) -> None:
    error = StoreUnavailableError("no answer within 250 ms")
    bench = Bench(error)

    assert await bench.perform(effect) == event
    ((_, result, seconds, observed),) = bench.observed
    assert (result, seconds, observed) == ("error", 0.25, error)


@pytest.mark.parametrize("error", [StoreCorruptError("damaged"), StoreError("other")], ids=repr)
async def test_a_store_that_cannot_be_read_is_not_merely_unavailable(error: StoreError) -> None:
    assert await Bench(error).perform(TAKE) == ClaimFailed(unavailable=False)


async def test_a_bug_in_an_adapter_is_not_taken_for_an_answer() -> None:
    bench = Bench(LookupError("a bug"))

    with pytest.raises(LookupError):
        await bench.perform(TAKE)
    assert bench.observed == []
