"""Series found by their labels once: after that, one dictionary lookup leads to the bound method.

`labels()` of prometheus_client checks and converts its arguments at every call, which costs more than the
increment it leads to.
"""

from collections.abc import Callable

from prometheus_client import Counter, Histogram


class Counting(dict[str | tuple[str, ...], Callable[[], None]]):
    """`counting[labels]()` adds one; `labels` in the counter's order, or the label where it has but one."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self._counter = counter

    def __missing__(self, labels: str | tuple[str, ...]) -> Callable[[], None]:
        increment = self[labels] = self._counter.labels(*_several(labels)).inc
        return increment


class Observing(dict[str | tuple[str, ...], Callable[[float], None]]):
    """`observing[labels](value)` adds an observation; `labels` as for `Counting`."""

    def __init__(self, histogram: Histogram) -> None:
        super().__init__()
        self._histogram = histogram

    def __missing__(self, labels: str | tuple[str, ...]) -> Callable[[float], None]:
        observe = self[labels] = self._histogram.labels(*_several(labels)).observe
        return observe


def _several(labels: str | tuple[str, ...]) -> tuple[str, ...]:
    return labels if isinstance(labels, tuple) else (labels,)
