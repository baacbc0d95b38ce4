"""The store on Redis or Valkey: one key per id, one script per transition, one round trip each.

The pieces of a large body have keys of their own (`redis.pieces`).
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from msgspec.structs import replace
from redis.exceptions import NoScriptError, RedisError

from sidecar.errand import Errand, Told, answer_of
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
from sidecar.store.port import StoreCorruptError, StoreError, StoreNotAskedError, StoreUnavailableError
from sidecar.store.redis import scripts
from sidecar.store.redis.address import Address
from sidecar.store.redis.errors import port_error
from sidecar.store.redis.multiplexing import Multiplexer
from sidecar.store.redis.packing import Argument, Packed, pack, pack_transition
from sidecar.store.redis.pieces import READING_MS, Pieces
from sidecar.store.redis.pipelining import OverloadError
from sidecar.store.redis.scripts import Script
from sidecar.store.redis.waiting import Waiting
from sidecar.store.serialization import decode_record, encode_record

T = TypeVar("T")

PROBE_MS = 1000
"""How long the key that `ping` writes lives, in milliseconds."""

_PIECE_MISSING = -1
"""What `complete.lua` returns where a piece of the record's body is not there."""

_OF_THE_DRIVER = (RedisError, OSError, OverloadError)  # a TimeoutError is an OSError
"""What tells of the server and the way to it; any other exception tells of a bug here."""

_REASONS = {reason.value.encode(): reason for reason in UnknownReason}


