"""Running something until it ends or a signal asks it to: once politely, twice at once."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedRunError(Exception):
    """A signal ended it; everything has been taken down in order."""


async def until_signalled(work: Coroutine[Any, Any, T], *, hurry: Callable[[], None]) -> T:
    """The result of `work`, which SIGINT, SIGTERM or SIGHUP cancels; a second signal calls `hurry`.

    Cancelled, `work` is expected to clean up and may take its time about it. It is cancelled once only:
    a second cancellation would cut short the very cleaning up.

    Raises:
        InterruptedRunError: a signal ended it.
    """
    running = asyncio.ensure_future(work)

    def signalled() -> None:
        if running.cancelling():
            hurry()
        else:
            running.cancel()

    with _handling(signalled):
        await asyncio.wait({running})
    if running.cancelled():
        raise InterruptedRunError
    return running.result()


@contextlib.contextmanager
def _handling(handler: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
