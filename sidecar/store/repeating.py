"""Repeats, in the background, the writes that end an attempt and that the store did not answer.

The exchange is told at once that its write failed, and counts its outcome as unknown. Repeating makes it
known again where the store comes back: the response that was given to the client becomes the record after
all, and a claim that nobody executes any more is dropped.

Why a write may come this late. Each is guarded by its owner token: it changes what its own attempt left, or
nothing. An attempt that was taken over in the meantime has another token, and a record is never overwritten.
Each may be repeated: one that was done although its answer was lost finds itself standing. `complete` is
right whenever it comes, for it turns its own unknown, or its lapsed lease, into what truly happened.
`mark_unknown` says of a lapsed lease what a claim reads off it anyway. `release` is asked for only where
another attempt may be made, and that does not cease to be so. Where the store has *forgotten* the attempt a
write puts it back (`Store`), and that is right only while it would still be remembered: hence no write is
repeated for longer than its claim's ttl.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sidecar.exchange.effects import Complete, MarkUnknown, Release, SettleEffect, StoreEffect
from sidecar.idempotency.body import LARGEST_BODY_BYTES, size_of
from sidecar.store.observing import ObserveRepeat, ObserveStore, RepeatEnd
from sidecar.store.port import Store, StoreError, StoreUnavailableError

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
"""Between tries that fail; it doubles from the first to the longest, for all writes together."""

MAKE_SURE_AFTER_S = (1.0, 10.0)
"""When a release that may have overtaken its claim is sent again, and then once more, in seconds after it was
last answered: whatever stands between here and the store may keep the claim that long, and send it again."""

MOST_OF_NOTHING = 16_384
"""Releases of claims that were never answered: as many as a connection has commands under way. A store that
stalls for one time-out under load makes thousands at once, and each that is dropped may lock its key."""

SETTLE_OPERATION: dict[type[StoreEffect], str] = {
    Complete: "complete",
    Release: "release",
    MarkUnknown: "mark_unknown",
}
"""What the port calls the operation that performs the effect."""


def settle(store: Store, effect: SettleEffect) -> Awaitable[bool]:
    """End an attempt as `effect` says; the answer is the port's."""
    match effect:
        case Complete():
            return store.complete(effect.claim, effect.record)
        case Release():
            return store.release(effect.claim)
        case MarkUnknown():
            return store.mark_unknown(effect.claim, effect.reason, effect.fingerprint)


@dataclass(slots=True)
class _Write:
    """A write that waits for the store; times in seconds of the clock, `size` in bytes."""

    number: int
    effect: SettleEffect
    lost_at: float
    give_up_at: float
    size: int
    made: int = 0
    """How often the store has answered it; what comes after the first time is told to nobody."""
    tries: int = 0
    refusal: str = "it was not tried"

    @property
    def operation(self) -> str:
        return SETTLE_OPERATION[type(self.effect)]

    @property
    def of_nothing(self) -> bool:
        """Whether it drops a claim that was asked for and never answered: nothing was executed under it."""
        return isinstance(self.effect, Release) and self.effect.claim.attempt == 0


