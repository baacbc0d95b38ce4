"""A circuit breaker around a store: while the store is out, a claim is refused at once.

Without it every keyed request waits for the store's whole time-out before it is refused, and holds a
connection and the client's for as long. With it the first few do; from then on one probe a second finds out
whether the store is back.

Only what begins something is refused: `claim` and `wait`. What ends something (`complete`, `release`,
`mark_unknown`) or keeps it (`renew`, `note_fingerprint`) always passes: the request was executed, its answer
exists once, and each chance to keep it that is thrown away makes an outcome unknown. So does `read_piece`,
whose client may have the beginning of the body. There are never more of these than exchanges under way, each
is bounded by the store's time-out, and their success shows, as well as a probe's, that the store is back. So
does that of `ping`.

One write is refused all the same: the release of a claim that was never answered (attempt 0). Nothing was
executed under it, and there is one for every request refused meanwhile; let through, they would take the
connections from the writes that matter. It is for `RepeatedWrites` to send it once the circuit is closed.
"""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TypeVar

from sidecar.errand import Errand, Told
from sidecar.idempotency.body import KeptBody
from sidecar.idempotency.claim import Claim, ClaimResult, UnknownPolicy, UnknownReason
from sidecar.idempotency.record import Record
from sidecar.store.port import PromptStore, Store, StoreError, StoreNotAskedError, StoreUnavailableError

T = TypeVar("T")


class Circuit(StrEnum):
    """What the breaker lets through."""

    CLOSED = "closed"
    """Everything."""
    OPEN = "open"
    """No claim, no wait, no release of a claim that was never answered."""
    HALF_OPEN = "half-open"
    """One claim at a time, as a probe."""


_CLOSED = Circuit.CLOSED


