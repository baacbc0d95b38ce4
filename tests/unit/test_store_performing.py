"""A store's answers and failures become the exchange's events, and each operation is observed."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from sidecar.errand import Told
from sidecar.exchange.effects import (
    AwaitOwner,
    Complete,
    FetchPiece,
    MarkUnknown,
    NoteFingerprint,
    Release,
    Renew,
    SettleEffect,
    StoreEffect,
    TakeClaim,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Noted,
    NotingFailed,
    OwnerGone,
    PieceFetched,
    PieceLost,
    RenewalFailed,
    Renewed,
    Settled,
    SettlingFailed,
    StoreEvent,
    WaitFailed,
)
from sidecar.idempotency.body import HeldBody, KeptBody
from sidecar.idempotency.claim import (
    Claim,
    Claimed,
    ClaimResult,
    Expired,
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
from sidecar.store.repeating import RepeatedWrites
from tests.store.begun import told

T = TypeVar("T")

CLAIM = Claim("id", "owner", 1, 30_000, 60_000)
RECORD = Record(201, (), b"done", (), b"f" * 32)

TAKE = TakeClaim(CLAIM, UnknownPolicy.HOLD)
RENEW, RELEASE, COMPLETE = Renew(CLAIM), Release(CLAIM), Complete(CLAIM, RECORD)
MARK = MarkUnknown(CLAIM, UnknownReason.LOST_MID_RESPONSE, b"f" * 32)
NOTE, AWAIT = NoteFingerprint(CLAIM, b"f" * 32), AwaitOwner("id", 5000)
LARGE = KeptBody("id", "owner", 6, 4, (1, 2), compressed=False)
FETCH = FetchPiece(LARGE, 1)


class ScriptedStore(MemoryStore):
    """Answers or fails as told, and notes what it was asked."""

    def __init__(self, answer: ClaimResult | bool | Exception) -> None:
        super().__init__(lambda: 0.0)
        self.answer = answer
        self.asked: list[tuple[object, ...]] = []
        self.promptly: list[str] = []

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

    async def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        return self._say("note_fingerprint", claim, fingerprint) is True

    async def wait(self, claim_id: str, timeout_ms: int) -> None:
        self._say("wait", claim_id, timeout_ms)

    async def read_piece(self, body: KeptBody, number: int) -> bytes:
        self._say("read_piece", body, number)
        return b"piece"


class PromptScriptedStore(ScriptedStore):
    """Answers claims and completions without a coroutine, in the loop's next turn."""

    def begin_claim(self, wanted: Claim, unknown: UnknownPolicy, told: Told[ClaimResult]) -> None:
        self.promptly.append("claim")
        asyncio.get_running_loop().call_soon(self._tell, self.claim(wanted, unknown), told)

    def begin_complete(self, claim: Claim, record: Record, told: Told[bool]) -> None:
        self.promptly.append("complete")
        asyncio.get_running_loop().call_soon(self._tell, self.complete(claim, record), told)

    @staticmethod
    def _tell(answering: Coroutine[Any, Any, T], told: Told[T]) -> None:
        """Tell how `answering`, which waits for nothing, ends."""
        try:
            answering.send(None)
        except StopIteration as end:
            told(end.value, None)
        except Exception as error:  # noqa: BLE001 (it is to be told, whatever it is)
            told(None, error)