class RedisStore:
    """A `PromptStore` on one Redis or Valkey server. The key of an id is `prefix:id`.

    No operation touches two ids.

    Args:
        address: The server.
        prefix: What every key begins with.
        timeout_ms: How long one operation may take, waiting for a connection included, in milliseconds.
    """

    def __init__(self, address: Address, *, prefix: str, timeout_ms: int) -> None:
        self._place = address.place
        self._commands = Multiplexer(address, timeout_ms / 1000)
        self._waiting = Waiting(address, timeout_ms, self._lease_left)
        self._prefix = f"{prefix}:"
        self._timeout_ms = timeout_ms
        self._pieces = Pieces(self._commands, self._prefix, self.renew)

    @classmethod
    def from_url(cls, url: str, *, prefix: str, timeout_ms: int) -> "RedisStore":
        """A store at a `redis://` or `rediss://` URL; nothing is connected to yet.

        Raises:
            ValueError: It is not such a URL.
        """
        return cls(Address.parse(url), prefix=prefix, timeout_ms=timeout_ms)

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        """See `Store.claim`."""
        return await answer_of(partial(self.begin_claim, wanted, unknown))

    def begin_claim(self, wanted: Claim, unknown: UnknownPolicy, told: Told[ClaimResult]) -> None:
        """See `PromptStore.begin_claim`."""
        key, owner = self._prefix + wanted.id, wanted.owner
        settings = (wanted.lease_ms, wanted.ttl_ms, wanted.tombstone_ms, unknown)
        try:
            packed = pack_transition(scripts.CLAIM.sha1, key, owner, settings)
        except Exception as error:  # noqa: BLE001 (a bug is told like every other end)
            _tell_soon(told, error)
        else:
            self._post(scripts.CLAIM, packed, lambda: (1, key, owner, *settings), _claim_result, told)

    async def renew(self, claim: Claim) -> bool:
        """See `Store.renew`."""
        lifetime = (claim.ttl_ms, claim.tombstone_ms)
        arguments = (claim.owner, claim.attempt, claim.lease_ms, *lifetime)
        return await self._run(scripts.RENEW, claim.id, arguments, bool)

    async def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        """See `Store.note_fingerprint`."""
        lifetime = (claim.ttl_ms, claim.tombstone_ms)
        arguments = (claim.owner, claim.attempt, claim.lease_ms, *lifetime, fingerprint)
        return await self._run(scripts.NOTE_FINGERPRINT, claim.id, arguments, bool)

    async def complete(self, claim: Claim, record: Record) -> bool:
        """See `Store.complete`."""
        if isinstance(record.body, HeldBody):
            return await self._complete_in_pieces(claim, record, record.body)
        return await answer_of(partial(self.begin_complete, claim, record))

    def begin_complete(self, claim: Claim, record: Record, told: Told[bool]) -> None:
        """See `PromptStore.begin_complete`; what takes several round trips takes a coroutine."""
        if isinstance(record.body, HeldBody):
            Errand(self.complete(claim, record), told, asyncio.get_running_loop())
            return
        key, owner, settings = self._prefix + claim.id, claim.owner, _completion(claim)
        try:
            data = encode_record(record)
            packed = pack_transition(scripts.COMPLETE.sha1, key, owner, settings, data)
        except Exception as error:  # noqa: BLE001 (as in `begin_claim`)
            _tell_soon(told, error)
        else:
            self._post(scripts.COMPLETE, packed, lambda: (1, key, owner, *settings, data), bool, told)

    async def read_piece(self, body: KeptBody, number: int) -> bytes:
        """See `Store.read_piece`; one round trip."""
        with self._reporting("read_piece"):
            return await self._pieces.read(body, number)

    async def release(self, claim: Claim) -> bool:
        """See `Store.release`."""
        return await self._run(scripts.RELEASE, claim.id, (claim.owner, claim.ttl_ms), bool)

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        """See `Store.mark_unknown`."""
        lifetime = (claim.ttl_ms, claim.tombstone_ms)
        noted = () if fingerprint is None else (fingerprint,)
        arguments = (claim.owner, claim.attempt, *lifetime, reason, *noted)
        return await self._run(scripts.MARK_UNKNOWN, claim.id, arguments, bool)

    async def wait(self, claim_id: str, timeout_ms: int) -> None:
        """See `Store.wait`, and `redis.waiting` for how."""
        await self._waiting.wait(self._prefix + claim_id, timeout_ms)

    async def ping(self) -> None:
        """See `Store.ping`: writes a key that is gone again within `PROBE_MS`."""
        with self._reporting("ping"):
            await self._commands.call(("SET", f"{self._prefix}probe", "", "PX", PROBE_MS))

    async def close(self) -> None:
        """See `Store.close`."""
        await self._waiting.close()
        await self._commands.close()

    async def _lease_left(self, entry: str) -> int:
        return await self._run(scripts.WAIT, entry.removeprefix(self._prefix), (), _milliseconds)

    async def _complete_in_pieces(self, claim: Claim, record: Record, body: HeldBody) -> bool:
        with self._reporting("complete"):
            kept = await self._pieces.write(claim, body, record.headers)
        told = (encode_record(replace(record, body=kept)), claim.ttl_ms + READING_MS)
        names = self._pieces.names(kept)
        arguments = (claim.owner, *_completion(claim), *told)
        operands = (1 + len(names), self._prefix + claim.id, *names, *arguments)
        held = await answer_of(partial(self._begin, scripts.COMPLETE, operands, _as_it_is))
        if held == _PIECE_MISSING:
            raise StoreUnavailableError(
                f"complete on {self._place}: the server lost a piece of the body as soon as it had taken it"
            )
        return bool(held)

    @contextmanager
    def _reporting(self, operation: str) -> Iterator[None]:
        """Every exception of the driver's becomes one of the port's."""
        try:
            yield
        except _OF_THE_DRIVER as error:
            raise self._port_error(operation, error) from None

    async def _run(
        self, script: Script, claim_id: str, arguments: tuple[Argument, ...], read: Callable[[object], T]
    ) -> T:
        """Run a transition on an id and return what `read` makes of its reply."""
        operands = (1, self._prefix + claim_id, *arguments)
        return await answer_of(partial(self._begin, script, operands, read))

    def _begin(
        self,
        script: Script,
        operands: tuple[Argument, ...],
        read: Callable[[object], T],
        told: Told[T],
    ) -> None:
        """Run a transition and tell what `read` makes of its reply.

        Args:
            script: The transition.
            operands: The number of its keys, the keys, and its arguments.
            read: What a reply means.
            told: Told that, or what went wrong: one of the port's errors, or a bug as it is.
        """
        try:
            packed = pack(("EVALSHA", script.sha1, *operands))
        except Exception as error:  # noqa: BLE001 (as in `begin_claim`)
            _tell_soon(told, error)
        else:
            self._post(script, packed, lambda: operands, read, told)

    def _post(
        self,
        script: Script,
        packed: Packed,
        operands: Callable[[], tuple[Argument, ...]],
        read: Callable[[object], T],
        told: Told[T],
    ) -> None:
        """The same with the command as it is `packed`; its operands are asked for where EVAL has to be."""
        began = time.monotonic()

        def on_reply(reply: object) -> None:
            if isinstance(reply, Exception):
                if isinstance(reply, NoScriptError):
                    evaluated = self._evaluated(script, operands(), began, read)
                    Errand(evaluated, told, asyncio.get_running_loop())
                elif isinstance(reply, _OF_THE_DRIVER):
                    told(None, self._port_error(script.name, reply))
                else:
                    told(None, reply)  # a bug: nobody may take it for a store that cannot be reached
                return
            try:
                result = read(reply)
            except Exception as error:  # noqa: BLE001 (what is stored cannot be read, or there is a bug)
                told(None, error)
            else:
                told(result, None)

        try:
            self._commands.post(packed, on_reply)
        except OverloadError as error:
            _tell_soon(told, self._port_error(script.name, error))
        except Exception as error:  # noqa: BLE001 (a bug is told like every other end)
            _tell_soon(told, error)

    async def _evaluated(
        self, script: Script, operands: tuple[Argument, ...], began: float, read: Callable[[object], T]
    ) -> T:
        """The same where nothing has run, because this server is new.

        EVAL runs the script, and the server keeps it. Commands that were on their way meanwhile do the same,
        each for itself: a few kilobytes each, once.
        """
        left_s = began + self._timeout_ms / 1000 - time.monotonic()
        with self._reporting(script.name):
            return read(await asyncio.create_task(self._evaluate(script, operands, left_s)))

    async def _evaluate(self, script: Script, operands: tuple[Argument, ...], within_s: float) -> object:
        """The operation's time goes on: here, and only here, it needs a timer of its own, and so a task."""
        async with asyncio.timeout(within_s):
            return await self._commands.call(("EVAL", script.text, *operands))

    def _port_error(self, operation: str, error: Exception) -> StoreError:
        if isinstance(error, OverloadError):
            return StoreNotAskedError(f"{operation} on {self._place}: not sent, {error}")
        return port_error(operation, self._place, error, self._timeout_ms)


