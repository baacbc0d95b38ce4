"""Series found by their labels once: after that, one dictionary lookup leads to the bound method.

`labels()` of prometheus_client checks and converts its arguments at every call, which costs more than the
increment it leads to.
"""

from collections.abc import Callable

from prometheus_client import Counter


class Counting(dict[tuple[str, ...], Callable[[], None]]):
    """`counting[labels]()` adds one; `labels` in the counter's order."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def __missing__(self, labels: tuple[str, ...]) -> Callable[[], None]:
        increment = self[labels] = self._counter.labels(*labels).inc
        return increment
