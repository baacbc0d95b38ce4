"""What the tests of stores are told with: claims, records, writes, and a clock of the store."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Protocol, TypeAlias, TypeVar

import pytest
from msgspec.structs import replace

from sidecar.idempotency.body import PIECE_BYTES, HeldBody, KeptBody
from sidecar.idempotency.claim import (
    Claim,
    Claimed,
    ClaimResult,
    Recorded,
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
LARGE_RECORD = replace(RECORD, body=HeldBody((b"a piece " * (PIECE_BYTES // 8), b"b" * PIECE_BYTES, b"last")))
OTHER_LARGE_RECORD = replace(
    RECORD, body=HeldBody((Random(1).randbytes(PIECE_BYTES), Random(2).randbytes(PIECE_BYTES - 1)))
)
FINGERPRINT, OTHER_FINGERPRINT = b"\x00f" * 16, b"\xffg" * 16

Answer = TypeVar("Answer")
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


def undated(answer: Answer) -> Answer:
    """An answer as it can be compared: until when it is kept, no test knows to the millisecond."""
    return replace(answer, expires_ms=0) if isinstance(answer, Claimed | Recorded) else answer


async def ask(store: Store, claim: Claim, policy: UnknownPolicy) -> ClaimResult:
    """What a claim is answered with, undated."""
    return undated(await store.claim(claim, policy))


async def whole(store: Store, result: ClaimResult) -> Record:
    """The record that a claim was answered with; a large body as it was before it was stored."""
    assert isinstance(result, Recorded), result
    body = result.record.body
    if not isinstance(body, KeptBody):
        return result.record
    pieces = [await store.read_piece(body, number) for number in range(body.count)]
    return replace(result.record, body=HeldBody(tuple(pieces)))


async def take_lapsed(store: Store, clock: Clock, owner: str, policy: UnknownPolicy = RETRY) -> Claim:
    """Claim an id and let the lease run out."""
    claim = await take(store, wanted(owner, lease_ms=SHORT), policy)
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
