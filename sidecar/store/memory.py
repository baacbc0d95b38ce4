"""The store in one process's memory: for tests, for trying things out, and as the model of the others."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

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

SWEEP_LIMIT = 16
"""The most due entries one operation looks at; each operation adds at most one, so nothing piles up."""


@dataclass(frozen=True, slots=True)
class _Executing:
    owner: str
    attempt: int
    lease_until: int
    fingerprint: bytes | None


@dataclass(frozen=True, slots=True)
class _Undecided:
    owner: str
    attempt: int
    reason: UnknownReason
    fingerprint: bytes | None


@dataclass(frozen=True, slots=True)
class _Settled:
    owner: str
    record: Record


@dataclass(frozen=True, slots=True)
class _Dropped:
    owner: str
    attempt: int


_Entry: TypeAlias = _Executing | _Undecided | _Settled | _Dropped


class MemoryStore:
    """A `Store` that forgets everything when the process ends.

    Atomic because no operation awaits anything: the event loop runs each from its first line to its last.

    Args:
        clock: The time, in seconds; it must never run backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[str, tuple[int, _Entry]] = {}  # by id, with the millisecond it expires at
        # One (due, id) per entry. A write moves the expiry without touching the queue: an item that comes
        # due before its entry has expired goes back with the expiry of that moment.
        self._due: list[tuple[int, str]] = []

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        """See `Store.claim`."""
        now = self._now()
        match self._find(wanted, now):
            case None:
                return self._take(wanted, 1, None, now)
            case _Settled(record=record):
                return Recorded(record)
            case _Dropped(attempt=attempt):
                return self._take(wanted, attempt + 1, None, now)
            case _Executing(lease_until=lease_until) as held if lease_until > now:
                return self._contend(wanted, held, now)
            case _Executing() as lapsed:
                earlier = _Undecided(
                    lapsed.owner, lapsed.attempt, UnknownReason.LEASE_EXPIRED, lapsed.fingerprint
                )
            case undecided:
                earlier = undecided
        if unknown is UnknownPolicy.HOLD:
            return Unknown(earlier.attempt, earlier.reason)
        return self._take(wanted, earlier.attempt + 1, earlier.fingerprint, now)

    async def renew(self, claim: Claim) -> bool:
        """See `Store.renew`."""
        now = self._now()
        held = self._held(claim, now)
        if held is None:
            return False
        self._keep(claim, replace(held, lease_until=now + claim.lease_ms), now)
        return True

    async def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        """See `Store.note_fingerprint`."""
        now = self._now()
        held = self._held(claim, now)
        if held is None:
            return False
        self._keep(claim, replace(held, fingerprint=fingerprint), now)
        return True

    async def complete(self, claim: Claim, record: Record) -> bool:
        """See `Store.complete`."""
        now = self._now()
        match self._find(claim, now):
            case _Settled(owner=owner):
                return owner == claim.owner
            case _Executing(owner=owner) | _Undecided(owner=owner) if owner != claim.owner:
                return False
            case _Dropped():
                return False
        self._keep(claim, _Settled(claim.owner, record), now)
        return True

    async def release(self, claim: Claim) -> bool:
        """See `Store.release`."""
        now = self._now()
        match self._find(claim, now):
            case None:
                return True
            case _Dropped(owner=owner):
                return owner == claim.owner
            case _Executing(owner=owner, attempt=attempt) if owner == claim.owner:
                self._keep(claim, _Dropped(owner, attempt), now)
                return True
        return False

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        """See `Store.mark_unknown`."""
        now = self._now()
        match self._find(claim, now):
            case _Undecided(owner=owner):
                return owner == claim.owner
        held = self._held(claim, now)
        if held is None:
            return False
        kept = held.fingerprint if fingerprint is None else fingerprint
        self._keep(claim, _Undecided(held.owner, held.attempt, reason, kept), now)
        return True

    async def ping(self) -> None:
        """See `Store.ping`; memory is always there."""

    async def close(self) -> None:
        """See `Store.close`; there is no connection to let go of."""

    def _now(self) -> int:
        """The time in whole milliseconds, once what is due has been cleared away."""
        now = round(self._clock() * 1000)
        for _ in range(SWEEP_LIMIT):
            if not self._due or self._due[0][0] > now:
                break
            _, due = heapq.heappop(self._due)
            expires_at, _ = self._entries[due]
            if expires_at > now:
                heapq.heappush(self._due, (expires_at, due))
            else:
                del self._entries[due]
        return now

    def _find(self, claim: Claim, now: int) -> _Entry | None:
        expires_at, entry = self._entries.get(claim.id, (now, None))
        return entry if expires_at > now else None

    def _held(self, claim: Claim, now: int) -> _Executing | None:
        """What this claim's owner has in flight, put back where the store knows nothing of the id."""
        match self._find(claim, now):
            case None:
                return _Executing(claim.owner, claim.attempt, now + claim.lease_ms, None)
            case _Executing(owner=owner) as held if owner == claim.owner:
                return held
        return None

    def _contend(self, wanted: Claim, held: _Executing, now: int) -> Claimed | InFlight:
        """The answer while a lease stands: its owner may ask again, anybody else has to wait."""
        if held.owner == wanted.owner:
            return self._take(wanted, held.attempt, held.fingerprint, now)
        return InFlight(held.lease_until - now)

    def _take(self, wanted: Claim, attempt: int, fingerprint: bytes | None, now: int) -> Claimed:
        self._keep(wanted, _Executing(wanted.owner, attempt, now + wanted.lease_ms, fingerprint), now)
        return Claimed(attempt, fingerprint)

    def _keep(self, claim: Claim, entry: _Entry, now: int) -> None:
        expires_at = now + claim.ttl_ms
        if claim.id not in self._entries:
            heapq.heappush(self._due, (expires_at, claim.id))
        self._entries[claim.id] = (expires_at, entry)
