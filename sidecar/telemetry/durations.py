"""How long things took, as a Prometheus histogram that costs next to nothing to add to.

Each request is observed six times. prometheus_client's own histogram takes a lock and walks its buckets at
each: measured, 5 µs more for each request. Only the event loop's thread adds here, and only
the loop's thread renders, so there is nothing to lock, and some may lie together before they are put into
their buckets. prometheus_client does what remains, the exposition.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

TOGETHER = 256
"""So many are put into their buckets at once, in order, which takes less than to seek the bucket of each."""

Labels: TypeAlias = str | tuple[str, ...]
"""The values of a series' labels, in order; the value alone where there is but one."""


class Durations(Collector):
    """A histogram of seconds.

    Args:
        name: Of the metric.
        documentation: Its help text.
        labels: The names of its labels.
        buckets: The upper bounds, in seconds, rising; one of infinity is added to them.
        registry: Where it is exposed.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._family = (name, documentation, tuple(labels))
        self._bounds = tuple(buckets)
        self._series: dict[Labels, _Series] = {}
        registry.register(self)

    def observe(self, labels: Labels, seconds: float) -> None:
        """Something with these labels took so long."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series(len(self._bounds) + 1)
        recent = series.recent
        recent.append(seconds)
        if len(recent) >= TOGETHER:
            series.sort_in(self._bounds)

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """See `Collector`: what it is, without what was observed."""
        yield self._empty()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """See `Collector`."""
        family = self._empty()
        for labels, series in self._series.items():
            series.sort_in(self._bounds)
            values = (labels,) if isinstance(labels, str) else labels
            family.add_metric(values, self._buckets(series), series.total_s)
        yield family

    def _empty(self) -> HistogramMetricFamily:
        name, documentation, labels = self._family
        return HistogramMetricFamily(name, documentation, labels=labels)

    def _buckets(self, series: "_Series") -> list[tuple[str, float]]:
        """The bounds as Prometheus writes them, each with everything up to it."""
        so_far = 0
        filled = []
        for bound, count in zip((*map(repr, self._bounds), "+Inf"), series.counts, strict=True):
            so_far += count
            filled.append((bound, float(so_far)))
        return filled


class _Series:
    """How many observations fell into each bucket, and their sum; and those that are in neither yet."""

    __slots__ = ("counts", "recent", "total_s")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total_s = 0.0
        self.recent: list[float] = []

    def sort_in(self, bounds: Sequence[float]) -> None:
        """Put the recent ones where they belong; a bucket holds what is no greater than its bound (`le`)."""
        for seconds in self.recent:
            self.total_s += seconds
        self.recent.sort()
        below = 0
        for bucket, bound in enumerate(bounds):
            up_to = bisect_right(self.recent, bound)
            self.counts[bucket] += up_to - below
            below = up_to
        self.counts[-1] += len(self.recent) - below
        self.recent.clear()
