"""Worker processes, which crash without a word, or are stopped and go on later."""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class Tenant(Protocol):
    """Something a process carries, and takes with it when it crashes."""

    def vanish(self) -> None:
        """The process has crashed."""
        ...


class Process:
    """One life of a worker: from its start until it crashes."""

    def __init__(self) -> None:
        self.alive = True
        self.tenants: list[Tenant] = []
        self._stopped = False
        self._backlog: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    def hand(self, act: Callable[..., None], *arguments: Any) -> None:
        """Something arrives: it is done at once, or when the process goes on, or never."""
        if not self.alive:
            return
        if self._stopped:
            self._backlog.append((act, arguments))
        else:
            act(*arguments)

    def crash(self) -> None:
        """Die without a word."""
        self.alive = False
        self._backlog.clear()
        for tenant in self.tenants:
            tenant.vanish()

    def stop(self) -> None:
        """Do nothing from now on; whatever arrives waits."""
        self._stopped = True

    def go_on(self) -> None:
        """Do all that has arrived meanwhile, in order."""
        self._stopped = False
        while self._backlog and self.alive and not self._stopped:
            act, arguments = self._backlog.popleft()
            act(*arguments)
