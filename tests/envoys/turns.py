"""Stacks one after the other, the next one started while the tests of this one run.

A stack takes seconds of processor time to start, and its tests wait most of their time: it halves the run.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Generic, Self, TypeVar

K = TypeVar("K")
S = TypeVar("S")


class Turns(Generic[K, S]):
    """Starts what is asked for, and one ahead; at the end of the block everything is stopped.

    Args:
        order: What will be asked for, in the order in which it will be.
        start: Makes the context manager of one.
    """

    def __init__(self, order: Sequence[K], start: Callable[[K], AbstractContextManager[S]]) -> None:
        self._order = list(order)
        self._start = start
        self._starting: dict[K, Future[tuple[ExitStack, S]]] = {}
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for key in list(self._starting):
            self.stop(key)
        self._pool.shutdown()

    def take(self, key: K) -> S:
        """This one, running; the one after it is started meanwhile.

        Raises:
            Exception: What its start raised.
        """
        starting = self._begin(key)
        after = self._order[self._order.index(key) + 1 :]
        if after:
            self._begin(after[0])
        return starting.result()[1]

    def stop(self, key: K) -> None:
        """Stop it, where it was started; one that could not be started has stopped already."""
        starting = self._starting.pop(key, None)
        if starting is not None and starting.exception() is None:
            starting.result()[0].close()

    def _begin(self, key: K) -> "Future[tuple[ExitStack, S]]":
        if key not in self._starting:
            self._starting[key] = self._pool.submit(self._entered, key)
        return self._starting[key]

    def _entered(self, key: K) -> tuple[ExitStack, S]:
        with ExitStack() as entering:
            started = entering.enter_context(self._start(key))
            return entering.pop_all(), started