class Breaker:
    """A `Store` that refuses to ask a store which has not answered for some time.

    Args:
        store: The store.
        clock: The time, in seconds; it must never run backwards.
        failures: So many operations in a row have to fail until the circuit opens.
        open_for_s: How long it is open before a claim may probe, in seconds.
        on_change: Told of each new state (a `Circuit`), for logs and metrics.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], float],
        *,
        failures: int = 5,
        open_for_s: float = 1.0,
        on_change: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._failures = failures
        self._open_for_s = open_for_s
        self._on_change = on_change
        self._circuit = Circuit.CLOSED
        self._failed = 0  # in a row
        self._probe_at = 0.0
        self._probing = False
        self._watching = _Watching(self._conclude)
        self._prompt = store if isinstance(store, PromptStore) else None

    @property
    def state(self) -> Circuit:
        """The circuit as the last operation left it."""
        return self._circuit

    async def claim(self, wanted: Claim, unknown: UnknownPolicy) -> ClaimResult:
        """See `Store.claim`; a probe where the circuit is half-open."""
        if self._circuit is _CLOSED:
            with self._watching:
                return await self._store.claim(wanted, unknown)
        self._begin_probe()
        try:
            with self._watching:
                return await self._store.claim(wanted, unknown)
        except StoreUnavailableError:
            if self._circuit is Circuit.HALF_OPEN:  # and nobody else has closed it meanwhile
                self._open()
            raise
        finally:
            self._probing = False  # also of one that was cancelled and found out nothing

    def begin_claim(self, wanted: Claim, unknown: UnknownPolicy, told: Told[ClaimResult]) -> None:
        """See `PromptStore.begin_claim`; only where nothing is to be refused or found out is it prompt."""
        if self._prompt is not None and self._circuit is _CLOSED:
            self._prompt.begin_claim(wanted, unknown, partial(self._told, told))
        else:
            Errand(self.claim(wanted, unknown), told, asyncio.get_running_loop())

    def begin_complete(self, claim: Claim, record: Record, told: Told[bool]) -> None:
        """See `PromptStore.begin_complete`."""
        if self._prompt is not None:
            self._prompt.begin_complete(claim, record, partial(self._told, told))
        else:
            Errand(self.complete(claim, record), told, asyncio.get_running_loop())

    def _told(self, told: Told[T], result: T | None, error: BaseException | None) -> None:
        if error is None and self._circuit is _CLOSED:
            self._failed = 0  # as `_conclude`, which would be two more calls for each answer
        else:
            self._conclude(error)
        told(result, error)

    async def wait(self, claim_id: str, timeout_ms: int) -> None:
        """See `Store.wait`; never a probe, for a good answer to it may take as long as the wait.

        Nor does its failure count: a thousand who wait share one question, and fail together with it.
        """
        if self._circuit is not _CLOSED:
            raise self._refusal("wait")
        await self._store.wait(claim_id, timeout_ms)

    async def renew(self, claim: Claim) -> bool:
        """See `Store.renew`."""
        with self._watching:
            return await self._store.renew(claim)

    async def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        """See `Store.note_fingerprint`."""
        with self._watching:
            return await self._store.note_fingerprint(claim, fingerprint)

    async def complete(self, claim: Claim, record: Record) -> bool:
        """See `Store.complete`."""
        with self._watching:
            return await self._store.complete(claim, record)

    async def read_piece(self, body: KeptBody, number: int) -> bytes:
        """See `Store.read_piece`; its client may have part of the body already."""
        with self._watching:
            return await self._store.read_piece(body, number)

    async def release(self, claim: Claim) -> bool:
        """See `Store.release`; refused like a wait where the claim was never answered."""
        if claim.attempt == 0 and self._circuit is not _CLOSED:
            raise self._refusal("release")
        with self._watching:
            return await self._store.release(claim)

    async def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        """See `Store.mark_unknown`."""
        with self._watching:
            return await self._store.mark_unknown(claim, reason, fingerprint)

    async def ping(self) -> None:
        """See `Store.ping`."""
        with self._watching:
            await self._store.ping()

    async def close(self) -> None:
        """See `Store.close`."""
        await self._store.close()

    def _conclude(self, error: BaseException | None) -> None:
        """A store that says that what it holds cannot be read has answered; a cancelled operation has not."""
        if error is None:
            self._succeed()
        elif isinstance(error, StoreUnavailableError):
            self._fail()
        elif isinstance(error, StoreError):
            self._succeed()

    def _succeed(self) -> None:
        self._failed = 0
        if self._circuit is not _CLOSED:
            self._become(Circuit.CLOSED)

    def _fail(self) -> None:
        """Count. Once the circuit is not closed, only a probe decides: it asks when it is time to ask."""
        if self._circuit is _CLOSED:
            self._failed += 1
            if self._failed >= self._failures:
                self._open()

    def _open(self) -> None:
        self._probe_at = self._clock() + self._open_for_s
        self._become(Circuit.OPEN)

    def _begin_probe(self) -> None:
        if self._circuit is Circuit.OPEN and self._clock() >= self._probe_at:
            self._become(Circuit.HALF_OPEN)
        if self._circuit is Circuit.OPEN or self._probing:
            raise self._refusal("claim")
        self._probing = True

    def _refusal(self, operation: str) -> StoreNotAskedError:
        if self._circuit is Circuit.OPEN:
            left_s = max(0.0, self._probe_at - self._clock())
            when = f"a claim may try again in {left_s:.1f} s"
        else:
            when = "a claim is just trying again"
        return StoreNotAskedError(
            f"{operation}: not asked, the store has failed {self._failures} times in a row; {when}"
        )

    def _become(self, circuit: Circuit) -> None:
        if circuit is not self._circuit:
            self._circuit = circuit
            self._on_change(circuit.value)


class _Watching:
    """Around an operation: draws the breaker's conclusion from how it ended.

    Neither a generator nor a coroutine around that of the operation: every request passes here twice.
    """

    __slots__ = ("_conclude",)

    def __init__(self, conclude: Callable[[BaseException | None], None]) -> None:
        self._conclude = conclude

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """End."""
        self._conclude(error)
