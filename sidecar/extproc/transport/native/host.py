"""What a connection asks of whoever owns its socket: the time, timers, and to be come back to."""

from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """Something that will be called."""

    def cancel(self) -> None:
        """It will not."""
        ...


class Host(Protocol):
    """The owner of a connection's socket. All of it happens on one thread."""

    def time(self) -> float:
        """A clock that never runs backwards, in seconds."""
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back after `delay_s` seconds, not from within this call."""
        ...

    def wake(self) -> None:
        """Soon, and not from within this call, take `Connection.data_to_send` and look at `closing`."""
        ...

    def report(self, error: Exception) -> None:
        """Make a handler's error known to those who can correct it."""
        ...
