"""Performs an exchange's store effects: one call of the port each, its answer or its failure as an event."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from sidecar.errand import Errand, Told
from sidecar.exchange.effects import (
    AwaitOwner,
    Complete,
    FetchPiece,
    MarkUnknown,
    NoteFingerprint,
    Release,
    Renew,
    SettleEffect,
    StoreEffect,
    TakeClaim,
)
from sidecar.exchange.events import (
    ClaimFailed,
    Noted,
    NotingFailed,
    OwnerGone,
    PieceFetched,
    PieceLost,
    RenewalFailed,
    Renewed,
    Settled,
    SettlingFailed,
    StoreEvent,
    WaitFailed,
)
from sidecar.idempotency.body import HeldBody
from sidecar.idempotency.claim import Claimed, ClaimResult, Expired, InFlight, Recorded, Unknown
from sidecar.store.observing import ObserveStore
from sidecar.store.port import PromptStore, Store, StoreError, StoreNotAskedError, StoreUnavailableError
from sidecar.store.repeating import SETTLE_OPERATION, RepeatedWrites, settle

_OPERATION: dict[type[StoreEffect], str] = {
    TakeClaim: "claim",
    Renew: "renew",
    **SETTLE_OPERATION,
    NoteFingerprint: "note_fingerprint",
    AwaitOwner: "wait",
    FetchPiece: "read_piece",
}
_RESULTS: dict[type[StoreEvent], str] = {
    Claimed: "claimed",
    InFlight: "in_flight",
    Recorded: "recorded",
    Unknown: "unknown",
    Expired: "expired",
    OwnerGone: "owner_gone",
    PieceFetched: "fetched",
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
        self._prompt = store if isinstance(store, PromptStore) else None

    def begin(self, effect: StoreEffect, told: Told[StoreEvent]) -> None:
        """Perform one effect and tell the event that comes of it; an error is a bug. Nothing calls it off.

        Claims and completions, of which each execution has one, need no coroutine where the store can do
        without: that takes a tenth off what an exchange costs.
        """
        prompt = self._prompt
        if prompt is not None and isinstance(effect, TakeClaim):
            claimed = partial(self._claimed, effect, told, self._clock())
            prompt.begin_claim(effect.wanted, effect.unknown, claimed)
        elif prompt is not None and isinstance(effect, Complete):
            completed = partial(self._completed, effect, told, self._clock())
            prompt.begin_complete(effect.claim, effect.record, completed)
        else:
            Errand(self.perform(effect), told, asyncio.get_running_loop())

    def _claimed(
        self,
        effect: TakeClaim,
        told: Told[StoreEvent],
        began: float,
        result: ClaimResult | None,
        error: BaseException | None,
    ) -> None:
        if result is None:
            self._tell_failed(effect, told, began, error)
            return
        self._observe("claim", _RESULTS[type(result)], self._clock() - began, None)
        told(result, None)

    def _completed(
        self,
        effect: Complete,
        told: Told[StoreEvent],
        began: float,
        held: bool | None,
        error: BaseException | None,
    ) -> None:
        if held is None:
            self._tell_failed(effect, told, began, error)
            return
        self._observe("complete", "held" if held else "lost", self._clock() - began, None)
        told(Settled(held), None)

    def _tell_failed(
        self, effect: StoreEffect, told: Told[StoreEvent], began: float, error: BaseException | None
    ) -> None:
        if isinstance(error, StoreError):
            told(self._fail(effect, error, began), None)
        else:
            told(None, error)

    async def perform(self, effect: StoreEffect) -> StoreEvent:
        """Perform one effect; a `StoreError` comes back as the event that says so."""
        began = self._clock()
        try:
            event = await self._call(effect)
        except StoreError as error:
            return self._fail(effect, error, began)
        self._observe(_OPERATION[type(effect)], _result(event), self._clock() - began, None)
        if self._repeats is not None and isinstance(effect, Release) and effect.claim.attempt == 0:
            self._repeats.make_sure(effect)  # it may have come before the claim that it drops
        return event

    def _fail(self, effect: StoreEffect, error: StoreError, began: float) -> StoreEvent:
        self._observe(_OPERATION[type(effect)], "error", self._clock() - began, error)
        if self._repeats is not None and isinstance(error, StoreUnavailableError):
            _repeat(self._repeats, effect)
        return _failed(effect, error)

    def _call(self, effect: StoreEffect) -> Awaitable[StoreEvent]:
        """What performs the effect."""
        match effect:
            case TakeClaim():
                return self._store.claim(effect.wanted, effect.unknown)
            case Complete() | Release() | MarkUnknown():
                return self._settle(effect)
            case Renew() | NoteFingerprint():
                return self._keep(effect)
            case AwaitOwner():
                return self._wait(effect)
            case FetchPiece():
                return self._fetch(effect)

    async def _settle(self, effect: SettleEffect) -> Settled:
        return Settled(await settle(self._store, effect))

    async def _keep(self, effect: Renew | NoteFingerprint) -> Renewed | Noted:
        if isinstance(effect, Renew):
            return Renewed(await self._store.renew(effect.claim))
        return Noted(await self._store.note_fingerprint(effect.claim, effect.fingerprint))

    async def _wait(self, effect: AwaitOwner) -> OwnerGone:
        await self._store.wait(effect.claim_id, effect.timeout_ms)
        return OwnerGone()

    async def _fetch(self, effect: FetchPiece) -> PieceFetched:
        body = effect.body
        if isinstance(body, HeldBody):
            return PieceFetched(body.pieces[effect.number])
        return PieceFetched(await self._store.read_piece(body, effect.number))


def _repeat(repeats: RepeatedWrites, effect: StoreEffect) -> None:
    """Hand on what has to be written again, because the store did not answer it."""
    if isinstance(effect, Complete | Release | MarkUnknown):
        repeats.add(effect)


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
        case FetchPiece():
            return PieceLost()
        case _:
            return SettlingFailed()


def _result(event: StoreEvent) -> str:
    if isinstance(event, (Renewed, Settled, Noted)):  # a tuple: a union would be made anew each time
        return "held" if event.held else "lost"
    return _RESULTS[type(event)]
