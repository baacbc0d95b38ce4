"""Between coroutines and who is told: coroutines run without a task, and a call that tells, awaited.

A task costs a context, a place in asyncio's register, and two turns of the loop: one before it starts and one
after it has ended. An errand starts at once, is resumed by the very future that it awaits, and reports back
in the same turn. What every execution asks of the store takes no coroutine at all (`store.port.PromptStore`).
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Told(Protocol[T_contra]):
    """Told once how something ended: with what came of it, or with the error that there is instead."""

    def __call__(self, result: T_contra | None, error: BaseException | None, /) -> None:
        """It has ended."""
        ...


class Errand(Generic[T]):
    """Runs `coroutine` to its end, whatever becomes of whoever asked for it: it cannot be cancelled.

    It may await futures, tasks, and coroutines that do; not what asks for the current task, as
    `asyncio.timeout` does: inside an errand there is none, and it raises.

    Args:
        coroutine: What to run; its first part runs before this returns.
        done: Told how it ended, once and never before this returns: what it returned, or what it raised.
        loop: The running loop.
    """

    __slots__ = ("_coroutine", "_done", "_loop", "_started")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        done: Told[T],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._coroutine = coroutine
        self._done = done
        self._loop = loop
        self._started = False
        self._resume(None)
        self._started = True

    def _resume(self, awaited: "asyncio.Future[Any] | None") -> None:
        """Go on until the next future; what the one before came to, its own `__await__` gives or raises."""
        del awaited
        try:
            future = self._coroutine.send(None)
        except StopIteration as end:
            self._tell(end.value, None)
        except BaseException as error:  # noqa: BLE001 - for whoever asked to deal with
            self._tell(None, error)
        else:
            # The protocol between `Future.__await__` and whoever drives it, which otherwise is the task.
            future._asyncio_future_blocking = False  # noqa: SLF001 - see above
            future.add_done_callback(self._resume)

    def _tell(self, result: T | None, error: BaseException | None) -> None:
        if self._started:
            self._done(result, error)
        else:
            self._loop.call_soon(self._done, result, error)


def answer_of(begin: Callable[[Told[T]], None]) -> "asyncio.Future[T]":
    """What a call that tells tells, to be awaited; cancelled, nobody hears of it, but it goes on."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    begin(partial(_settle, future))
    return future


def _settle(future: "asyncio.Future[T]", result: T | None, error: BaseException | None) -> None:
    if future.done():  # cancelled
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]  # None only where T is None
