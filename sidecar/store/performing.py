"""Performs an exchange's store effects: one call of the port each, its answer or its failure as an event."""

import re
from collections.abc import Callable

from sidecar.exchange.effects import (
    AwaitOwner,
    Complete,
    MarkUnknown,
    NoteFingerprint,
    Release,
    Renew,
    StoreEffect,
    TakeClaim,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Noted,
    NotingFailed,
    OwnerGone,
    RenewalFailed,
    Renewed,
    Settled,
    SettlingFailed,
    StoreEvent,
    WaitFailed,
)
from sidecar.store.observing import ObserveStore
from sidecar.store.port import Store, StoreError, StoreNotAskedError, StoreUnavailableError
from sidecar.store.repeating import SETTLE_OPERATION, RepeatedWrites, settle

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")
_OPERATION: dict[type[StoreEffect], str] = {
    TakeClaim: "claim",
    Renew: "renew",
    **SETTLE_OPERATION,
    NoteFingerprint: "note_fingerprint",
    AwaitOwner: "wait",
}


class StorePerformer:
    """Binds a store to the effects of exchanges.

    Args:
        store: The store.
        observe: Told of each operation.
        clock: The time, in seconds, for the observer alone.
        repeats: Where a write that ends an attempt goes when the store did not answer it; None: nowhere.
    """

    def __init__(
        self,
        store: Store,
        observe: ObserveStore,
        clock: Callable[[], float],
        repeats: RepeatedWrites | None = None,
    ) -> None:
        self._store = store
        self._observe = observe
        self._clock = clock
        self._repeats = repeats

    async def perform(self, effect: StoreEffect) -> StoreEvent:
        """Perform one effect; a `StoreError` comes back as the event that says so."""
        began = self._clock()
        try:
            event, error = await self._call(effect), None
        except StoreError as failure:
            event, error = _failed(effect, failure), failure
        result = "error" if error else _result(event)
        self._observe(_OPERATION[type(effect)], result, self._clock() - began, error)
        if self._repeats is not None:
            _repeat(self._repeats, effect, error)
        return event

    async def _call(self, effect: StoreEffect) -> StoreEvent:
        match effect:
            case TakeClaim(wanted=wanted, unknown=unknown):
                return await self._store.claim(wanted, unknown)
            case Renew(claim=claim):
                return Renewed(await self._store.renew(claim))
            case Complete() | Release() | MarkUnknown():
                return Settled(await settle(self._store, effect))
            case NoteFingerprint(claim=claim, fingerprint=fingerprint):
                return Noted(await self._store.note_fingerprint(claim, fingerprint))
            case AwaitOwner(claim_id=claim_id, timeout_ms=timeout_ms):
                await self._store.wait(claim_id, timeout_ms)
                return OwnerGone()


def _repeat(repeats: RepeatedWrites, effect: StoreEffect, error: StoreError | None) -> None:
    """Hand on what has to be written again: what the store did not answer, and what may have come too early.

    A claim of attempt 0 is one that was asked for and never answered.
    """
    match effect:
        case Complete() | Release() | MarkUnknown() if isinstance(error, StoreUnavailableError):
            repeats.add(effect)
        case Release(claim=claim) if error is None and claim.attempt == 0:
            repeats.make_sure(effect)


def _failed(effect: StoreEffect, error: StoreError) -> StoreEvent:
    match effect:
        case TakeClaim():
            asked = not isinstance(error, StoreNotAskedError)
            return ClaimFailed(unavailable=isinstance(error, StoreUnavailableError), asked=asked)
        case Renew():
            return RenewalFailed()
        case NoteFingerprint():
            return NotingFailed()
        case AwaitOwner():
            return WaitFailed()
        case _:
            return SettlingFailed()


def _result(event: StoreEvent) -> str:
    if isinstance(event, Renewed | Settled | Noted):
        return "held" if event.held else "lost"
    return _WORDS.sub("_", type(event).__name__).lower()
