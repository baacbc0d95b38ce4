"""The pieces of large bodies: a key of its own for each, next to the entry of the record they belong to.

A piece's key is `prefix:{prefix:ID}:OWNER:NUMBER:CHECKSUM`, with a `z` behind it where it is compressed.
What stands in braces is the entry's whole key, so that in a cluster all are on the node of the entry and one
script may touch them; the prefix comes first, so that the right to `~prefix:*` covers them.

Order, and what a crash leaves. Pieces are written first, each acknowledged, to live for `UNCLAIMED_MS`. Then
`complete.lua`, in one atomic step, makes sure that all are there, has them live as long as the record, and
makes the record appear. A sidecar that is lost before that step leaves pieces that no record names and that
go by themselves; one that is lost after it leaves a whole record. No attempt writes over another's pieces or
reads them: the owner's token is in their names, and the record names the owner.

A `complete` that is repeated, as its answer was lost, writes no piece a second time (`NX`): the one that
stands may belong to a record by now, and writing it again would have it live for `UNCLAIMED_MS` only. It is
the same piece, as its checksum is in its name: should an owner ever complete with two different bodies (the
store forgot the first, but not its pieces), neither meets the other's.
"""

import asyncio
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from sidecar.idempotency.body import PIECE_BYTES, HeldBody, KeptBody
from sidecar.idempotency.claim import Claim
from sidecar.idempotency.fields import Fields
from sidecar.store.compression import packing, unpacked
from sidecar.store.port import StoreCorruptError
from sidecar.store.redis.multiplexing import Multiplexer
from sidecar.store.redis.pipelining import Reply

UNCLAIMED_MS = 300_000
"""How long a piece lives that no record names, in milliseconds: longer than all of a body takes to write."""

READING_MS = 300_000
"""How much longer than its record a piece lives: a replay may have begun in the record's last moment."""

WINDOW = 4
"""Pieces under way at once: a megabyte, which hides the way to the server and delays others little."""


class Pieces:
    """Writes and reads pieces over the connection that all of a store's commands share.

    Its methods raise what the driver raises.

    Args:
        commands: The connection.
        prefix: What every key begins with, its colon included.
        renew: Extends the lease of a claim (`Store.renew`).
    """

    def __init__(
        self, commands: Multiplexer, prefix: str, renew: Callable[[Claim], Awaitable[object]]
    ) -> None:
        self._commands = commands
        self._prefix = prefix
        self._renew = renew

    def names(self, body: KeptBody) -> tuple[str, ...]:
        """The keys of a body's pieces, in their order."""
        return tuple(self._name(body, number) for number in range(body.count))

    async def write(self, claim: Claim, body: HeldBody, headers: Fields) -> KeptBody:
        """Write every piece of a response's body, compressed where that pays; return what finds them again.

        The lease is kept meanwhile: a takeover would throw away the answer of an attempt that has one.
        """
        pack, checksums = packing(headers, body.pieces[0]), list[int]()
        lease = _Lease(claim, self._renew)
        with _window() as under_way:
            for number, piece in enumerate(body.pieces):
                if len(under_way) == WINDOW:
                    await under_way.popleft()
                await lease.keep()
                checksums.append(zlib.crc32(piece))
                name = self._named(claim.id, claim.owner, number, checksums[-1], compressed=pack is not None)
                under_way.append(self._put(name, pack(piece) if pack else piece))
            while under_way:
                await under_way.popleft()
        return KeptBody(
            claim.id, claim.owner, body.size, PIECE_BYTES, tuple(checksums), compressed=pack is not None
        )

    async def read(self, body: KeptBody, number: int) -> bytes:
        """Piece `number` of a body; with the first, make sure that all the others are there.

        Raises:
            StoreCorruptError: A piece is gone or damaged.
        """
        with _window() as under_way:
            under_way.append(self._commands.call(("GET", self._name(body, number))))
            if number == 0:
                under_way.append(self._commands.call(("EXISTS", *self.names(body))))
            data = await under_way.popleft()
            there = await under_way.popleft() if under_way else body.count
        if not isinstance(data, bytes) or there != body.count:
            raise StoreCorruptError("a piece of the stored body is gone: the server evicted or lost it")
        return unpacked(data, body, number)

    def _put(self, name: str, data: bytes) -> Reply:
        return self._commands.call(("SET", name, data, "PX", UNCLAIMED_MS, "NX"))

    def _name(self, body: KeptBody, number: int) -> str:
        checksum = body.checksums[number]
        return self._named(body.claim_id, body.owner, number, checksum, compressed=body.compressed)

    def _named(self, claim_id: str, owner: str, number: int, checksum: int, *, compressed: bool) -> str:
        place, form = f"{{{self._prefix}{claim_id}}}", "z" if compressed else ""
        return f"{self._prefix}{place}:{owner}:{number}:{checksum:08x}{form}"


class _Lease:
    """Of a claim whose exchange waits for a body to be written: renewed as often as the exchange did it."""

    def __init__(self, claim: Claim, renew: Callable[[Claim], Awaitable[object]]) -> None:
        self._claim = claim
        self._renew = renew
        self._clock = asyncio.get_running_loop().time
        self._due = self._next()

    async def keep(self) -> None:
        """Renew it if a third of it has passed; whether it is still ours, `complete.lua` finds out."""
        if self._clock() >= self._due:
            self._due = self._next()
            await self._renew(self._claim)

    def _next(self) -> float:
        return self._clock() + self._claim.lease_ms / 3000


@contextmanager
def _window() -> Iterator[deque[Reply]]:
    """Commands under way; of those left at the end, as one before them failed, nobody hears any more."""
    under_way: deque[Reply] = deque()
    try:
        yield under_way
    finally:
        for reply in under_way:
            reply.cancel()
