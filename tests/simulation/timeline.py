"""Virtual time: one queue of what is to happen, in milliseconds; nothing here ever waits."""

import heapq
from collections.abc import Callable
from typing import Any

MOST_EVENTS = 50_000
"""No schedule needs a tenth of it: one that does goes round in circles."""


class Endless(Exception):  # noqa: N818 (a finding about the schedule, not an error of the timeline)
    """Something schedules itself again and again."""


class Timeline:
    """What happens when; what is due at the same millisecond happens in the order it was asked for."""

    __slots__ = ("_queue", "_taken", "now")

    def __init__(self) -> None:
        self.now = 0
        self._queue: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._taken = 0

    def at(self, when: int, act: Callable[..., None], *arguments: Any) -> None:
        """Let `act` happen at this moment, which is not in the past."""
        self._taken += 1
        heapq.heappush(self._queue, (when, self._taken, act, arguments))

    def after(self, delay: int, act: Callable[..., None], *arguments: Any) -> None:
        """Let `act` happen in `delay` milliseconds."""
        self.at(self.now + delay, act, *arguments)

    def seconds(self) -> float:
        """The time as a store's clock tells it."""
        return self.now / 1000

    def run(self) -> None:
        """Let everything happen, until nothing is left.

        Raises:
            Endless: There is no end to it.
        """
        queue = self._queue
        while queue:
            self.now, _, act, arguments = heapq.heappop(queue)
            act(*arguments)
            if self._taken > MOST_EVENTS:
                raise Endless(f"more than {MOST_EVENTS} things happened by {self.now} ms")


class Alarm:
    """A timer that can be taken back."""

    __slots__ = ("_act", "live")

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act
        self.live = True

    def ring(self) -> None:
        """Its time has come."""
        if self.live:
            self.live = False
            self._act()

    def cancel(self) -> None:
        """It is not wanted any more."""
        self.live = False
