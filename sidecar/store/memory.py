"""The store in one process's memory: for tests, for trying things out, and as the model of the others."""

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from sidecar.idempotency.body import KeptBody
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
from sidecar.store.port import StoreCorruptError

SWEEP_LIMIT = 16
"""The most due entries one operation looks at; each operation adds at most one, so nothing piles up."""


@dataclass(frozen=True, slots=True)
class _Executing:
    owner: str
    attempt: int
    lease_until: int
    fingerprint: bytes | None
    notes: bool
    """It was claimed under RETRY: it notes its fingerprint before its request's last byte is forwarded."""
    taken_over: bool


@dataclass(frozen=True, slots=True)
class _Undecided:
    owner: str
    attempt: int
    reason: UnknownReason
    fingerprint: bytes | None
    notes: bool
    taken_over: bool


@dataclass(frozen=True, slots=True)
class _Settled:
    owner: str
    record: Record


@dataclass(frozen=True, slots=True)
class _Outlived:
    """Was settled; only its tombstone stands, and the record's bytes are gone."""

    owner: str


@dataclass(frozen=True, slots=True)
class _Dropped:
    owner: str
    attempt: int


_Used: TypeAlias = _Executing | _Undecided | _Settled | _Outlived
_Entry: TypeAlias = _Used | _Dropped


@dataclass(frozen=True, slots=True)
class _Kept:
    """An entry, the millisecond its ttl ends at, and the one its tombstone ends at."""

    entry: _Entry
    expires_at: int
    gone_at: int