class NotedRepeats(RepeatedWrites):
    """Notes what is to be repeated, and repeats nothing."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(lambda: 0.0), lambda *_: None, lambda _: None, lambda: 0.0)
        self.added: list[SettleEffect] = []
        self.made_sure: list[Release] = []

    def add(self, effect: SettleEffect) -> None:
        self.added.append(effect)

    def make_sure(self, effect: Release) -> None:
        self.made_sure.append(effect)


async def performed(performer: StorePerformer, effect: StoreEffect) -> StoreEvent:
    return await performer.perform(effect)


async def begun(performer: StorePerformer, effect: StoreEffect) -> StoreEvent:
    return await told(partial(performer.begin, effect))


@dataclass(frozen=True)
class Way:
    """How an effect is performed, and of what kind of store."""

    perform: Callable[[StorePerformer, StoreEffect], Awaitable[StoreEvent]]
    store: type[ScriptedStore]


WAYS = {
    "performed": Way(performed, ScriptedStore),
    "begun": Way(begun, ScriptedStore),
    "begun-promptly": Way(begun, PromptScriptedStore),
}


@dataclass
class Bench:
    """A performer on a scripted store, with a clock that moves a quarter of a second at each look."""

    way: Way
    answer: ClaimResult | bool | Exception
    observed: list[tuple[str, str, float, StoreError | None]] = field(default_factory=list)
    now: float = 0.0
    repeats: NotedRepeats = field(default_factory=NotedRepeats)

    def clock(self) -> float:
        self.now += 0.25
        return self.now

    async def perform(self, effect: StoreEffect) -> StoreEvent:
        self.store = self.way.store(self.answer)
        observe = lambda *seen: self.observed.append(seen)  # noqa: E731 (the shortest way to note a call)
        return await self.way.perform(StorePerformer(self.store, observe, self.clock, self.repeats), effect)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


@pytest.mark.parametrize(
    ("effect", "asked"),
    [
        (TAKE, ("claim", CLAIM, UnknownPolicy.HOLD)),
        (TakeClaim(CLAIM, UnknownPolicy.RETRY), ("claim", CLAIM, UnknownPolicy.RETRY)),
        (RENEW, ("renew", CLAIM)),
        (COMPLETE, ("complete", CLAIM, RECORD)),
        (RELEASE, ("release", CLAIM)),
        (MARK, ("mark_unknown", CLAIM, UnknownReason.LOST_MID_RESPONSE, b"f" * 32)),
        (NOTE, ("note_fingerprint", CLAIM, b"f" * 32)),
        (AWAIT, ("wait", "id", 5000)),
        (FETCH, ("read_piece", LARGE, 1)),
    ],
    ids=lambda part: type(part).__name__,
)
async def test_each_effect_is_one_operation_of_the_port(
    way: Way, effect: StoreEffect, asked: tuple[object, ...]
) -> None:
    bench = Bench(way, Claimed(1) if isinstance(effect, TakeClaim) else True)

    await bench.perform(effect)

    assert bench.store.asked == [asked]


async def test_claims_and_completions_need_no_coroutine_where_the_store_can_do_without() -> None:
    for effect, answer in ((TAKE, Claimed(1)), (COMPLETE, True), (RELEASE, True)):
        bench = Bench(WAYS["begun-promptly"], answer)
        await bench.perform(effect)
        assert bench.store.promptly == ([] if effect is RELEASE else [bench.store.asked[0][0]])


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Claimed(1), "claimed"),
        (InFlight(5), "in_flight"),
        (Recorded(RECORD), "recorded"),
        (Unknown(1, UnknownReason.LEASE_EXPIRED), "unknown"),
        (Expired(), "expired"),
    ],
    ids=lambda part: type(part).__name__,
)
async def test_the_answer_to_a_claim_is_the_event(way: Way, answer: ClaimResult, result: str) -> None:
    bench = Bench(way, answer)

    assert await bench.perform(TAKE) is answer
    assert bench.observed == [("claim", result, 0.25, None)]


@pytest.mark.parametrize(("held", "result"), [(True, "held"), (False, "lost")])
async def test_other_answers_say_whether_the_claim_was_still_ours(way: Way, held: bool, result: str) -> None:
    bench = Bench(way, held)

    assert await bench.perform(RENEW) == Renewed(held)
    for effect in (COMPLETE, RELEASE, MARK):
        assert await bench.perform(effect) == Settled(held)
    assert await bench.perform(NOTE) == Noted(held)
    operations = ["renew", "complete", "release", "mark_unknown", "note_fingerprint"]
    assert bench.observed == [(operation, result, 0.25, None) for operation in operations]


async def test_a_piece_that_is_read_is_given_on(way: Way) -> None:
    bench = Bench(way, True)

    assert await bench.perform(FETCH) == PieceFetched(b"piece")
    assert bench.observed == [("read_piece", "fetched", 0.25, None)]


async def test_a_piece_of_a_body_in_memory_is_not_asked_of_the_store(way: Way) -> None:
    bench = Bench(way, True)

    assert await bench.perform(FetchPiece(HeldBody((b"first", b"last")), 1)) == PieceFetched(b"last")
    assert bench.store.asked == []


async def test_a_wait_that_ends_says_that_the_owner_may_be_done(way: Way) -> None:
    bench = Bench(way, True)

    assert await bench.perform(AWAIT) == OwnerGone()
    assert bench.observed == [("wait", "owner_gone", 0.25, None)]


@pytest.mark.parametrize(
    ("effect", "event"),
    [
        (TAKE, ClaimFailed(unavailable=True)),
        (RENEW, RenewalFailed()),
        (COMPLETE, SettlingFailed()),
        (RELEASE, SettlingFailed()),
        (MARK, SettlingFailed()),
        (NOTE, NotingFailed()),
        (AWAIT, WaitFailed()),
        (FETCH, PieceLost()),
    ],
    ids=lambda part: type(part).__name__,
)
async def test_a_store_that_is_unavailable_is_an_event_too(
    way: Way, effect: StoreEffect, event: StoreEvent
) -> None:
    error = StoreUnavailableError("no answer within 250 ms")
    bench = Bench(way, error)

    assert await bench.perform(effect) == event
    ((_, result, seconds, observed),) = bench.observed
    assert (result, seconds, observed) == ("error", 0.25, error)


@pytest.mark.parametrize("error", [StoreCorruptError("damaged"), StoreError("other")], ids=repr)
async def test_a_store_that_cannot_be_read_is_not_merely_unavailable(way: Way, error: StoreError) -> None:
    assert await Bench(way, error).perform(TAKE) == ClaimFailed(unavailable=False)


@pytest.mark.parametrize("effect", [TAKE, COMPLETE, RELEASE, RENEW], ids=lambda effect: type(effect).__name__)
async def test_a_bug_in_an_adapter_is_not_taken_for_an_answer(way: Way, effect: StoreEffect) -> None:
    bug = LookupError("a bug")
    bench = Bench(way, bug)

    with pytest.raises(LookupError) as raised:
        await bench.perform(effect)
    assert raised.value is bug
    assert bench.observed == []
    assert bench.repeats.added == []
    assert bench.repeats.made_sure == []


SETTLING: list[SettleEffect] = [COMPLETE, RELEASE, MARK]


@pytest.mark.parametrize("effect", SETTLING, ids=lambda effect: type(effect).__name__)
async def test_the_end_of_an_attempt_that_the_store_did_not_answer_is_repeated(
    way: Way, effect: SettleEffect
) -> None:
    bench = Bench(way, StoreUnavailableError("no answer within 250 ms"))

    assert await bench.perform(effect) == SettlingFailed()
    assert bench.repeats.added == [effect]


@pytest.mark.parametrize("effect", [TAKE, RENEW, NOTE, AWAIT], ids=lambda effect: type(effect).__name__)
async def test_what_ends_no_attempt_is_for_the_exchange_to_repeat(way: Way, effect: StoreEffect) -> None:
    bench = Bench(way, StoreUnavailableError("no answer within 250 ms"))

    await bench.perform(effect)
    assert bench.repeats.added == []
    assert bench.repeats.made_sure == []


@pytest.mark.parametrize("answer", [True, False, StoreCorruptError("damaged")], ids=repr)
async def test_a_write_that_the_store_answered_is_not_repeated(way: Way, answer: bool | StoreError) -> None:
    bench = Bench(way, answer)

    for effect in SETTLING:
        await bench.perform(effect)
    assert bench.repeats.added == []
    assert bench.repeats.made_sure == []


async def test_the_release_of_a_claim_that_was_never_answered_is_made_sure_of(way: Way) -> None:
    release = Release(replace(CLAIM, attempt=0))
    bench = Bench(way, True)

    assert await bench.perform(release) == Settled(True)
    assert bench.repeats.made_sure == [release]
    assert bench.repeats.added == []


async def test_without_repeats_a_lost_write_is_only_told(way: Way) -> None:
    store = way.store(StoreUnavailableError("no answer within 250 ms"))
    performer = StorePerformer(store, lambda *_: None, lambda: 0.0)

    assert await way.perform(performer, COMPLETE) == SettlingFailed()
