"""The store as the sidecars reach it: over a network that is slow, reorders, and loses commands or answers.

The account of who holds what (`custody.py`) is kept at the store itself: it hears each answer, whether or not
it arrives at a sidecar.
"""

from collections.abc import Callable, Coroutine
from enum import Enum, auto
from random import Random
from typing import Any, TypeVar

from sidecar.exchange.effects import AwaitOwner, StoreEffect
from sidecar.exchange.events import OwnerGone, StoreEvent, WaitFailed
from sidecar.idempotency.body import KeptBody
from sidecar.idempotency.claim import Claim, ClaimResult, UnknownPolicy, UnknownReason
from sidecar.idempotency.record import Record
from sidecar.store.performing import StorePerformer
from sidecar.store.port import Store, StoreCorruptError, StoreError, StoreUnavailableError
from tests.simulation.custody import Custody, Standing
from tests.simulation.plan import CALM, Weather
from tests.simulation.timeline import Timeline

T = TypeVar("T")
Hear = Callable[[StoreEvent], None]
LATER_MS = 400
"""How much later a command may still be carried out that a sidecar has given up on."""


class Fate(Enum):
    """What becomes of a command."""

    DONE = auto()
    LOST = auto()
    """It never reaches the store."""
    UNHEARD = auto()
    """It is carried out; its answer is lost."""
    LATE = auto()
    """It is given up on, and carried out later."""
    CORRUPT = auto()
    """What is stored cannot be read."""


class WatchedStore:
    """The store of one command: lets it through or loses it, as is its fate, and tells who keeps account."""

    def __init__(self, store: Store, custody: Custody, fate: Fate) -> None:
        self._store = store
        self._custody = custody
        self._fate = fate

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        """See `Store.claim`."""
        return await self._reach(
            self._store.claim(wanted, unknown), lambda result: self._custody.claimed(wanted, result)
        )

    async def renew(self, claim: Claim) -> bool:
        """See `Store.renew`."""
        return await self._write(self._store.renew(claim), claim, Standing.EXECUTING, renews=True)

    async def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        """See `Store.note_fingerprint`; it leaves the lease as it was."""
        return await self._write(
            self._store.note_fingerprint(claim, fingerprint),
            claim,
            Standing.EXECUTING,
            fingerprint=fingerprint,
        )

    async def complete(self, claim: Claim, record: Record) -> bool:
        """See `Store.complete`."""
        return await self._write(self._store.complete(claim, record), claim, Standing.RECORDED, record=record)

    async def read_piece(self, body: KeptBody, number: int) -> bytes:
        """See `Store.read_piece`; no body here is as large as that."""
        raise NotImplementedError(f"piece {number} of {body}")

    async def release(self, claim: Claim) -> bool:
        """See `Store.release`."""
        return await self._write(self._store.release(claim), claim, Standing.RELEASED)

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        """See `Store.mark_unknown`."""
        return await self._write(
            self._store.mark_unknown(claim, reason, fingerprint),
            claim,
            Standing.UNKNOWN,
            fingerprint=fingerprint,
        )

    async def wait(self, claim_id: str, timeout_ms: int) -> None:
        """See `Store.wait`; in virtual time `StoreLink` does it."""
        raise NotImplementedError(f"{claim_id} for {timeout_ms} ms")

    async def ping(self) -> None:
        """See `Store.ping`."""

    async def close(self) -> None:
        """See `Store.close`."""

    async def _write(
        self,
        command: Coroutine[Any, Any, bool],
        claim: Claim,
        standing: Standing,
        *,
        record: Record | None = None,
        fingerprint: bytes | None = None,
        renews: bool = False,
    ) -> bool:
        def tell(held: bool) -> None:
            self._custody.wrote(
                claim, standing, held=held, record=record, fingerprint=fingerprint, renews=renews
            )

        return await self._reach(command, tell)

    async def _reach(self, command: Coroutine[Any, Any, T], tell: Callable[[T], None]) -> T:
        if self._fate in _UNREACHED:
            command.close()
            raise _UNREACHED[self._fate]
        result = await command
        tell(result)
        if self._fate is Fate.UNHEARD:
            raise StoreUnavailableError("the answer was lost")
        return result


