"""The store on Redis or Valkey: one hash per id, one script per transition, one round trip each."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import NoScriptError, RedisError

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
from sidecar.store.redis import scripts
from sidecar.store.redis.address import Address
from sidecar.store.redis.connections import Argument, Connections
from sidecar.store.redis.errors import port_error
from sidecar.store.redis.scripts import Script
from sidecar.store.redis.waiting import Waiting
from sidecar.store.serialization import decode_record, encode_record

PROBE_MS = 1000
"""How long the key that `ping` writes lives, in milliseconds."""

_REASONS = {reason.value.encode(): reason for reason in UnknownReason}


class RedisStore:
    """A `Store` on one Redis or Valkey server. The key of an id is `prefix:id`; no operation touches two.

    Args:
        address: The server.
        prefix: What every key begins with.
        timeout_ms: How long one operation may take, waiting for a connection included, in milliseconds.
        max_connections: The most connections open at a time, the one that waits not counted.
    """

    def __init__(self, address: Address, *, prefix: str, timeout_ms: int, max_connections: int = 64) -> None:
        self._place = address.place
        self._connections = Connections(address, max_connections)
        self._waiting = Waiting(address, timeout_ms, self._lease_left)
        self._prefix = prefix
        self._timeout_ms = timeout_ms

    @classmethod
    def from_url(cls, url: str, *, prefix: str, timeout_ms: int, max_connections: int = 64) -> "RedisStore":
        """A store at a `redis://` or `rediss://` URL; nothing is connected to yet.

        Raises:
            ValueError: It is not such a URL.
        """
        address = Address.parse(url)
        return cls(address, prefix=prefix, timeout_ms=timeout_ms, max_connections=max_connections)

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        """See `Store.claim`."""
        lifetime = (wanted.ttl_ms, wanted.tombstone_ms)
        reply = await self._run(
            scripts.CLAIM, wanted.id, wanted.owner, wanted.lease_ms, *lifetime, unknown.value
        )
        return _claim_result(reply)

    async def renew(self, claim: Claim) -> bool:
        """See `Store.renew`."""
        return await self._write(
            scripts.RENEW, claim, claim.attempt, claim.lease_ms, claim.ttl_ms, claim.tombstone_ms
        )

    async def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        """See `Store.note_fingerprint`."""
        lifetime = (claim.ttl_ms, claim.tombstone_ms)
        return await self._write(
            scripts.NOTE_FINGERPRINT, claim, claim.attempt, claim.lease_ms, *lifetime, fingerprint
        )

    async def complete(self, claim: Claim, record: Record) -> bool:
        """See `Store.complete`."""
        lifetime = (claim.ttl_ms, claim.tombstone_ms)
        return await self._write(scripts.COMPLETE, claim, claim.attempt, *lifetime, encode_record(record))

    async def release(self, claim: Claim) -> bool:
        """See `Store.release`."""
        return await self._write(scripts.RELEASE, claim, claim.ttl_ms)

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        """See `Store.mark_unknown`."""
        lifetime = (claim.ttl_ms, claim.tombstone_ms)
        noted = () if fingerprint is None else (fingerprint,)
        return await self._write(scripts.MARK_UNKNOWN, claim, claim.attempt, *lifetime, reason.value, *noted)

    async def wait(self, claim_id: str, timeout_ms: int) -> None:
        """See `Store.wait`, and `redis.waiting` for how."""
        await self._waiting.wait(self._entry(claim_id), timeout_ms)

    async def ping(self) -> None:
        """See `Store.ping`: writes a key that is gone again within `PROBE_MS`."""
        async with self._bounded("ping"):
            await self._connections.call("SET", f"{self._prefix}:probe", "", "PX", PROBE_MS)

    async def close(self) -> None:
        """See `Store.close`."""
        await self._waiting.close()
        await self._connections.close()

    def _entry(self, claim_id: str) -> str:
        return f"{self._prefix}:{claim_id}"

    async def _lease_left(self, entry: str) -> int:
        left_ms = await self._evaluate(scripts.WAIT, entry)
        return left_ms if isinstance(left_ms, int) else 0

    async def _write(self, script: Script, claim: Claim, *arguments: Argument) -> bool:
        return bool(await self._run(script, claim.id, claim.owner, *arguments))

    async def _run(self, script: Script, claim_id: str, *arguments: Argument) -> object:
        return await self._evaluate(script, self._entry(claim_id), *arguments)

    async def _evaluate(self, script: Script, entry: str, *arguments: Argument) -> object:
        async with self._bounded(script.name):
            try:
                return await self._connections.call("EVALSHA", script.sha1, 1, entry, *arguments)
            except NoScriptError:
                # Nothing has run: this server is new. EVAL runs the script, and the server keeps it.
                return await self._connections.call("EVAL", script.text, 1, entry, *arguments)

    @asynccontextmanager
    async def _bounded(self, operation: str) -> AsyncIterator[None]:
        """One operation: over in time, and every exception of the driver made one of the port's."""
        try:
            async with asyncio.timeout(self._timeout_ms / 1000):
                yield
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            raise port_error(operation, self._place, error, self._timeout_ms) from None


def _claim_result(reply: object) -> ClaimResult:
    """What `claim.lua` returned, in the port's words."""
    match reply:
        case [b"claimed", int(attempt), bytes() | None as fingerprint, int(taken_over)]:
            return Claimed(attempt, fingerprint, bool(taken_over))
        case [b"in_flight", int(lease_left_ms)]:
            return InFlight(lease_left_ms)
        case [b"recorded", bytes(record)]:
            return Recorded(decode_record(record))
        case [b"unknown", int(attempt), bytes(reason)] if reason in _REASONS:
            return Unknown(attempt, _REASONS[reason])
        case [b"expired"]:
            return Expired()
    raise StoreCorruptError("claim: the entry is damaged, or written by a newer sidecar")
