"""Stores with one promise dropped each, the way a tired engineer would drop it."""

from collections.abc import Generator
from dataclasses import replace

from msgspec import structs

from sidecar.idempotency.claim import (
    Claim,
    Claimed,
    ClaimResult,
    Recorded,
    Unknown,
    UnknownPolicy,
    UnknownReason,
)
from sidecar.idempotency.record import Record
from sidecar.store import memory
from sidecar.store.memory import MemoryStore


class CompletesForAnybody(MemoryStore):
    """`complete` without the owner check: a late owner overwrites what a newer one holds."""

    async def complete(self, claim: Claim, record: Record) -> bool:
        self._settle(claim, memory._Settled(claim.owner, record), self._now())
        return True


class RenewsForAnybody(MemoryStore):
    """`renew` without the owner check: a late owner keeps a newer one's lease alive."""

    async def renew(self, claim: Claim) -> bool:
        now = self._now()
        held = self._find(claim, now)
        if not isinstance(held, memory._Executing):
            return await super().renew(claim)
        self._keep(claim, replace(held, lease_until=now + claim.lease_ms), now)
        return True


class ReleasesForAnybody(MemoryStore):
    """`release` without the owner check: a late owner drops a newer one's claim."""

    async def release(self, claim: Claim) -> bool:
        now = self._now()
        held = self._find(claim, now)
        if not isinstance(held, memory._Executing):
            return await super().release(claim)
        self._settle(claim, memory._Dropped(held.owner, held.attempt), now)
        return True


class _Suspension:
    """Something to await that lets others in between."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class ReadsThenWrites(MemoryStore):
    """`claim` as a GET and then a SET: two may see that there is nothing, and both take it."""

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        seen = self._find(wanted, self._now())
        await _Suspension()
        if seen is None:
            return self._take(wanted, unknown, 1, None, self._now())
        return await super().claim(wanted, unknown)


class IgnoresTheLease(MemoryStore):
    """`claim` takes over what is in flight, whether or not its lease has run out."""

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        now = self._now()
        held = self._find(wanted, now)
        if isinstance(held, memory._Executing) and held.owner != wanted.owner:
            return self._take(wanted, unknown, held.attempt + 1, held.fingerprint, now, taken_over=True)
        return await super().claim(wanted, unknown)


class ForgetsTheAttempt(MemoryStore):
    """`claim` after a release starts to count at 1 again."""

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        now = self._now()
        if isinstance(self._find(wanted, now), memory._Dropped):
            return self._take(wanted, unknown, 1, None, now)
        return await super().claim(wanted, unknown)


class ForgetsRecords(MemoryStore):
    """What was recorded is answered as unknown."""

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        result = await super().claim(wanted, unknown)
        return Unknown(1, UnknownReason.LEASE_EXPIRED) if isinstance(result, Recorded) else result


class ForgetsTombstones(MemoryStore):
    """Once its `ttl` is over, nothing is known of an id."""

    def _keep(self, claim: Claim, entry: memory._Entry, now: int) -> None:
        super()._keep(structs.replace(claim, tombstone_ms=0), entry, now)


class ForgetsWhatWasNoted(MemoryStore):
    """`mark_unknown` without a fingerprint drops the one that was noted before."""

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        held = self._held(claim, self._now())
        if held is not None and fingerprint is None:
            self._keep(claim, replace(held, fingerprint=None), self._now())
        return await super().mark_unknown(claim, reason, fingerprint)


class LetsTakeoversBeReleased(MemoryStore):
    """`release` of an attempt that took over is done, not refused."""

    def _take(
        self,
        wanted: Claim,
        unknown: UnknownPolicy,
        attempt: int,
        fingerprint: bytes | None,
        now: int,
        *,
        taken_over: bool = False,
    ) -> Claimed:
        super()._take(wanted, unknown, attempt, fingerprint, now)
        return Claimed(attempt, fingerprint, taken_over)