_UNREACHED: dict[Fate, StoreError] = {
    Fate.LOST: StoreUnavailableError("the command was lost"),
    Fate.CORRUPT: StoreCorruptError("what is stored cannot be read"),
}


class StoreLink:
    """The way to the store that all sidecars share."""

    def __init__(
        self, store: Store, timeline: Timeline, custody: Custody, weather: Weather, quiet_from: int
    ) -> None:
        self._store = store
        self._timeline = timeline
        self._custody = custody
        self._weather = weather
        self._quiet_from = quiet_from
        self._waiting: dict[str, list[Callable[[], None]]] = {}

    def ask(self, effect: StoreEffect, luck: Random, hear: Hear) -> None:
        """Send a command; `hear` is told the answer, or that there is none, when it would arrive."""
        weather = self._weather if self._timeline.now < self._quiet_from else CALM
        fate, there, back = _fate(weather, luck), _latency(weather, luck), _latency(weather, luck)
        if fate is Fate.LATE:
            later = there + int(luck.random() * LATER_MS)
            self._timeline.after(later, self._arrive, effect, Fate.DONE, back, _deaf)
            fate = Fate.LOST
        self._timeline.after(there, self._arrive, effect, fate, back, hear)

    def _arrive(self, effect: StoreEffect, fate: Fate, back: int, hear: Hear) -> None:
        if isinstance(effect, AwaitOwner):
            self._wait(effect, fate, back, hear)
            return
        store = WatchedStore(self._store, self._custody, fate)
        performing = StorePerformer(store, _unobserved, self._timeline.seconds).perform(effect)
        self._go_on(performing, back, hear, getattr(effect, "claim", None))

    def _go_on(
        self,
        performing: Coroutine[Any, Any, StoreEvent],
        back: int,
        hear: Hear,
        claim: Claim | None,
    ) -> None:
        """Carry a command out; one that suspends is not atomic, and goes on a little later."""
        try:
            performing.send(None)
        except StopIteration as done:
            if claim is not None:
                self._wake(claim.id)
            self._timeline.after(back, hear, done.value)
        else:
            self._timeline.after(back, self._go_on, performing, back, hear, claim)

    # --- Waiting for an owner

    def _wait(self, effect: AwaitOwner, fate: Fate, back: int, hear: Hear) -> None:
        if fate is not Fate.DONE:
            self._timeline.after(back, hear, WaitFailed())
            return
        left = self._lease_left(effect.claim_id)
        told = False

        def tell() -> None:
            nonlocal told
            if not told:
                told = True
                self._timeline.after(back, hear, OwnerGone())

        if left:
            self._waiting.setdefault(effect.claim_id, []).append(tell)
        self._timeline.after(min(left, effect.timeout_ms), tell)

    def _lease_left(self, claim_id: str) -> int:
        holding = self._custody.holding(claim_id)
        if holding is None or holding.standing is not Standing.EXECUTING:
            return 0
        return max(holding.lease_until - self._timeline.now, 0)

    def _wake(self, claim_id: str) -> None:
        if self._waiting and not self._lease_left(claim_id):
            for tell in self._waiting.pop(claim_id, ()):
                tell()


def _latency(weather: Weather, luck: Random) -> int:
    most = (
        weather.slow_ms if weather.slow_share and luck.random() < weather.slow_share else weather.latency_ms
    )
    return int(luck.random() * (most + 1))


def _fate(weather: Weather, luck: Random) -> Fate:
    drawn = luck.random()
    for fate, share in (
        (Fate.LOST, weather.lost_before),
        (Fate.UNHEARD, weather.lost_after),
        (Fate.LATE, weather.late),
        (Fate.CORRUPT, weather.corrupt),
    ):
        if drawn < share:
            return fate
        drawn -= share
    return Fate.DONE


def _unobserved(operation: str, result: str, seconds: float, error: StoreError | None) -> None:
    """Nobody counts operations here."""


def _deaf(answer: StoreEvent) -> None:
    """Nobody listens any more."""