class RepeatedWrites:
    """The writes that still have to reach the store, one tried at a time.

    The release of a claim that was never answered is made more than once. The store may have answered it
    before it received the claim: another connection, a packet sent again. Such a claim would stand with
    nobody to execute it, then be held as unknown. The owner of a released claim never claims again, so a
    later release finds that claim or nothing.

    When there are too many such releases, the newest is dropped; of the other writes the oldest. When there
    are too many bytes, the oldest record is.

    Args:
        store: Where they are to go; through a `Breaker` they pass, and the first that is answered closes it.
        observe: Told of the last try of each write, as of any other operation.
        ended: Told how each write ended.
        clock: The time, in seconds; it must never run backwards.
        for_s: How long a write is repeated at most, in seconds; never longer than its claim's ttl.
        most: The most writes that wait, releases of claims that were never answered aside.
        most_of_nothing: The most of those.
        most_bytes: The most bytes of records that wait.
        sleep: Waits for so many seconds of `clock`.
    """

    def __init__(  # noqa: PLR0913 (the limits and the clock have defaults)
        self,
        store: Store,
        observe: ObserveStore,
        ended: ObserveRepeat,
        clock: Callable[[], float],
        *,
        for_s: float = 60.0,
        most: int = 1000,
        most_of_nothing: int = MOST_OF_NOTHING,
        most_bytes: int = 2 * LARGEST_BODY_BYTES,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._observe = observe
        self._on_end = ended
        self._clock = clock
        self._for_s = for_s
        self._most = most
        self._most_of_nothing = most_of_nothing
        self._most_bytes = most_bytes
        self._sleep = sleep
        self._writes: dict[int, _Write] = {}  # by number: the oldest first
        self._due: list[tuple[float, int]] = []  # a heap of (when, number); numbers may have ended since
        self._last_number = 0
        self._of_nothing = 0
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None
        self._draining = False
        self._closed = False

    def __len__(self) -> int:
        return len(self._writes)

    def add(self, effect: SettleEffect) -> None:
        """Repeat a write that the store did not answer."""
        self._add(effect, FIRST_PAUSE_S)

    def make_sure(self, effect: Release) -> None:
        """Make the release of a claim that was never answered again, although the store answered it."""
        self._add(effect, MAKE_SURE_AFTER_S[0], made=1)

    async def drain(self, within_s: float) -> None:
        """Wait until every write has ended, at most `within_s` seconds, then give up what remains.

        What was made, and was to be made again later, is made now and then left.
        """
        self._draining = True
        if self._task is not None:
            now = self._clock()
            self._due = [(now if self._is_made(number) else due, number) for due, number in self._due]
            heapq.heapify(self._due)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await asyncio.shield(self._task)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._closed = True
        for write in list(self._writes.values()):
            self._give_up(write, "the sidecar stops")

    def _is_made(self, number: int) -> bool:
        return number in self._writes and self._writes[number].made > 0

    def _add(self, effect: SettleEffect, after_s: float, *, made: int = 0) -> None:
        now = self._clock()
        self._last_number += 1
        give_up_at = now + min(self._for_s, effect.claim.ttl_ms / 1000)
        write = _Write(self._last_number, effect, now, give_up_at, _size(effect), made)
        self._writes[write.number] = write
        self._bytes += write.size
        self._of_nothing += write.of_nothing
        self._make_room(write)
        if self._closed and write.number in self._writes:
            self._give_up(write, "the sidecar stops")
        if write.number in self._writes:
            heapq.heappush(self._due, (now + after_s, write.number))
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._run())

    def _make_room(self, added: _Write) -> None:
        writes = self._writes.values()
        if self._of_nothing > self._most_of_nothing:
            self._give_up(added, "too many releases wait for the store")
        if len(writes) - self._of_nothing > self._most:
            oldest = next(write for write in writes if not write.of_nothing)
            self._give_up(oldest, "too many writes wait for the store")
        while self._bytes > self._most_bytes:
            record = next(write for write in writes if write.size)
            self._give_up(record, "too many bytes of records wait for the store")

    async def _run(self) -> None:
        pause_s, not_before = FIRST_PAUSE_S, 0.0
        while self._due:
            due, number = self._due[0]
            wait_s = max(due, not_before) - self._clock()
            if number in self._writes and wait_s > 0:
                await self._sleep(min(wait_s, FIRST_PAUSE_S))  # one that is due sooner may be added meanwhile
                self._give_up_late_ones()
                continue
            heapq.heappop(self._due)
            write = self._writes.get(number)
            if write is None:
                continue
            if await self._try(write):
                pause_s, not_before = FIRST_PAUSE_S, 0.0
            else:
                not_before = self._clock() + pause_s
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _try(self, write: _Write) -> bool:
        """Whether the store answered; if it did not, the write goes behind the others."""
        write.tries += 1
        began = self._clock()
        try:
            held = await settle(self._store, write.effect)
        except StoreUnavailableError as error:
            write.refusal = str(error)
            heapq.heappush(self._due, (self._clock(), write.number))
            return False
        except StoreError as error:
            self._end(write, "error", self._clock() - began, error)
        else:
            self._answered(write, "held" if held else "lost", self._clock() - began)
        return True

    def _answered(self, write: _Write, result: str, seconds: float) -> None:
        if not write.of_nothing or write.made == len(MAKE_SURE_AFTER_S) or self._draining:
            self._end(write, result, seconds, None)
        elif write.number in self._writes:
            self._tell(write, result, seconds, None)
            heapq.heappush(self._due, (self._clock() + MAKE_SURE_AFTER_S[write.made], write.number))
            write.made += 1

    def _give_up_late_ones(self) -> None:
        """Let go of what is past its time, before it is tried again: past it, a write may be wrong."""
        now = self._clock()
        for write in [write for write in self._writes.values() if write.give_up_at <= now]:
            self._give_up(write, write.refusal)

    def _give_up(self, write: _Write, why: str) -> None:
        error = StoreUnavailableError(f"{write.operation} given up after {write.tries} more tries: {why}")
        self._end(write, "error", 0.0, error)

    def _end(self, write: _Write, result: str, seconds: float, error: StoreError | None) -> None:
        if self._writes.pop(write.number, None) is None:  # dropped while it was under way
            return
        self._bytes -= write.size
        self._of_nothing -= write.of_nothing
        self._tell(write, result, seconds, error)

    def _tell(self, write: _Write, result: str, seconds: float, error: StoreError | None) -> None:
        if write.made:
            return
        self._observe(write.operation, result, seconds, error)
        lost_for_s = self._clock() - write.lost_at
        self._on_end(
            RepeatEnd(write.operation, write.effect.claim.id, result, write.tries, lost_for_s, error)
        )


def _size(effect: SettleEffect) -> int:
    """The bytes of the record that waits with it."""
    if not isinstance(effect, Complete):
        return 0
    fields = (*effect.record.headers, *effect.record.trailers)
    return size_of(effect.record.body) + sum(len(name) + len(value) for name, value in fields)
