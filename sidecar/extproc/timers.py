"""Timers for many exchanges on few timers of the event loop.

An exchange's timers have one of a few delays (a third of a lease, a longest wait: what the policies say), and
nearly all are cancelled long before they are due. Those of one delay come due in the order in which they
were started, so each delay needs one timer of the loop, which stands for the first of them; starting and
cancelling one touches nothing but a dictionary.
"""

import asyncio
from collections.abc import Callable

from sidecar.exchange.events import TimerEvent


class Timer:
    """One timer that runs; `cancel` is allowed at any time, also when it is over."""

    __slots__ = ("_queue", "due", "event", "told")

    def __init__(
        self, queue: "_Queue", due: float, told: Callable[[TimerEvent], None], event: TimerEvent
    ) -> None:
        self._queue = queue
        self.due = due
        self.told = told
        self.event = event

    def cancel(self) -> None:
        """Stop it; nothing is told of it any more."""
        self._queue.waiting.pop(self, None)


class Timers:
    """The timers of one worker's exchanges.

    Args:
        loop: Whose clock they follow, and on whose thread they are told.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._queues: dict[int, _Queue] = {}

    def start(self, after_ms: int, told: Callable[[TimerEvent], None], event: TimerEvent) -> Timer:
        """Call `told(event)` once, `after_ms` milliseconds from now, unless it is cancelled before."""
        queue = self._queues.get(after_ms)
        if queue is None:
            queue = self._queues[after_ms] = _Queue(self.loop)
        timer = Timer(queue, self.loop.time() + after_ms / 1000, told, event)
        queue.waiting[timer] = None
        if not queue.armed:
            queue.arm(timer)
        return timer


class _Queue:
    """Timers of one delay, the first due first: a dictionary keeps the order of insertion."""

    __slots__ = ("_loop", "armed", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.waiting: dict[Timer, None] = {}
        self._loop = loop
        self.armed = False

    def arm(self, first: Timer) -> None:
        """Left armed when `first` is cancelled: it then finds that the one behind is not due, and goes on."""
        self.armed = True
        self._loop.call_at(first.due, self._fire)

    def _fire(self) -> None:
        self.armed = False
        now = self._loop.time()
        while self.waiting:
            first = next(iter(self.waiting))
            if first.due > now:
                self.arm(first)
                return
            del self.waiting[first]
            first.told(first.event)  # may start and cancel others