def _completion(claim: Claim) -> tuple[Argument, ...]:
    """What `complete.lua` is told between the owner and the record."""
    return (claim.attempt, claim.ttl_ms, claim.tombstone_ms)


def _tell_soon(told: Told[T], error: Exception) -> None:
    asyncio.get_running_loop().call_soon(told, None, error)


def _as_it_is(reply: object) -> object:
    return reply


def _milliseconds(reply: object) -> int:
    return reply if isinstance(reply, int) else 0


def _claim_result(reply: object) -> ClaimResult:
    """What `claim.lua` returned, in the port's words.

    `int() as attempt`, not `int(attempt)`: that looks for an `__match_args__` that is not there, 0.5 µs each.
    """
    match reply:
        case [
            b"claimed",
            int() as attempt,
            (bytes() | None) as fingerprint,
            int() as taken_over,
            int() as expires_ms,
        ]:
            return Claimed(attempt, fingerprint, bool(taken_over), expires_ms)
        case [b"in_flight", int() as lease_left_ms]:
            return InFlight(lease_left_ms)
        case [b"recorded", bytes() as entry, int() as record_at, int() as expires_ms]:
            return Recorded(decode_record(entry[record_at:]), expires_ms)
        case [b"unknown", int() as attempt, bytes() as reason] if reason in _REASONS:
            return Unknown(attempt, _REASONS[reason])
        case [b"expired"]:
            return Expired()
    raise StoreCorruptError("claim: the entry is damaged, or written by a newer sidecar")
