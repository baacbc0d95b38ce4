"""The store port: what the sidecar asks of a store, and the contract every adapter keeps.

Each operation is atomic and one round trip, but for the `complete` of a large body, which first writes its
pieces. Time is the store's. What a store knows of an id is one of

    absent ─claim→ in_flight ─complete→ recorded
                       │ ├─mark_unknown→ unknown ─complete (same owner)→ recorded
                       │ └─release→ released ─claim→ in_flight (attempt + 1)
                       └ its lease runs out: read as unknown (`lease-expired`), the owner may still write

and every write is guarded by the owner token of the *newest* attempt. A write by that owner finds its
own claim, or nothing at all (the store lost it: a flush, a failover); in the second case `renew`,
`note_fingerprint`, `complete` and `mark_unknown` put it back, since nobody newer is there and forgetting
is the dangerous error. Whatever is written is kept for the claim's `ttl_ms` from that moment; after that,
and for `tombstone_ms`, all that is kept of it is that the id was used (a released id was not: it is gone).
"""

from typing import Protocol, runtime_checkable

from sidecar.errand import Told
from sidecar.idempotency.body import KeptBody
from sidecar.idempotency.claim import Claim, ClaimResult, UnknownPolicy, UnknownReason
from sidecar.idempotency.record import Record


class StoreError(Exception):
    """The root of everything a store may raise; no driver's exception crosses the port."""


class StoreUnavailableError(StoreError):
    """No answer in time, no connection, or the store refuses writes; the write may have happened."""


class StoreNotAskedError(StoreUnavailableError):
    """The store was not asked at all, since it has not answered for some time: nothing has happened."""


class StoreCorruptError(StoreError):
    """What is stored cannot be read: damaged, or written by a newer version. Never bypassed."""


class Store(Protocol):
    """Where claims and records live. Every method raises `StoreError` and nothing else."""

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        """Take the id for `wanted.owner`, or say why not; the only way in.

        * absent: `Claimed(1)`; released: `Claimed(attempt + 1)`. It and `Recorded` tell when the ttl ends.
        * in flight, lease left: `InFlight`; but `Claimed` again, same attempt and lease renewed, where the
          owner is the same (a claim whose answer was lost may be repeated), with the fingerprint that stands.
        * recorded: `Recorded`.
        * unknown, or in flight with its lease run out: `Unknown` under HOLD; under RETRY
          `Claimed(attempt + 1, fingerprint, taken_over=True)`, keeping the earlier fingerprint. A takeover
          stays one: whoever claims a repeated or a later attempt is told so, until a record stands. Where no
          fingerprint stands, that says something only of an attempt claimed under RETRY, whose owner notes it
          before the request's last byte is forwarded; any other is `Unknown` under RETRY, too.
        * recorded or unknown, but its `ttl_ms` over and its tombstone standing: `Expired`.
        """
        ...

    async def renew(self, claim: Claim) -> bool:
        """Extend the lease to `lease_ms` from now. False: not ours any more, or already settled."""
        ...

    async def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        """Keep the request's fingerprint with the claim in flight. False as for `renew`."""
        ...

    async def complete(self, claim: Claim, record: Record) -> bool:
        """Record the outcome: from in flight (lease run out or not), this owner's own unknown, or absent.

        True also when this owner's record already stands (a repeated call). A record is never
        overwritten. False: a newer attempt owns the id, or this one was released.

        A large body (`HeldBody`) is written in pieces before the record is, under names that no other attempt
        uses; the record appears, at once and as a whole, only where every piece of it is there. What was
        written of a record that never appears, as the sidecar was lost in between, is gone after a while.
        """
        ...

    async def read_piece(self, body: KeptBody, number: int) -> bytes:
        """Piece `number` (the first is 0) of the body of a record that `claim` gave, exactly as it was.

        With the first it is made sure that all of the others are there. A store that keeps a large body where
        `claim` can give it at once (`HeldBody`) has no pieces to read.

        Raises:
            StoreCorruptError: A piece is gone, damaged, or of another body.
        """
        ...

    async def release(self, claim: Claim) -> bool:
        """Drop the claim so that the next one executes; the attempt number is kept and counts on.

        From in flight only; True also when this owner's release already stands. Absent: nothing is written,
        True. False: not ours, or settled otherwise, or taken over from an attempt that may have executed.
        """
        ...

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        """Say that nobody knows whether the attempt executed. From in flight or absent.

        True also when this owner's unknown already stands. `fingerprint` is kept where given, else the
        one noted before. False: not ours, or settled otherwise.
        """
        ...

    async def wait(self, claim_id: str, timeout_ms: int) -> None:
        """Return when the id may have left in flight, at the latest after `timeout_ms`; then claim again.

        It returns within milliseconds of a `complete`, `release` or `mark_unknown` anywhere, and at once
        where the id is not in flight now. It may return for no reason. However many wait, on however many
        ids, a store needs one connection for it, and one subscription an id.
        """
        ...

    async def ping(self) -> None:
        """Return if the store answers and takes writes; raise `StoreUnavailableError` otherwise."""
        ...

    async def close(self) -> None:
        """Let go of every connection; no other method may be called afterwards."""
        ...


@runtime_checkable
class PromptStore(Store, Protocol):
    """A store of which the two operations that every execution needs can be had without a coroutine.

    They mean what `claim` and `complete` mean, and nothing calls them off. `told` is never called before they
    return; its error is a `StoreError`, or whatever a bug raised.
    """

    def begin_claim(self, wanted: Claim, unknown: UnknownPolicy, told: Told[ClaimResult]) -> None:
        """See `Store.claim`."""
        ...

    def begin_complete(self, claim: Claim, record: Record, told: Told[bool]) -> None:
        """See `Store.complete`."""
        ...
