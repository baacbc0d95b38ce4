"""Running something until it ends or a signal asks it to: once politely, twice at once."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

T = TypeVar("T")

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedRunError(Exception):
    """A signal ended it; everything has been taken down in order."""


async def until_signalled(
    work: Coroutine[Any, Any, T],
    *,
    hurry: Callable[[], None],
    on: Mapping[signal.Signals, Callable[[], None]] = MappingProxyType({}),
) -> T:
    """The result of `work`, which SIGINT, SIGTERM or SIGHUP cancels; a second signal calls `hurry`.

    Cancelled, `work` is expected to clean up and may take its time about it. It is cancelled once only:
    a second cancellation would cut short the very cleaning up. Signals in `on` are answered as it says.

    Raises:
        InterruptedRunError: a signal ended it.
    """
    running = asyncio.ensure_future(work)

    def signalled() -> None:
        if running.cancelling():
            hurry()
        else:
            running.cancel()

    with _handling({**dict.fromkeys(_ENDING, signalled), **on}):
        await asyncio.wait({running})
    if running.cancelled():
        raise InterruptedRunError
    return running.result()


@contextlib.contextmanager
def _handling(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
