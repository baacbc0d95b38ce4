"""When a process that died is started again, and when to give up. Pure: the time is passed in."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """Give up at the `deaths`-th death within `within_s` seconds; wait longer after each one before that."""

    deaths: int = 5
    within_s: float = 30.0
    first_delay_s: float = 0.1
    max_delay_s: float = 5.0


class DeathRecord:
    """The recent deaths of one process."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._deaths: deque[float] = deque()

    def add(self, now: float) -> float | None:
        """Count a death at `now` (seconds). How many seconds to wait before the restart; None: give up."""
        self._deaths.append(now)
        while self._deaths[0] <= now - self._policy.within_s:
            self._deaths.popleft()
        if len(self._deaths) >= self._policy.deaths:
            return None
        doubled = self._policy.first_delay_s * 2 ** (len(self._deaths) - 1)
        return float(min(doubled, self._policy.max_delay_s))
