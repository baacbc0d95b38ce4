"""Performs an exchange's store effects: one call of the port each, its answer or its failure as an event."""

from collections.abc import Callable
from typing import TypeAlias

from sidecar.exchange.effects import Complete, MarkUnknown, Release, Renew, StoreEffect, TakeClaim
from sidecar.exchange.events import (
    ClaimFailed,
    RenewalFailed,
    Renewed,
    Settled,
    SettlingFailed,
    StoreEvent,
)
from sidecar.store.port import Store, StoreError, StoreUnavailableError

ObserveStore: TypeAlias = Callable[[str, str, float, StoreError | None], None]
"""Told of each operation: its name, its result (the metric's label), seconds, the error if it failed."""

_OPERATION: dict[type[StoreEffect], str] = {
    TakeClaim: "claim",
    Renew: "renew",
    Complete: "complete",
    Release: "release",
    MarkUnknown: "mark_unknown",
}


class StorePerformer:
    """Binds a store to the effects of exchanges. `clock` gives seconds, for the observer alone."""

    def __init__(self, store: Store, observe: ObserveStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._observe = observe
        self._clock = clock

    async def perform(self, effect: StoreEffect) -> StoreEvent:
        """Perform one effect; a `StoreError` comes back as the event that says so."""
        began = self._clock()
        try:
            event, error = await self._call(effect), None
        except StoreError as failure:
            event, error = _failed(effect, failure), failure
        result = "error" if error else _result(event)
        self._observe(_OPERATION[type(effect)], result, self._clock() - began, error)
        return event

    async def _call(self, effect: StoreEffect) -> StoreEvent:
        match effect:
            case TakeClaim(wanted=wanted, unknown=unknown):
                return await self._store.claim(wanted, unknown)
            case Renew(claim=claim):
                return Renewed(await self._store.renew(claim))
            case Complete(claim=claim, record=record):
                return Settled(await self._store.complete(claim, record))
            case Release(claim=claim):
                return Settled(await self._store.release(claim))
            case MarkUnknown(claim=claim, reason=reason, fingerprint=fingerprint):
                return Settled(await self._store.mark_unknown(claim, reason, fingerprint))


def _failed(effect: StoreEffect, error: StoreError) -> StoreEvent:
    match effect:
        case TakeClaim():
            return ClaimFailed(unavailable=isinstance(error, StoreUnavailableError))
        case Renew():
            return RenewalFailed()
        case _:
            return SettlingFailed()


def _result(event: StoreEvent) -> str:
    if isinstance(event, Renewed | Settled):
        return "held" if event.held else "lost"
    return type(event).__name__.lower()