class MemoryStore:
    """A `Store` that forgets everything when the process ends.

    Atomic because no operation awaits anything: the event loop runs each from its first line to its last.

    Args:
        clock: The time, in seconds; it must never run backwards.
        wall_clock: The seconds since 1970, to tell clients a date; nothing is decided by it.
    """

    def __init__(self, clock: Callable[[], float], wall_clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._entries: dict[str, _Kept] = {}
        # One (due, id) per entry. A write moves the end without touching the queue: an item that comes
        # due before its entry is gone goes back with the end of that moment.
        self._due: list[tuple[int, str]] = []
        self._waiting: dict[str, set[asyncio.Event]] = {}  # by id, one for each who waits

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        """See `Store.claim`."""
        now = self._now()
        match self._find(wanted, now):
            case None:
                return self._take(wanted, unknown, 1, None, now)
            case _Dropped(attempt=attempt):
                return self._take(wanted, unknown, attempt + 1, None, now)
            case _Executing(lease_until=lease_until) as held if lease_until > now:
                return self._contend(wanted, unknown, held, now)
            case used:
                return self._revisit(wanted, used, unknown, now)

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
            case _Settled(owner=owner) | _Outlived(owner=owner):
                return owner == claim.owner
            case _Executing(owner=owner) | _Undecided(owner=owner) if owner != claim.owner:
                return False
            case _Dropped():
                return False
        self._settle(claim, _Settled(claim.owner, record), now)
        return True

    async def read_piece(self, body: KeptBody, number: int) -> bytes:
        """See `Store.read_piece`; the body of a record here is in memory, so there are none."""
        del body, number
        raise StoreCorruptError("read_piece: this store keeps no bodies in pieces")

    async def release(self, claim: Claim) -> bool:
        """See `Store.release`."""
        now = self._now()
        match self._find(claim, now):
            case None:
                return True
            case _Dropped(owner=owner):
                return owner == claim.owner
            case _Executing(owner=owner, attempt=attempt, taken_over=False) if owner == claim.owner:
                self._settle(claim, _Dropped(owner, attempt), now)
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
        self._settle(claim, _undecided(held, reason, kept), now)
        return True

    async def wait(self, claim_id: str, timeout_ms: int) -> None:
        """See `Store.wait`; returns also when the lease that stands now would run out."""
        now = self._now()
        match self._entries.get(claim_id):
            case _Kept(entry=_Executing(lease_until=lease_until), gone_at=gone_at):
                left_ms = min(timeout_ms, lease_until - now, gone_at - now)
            case _:
                return
        settled = asyncio.Event()
        waiting = self._waiting.setdefault(claim_id, set())
        waiting.add(settled)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_ms / 1000):
                    await settled.wait()
        finally:
            waiting.discard(settled)
            if not waiting and self._waiting.get(claim_id) is waiting:
                del self._waiting[claim_id]

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
            gone_at = self._entries[due].gone_at
            if gone_at > now:
                heapq.heappush(self._due, (gone_at, due))
            else:
                del self._entries[due]
        return now

    def _find(self, claim: Claim, now: int) -> _Entry | None:
        kept = self._entries.get(claim.id)
        return kept.entry if kept is not None and kept.gone_at > now else None

    def _held(self, claim: Claim, now: int) -> _Executing | None:
        """What this claim's owner has in flight, put back where the store knows nothing of the id."""
        match self._find(claim, now):
            case None:
                lease_until = now + claim.lease_ms
                return _Executing(
                    claim.owner, claim.attempt, lease_until, None, notes=False, taken_over=False
                )
            case _Executing(owner=owner) as held if owner == claim.owner:
                return held
        return None

    def _contend(
        self, wanted: Claim, unknown: UnknownPolicy, held: _Executing, now: int
    ) -> Claimed | InFlight:
        """The answer while a lease stands: its owner may ask again, anybody else has to wait."""
        if held.owner == wanted.owner:
            return self._take(
                wanted, unknown, held.attempt, held.fingerprint, now, taken_over=held.taken_over
            )
        return InFlight(held.lease_until - now)

    def _revisit(self, wanted: Claim, used: _Used, unknown: UnknownPolicy, now: int) -> ClaimResult:
        """The answer where an attempt has ended, or its owner let the lease run out."""
        kept = self._entries[wanted.id]
        if kept.expires_at <= now or isinstance(used, _Outlived):
            if isinstance(used, _Settled):  # its bytes are given to nobody any more
                self._entries[wanted.id] = replace(kept, entry=_Outlived(used.owner))
            return Expired()
        match used:
            case _Settled(record=record):
                return Recorded(record, self._date(kept.expires_at, now))
            case _Executing():
                earlier = _undecided(used, UnknownReason.LEASE_EXPIRED, used.fingerprint)
            case _Undecided():
                earlier = used
        comparable = earlier.fingerprint is not None or earlier.notes
        if unknown is UnknownPolicy.HOLD or not comparable:
            return Unknown(earlier.attempt, earlier.reason)
        return self._take(wanted, unknown, earlier.attempt + 1, earlier.fingerprint, now, taken_over=True)

    def _take(  # noqa: PLR0913 (what an entry in flight is made of)
        self,
        wanted: Claim,
        unknown: UnknownPolicy,
        attempt: int,
        fingerprint: bytes | None,
        now: int,
        *,
        taken_over: bool = False,
    ) -> Claimed:
        lease_until, notes = now + wanted.lease_ms, unknown is UnknownPolicy.RETRY
        entry = _Executing(wanted.owner, attempt, lease_until, fingerprint, notes, taken_over)
        self._keep(wanted, entry, now)
        return Claimed(attempt, fingerprint, taken_over, self._date(now + wanted.ttl_ms, now))

    def _date(self, moment: int, now: int) -> int:
        """A moment of the clock in milliseconds since 1970."""
        return int(self._wall_clock() * 1000) + moment - now

    def _settle(self, claim: Claim, entry: _Entry, now: int) -> None:
        self._keep(claim, entry, now)
        for settled in self._waiting.pop(claim.id, ()):
            settled.set()

    def _keep(self, claim: Claim, entry: _Entry, now: int) -> None:
        expires_at = now + claim.ttl_ms
        gone_at = expires_at if isinstance(entry, _Dropped) else expires_at + claim.tombstone_ms
        if claim.id not in self._entries:
            heapq.heappush(self._due, (gone_at, claim.id))
        self._entries[claim.id] = _Kept(entry, expires_at, gone_at)


def _undecided(held: _Executing, reason: UnknownReason, fingerprint: bytes | None) -> _Undecided:
    return _Undecided(held.owner, held.attempt, reason, fingerprint, held.notes, held.taken_over)
