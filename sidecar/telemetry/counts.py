"""How often things happened, as a Prometheus counter that costs next to nothing to add to.

For the same reason as `durations`, and on the same terms: prometheus_client's own counter checks what it is
and takes a lock at each increment; here one thread adds and renders.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class Counts(Collector):
    """A counter.

    Args:
        name: Of the metric, without `_total`.
        documentation: Its help text.
        labels: The names of its labels.
        registry: Where it is exposed.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry
    ) -> None:
        self._family = (name, documentation, tuple(labels))
        self._counts: defaultdict[tuple[str, ...], int] = defaultdict(int)
        registry.register(self)

    def add(self, *labels: str) -> None:
        """It happened once more, with these values of the labels, in their order."""
        self._counts[labels] += 1

    def describe(self) -> Iterator[CounterMetricFamily]:
        """See `Collector`: what it is, without what was counted."""
        yield self._empty()

    def collect(self) -> Iterator[CounterMetricFamily]:
        """See `Collector`."""
        family = self._empty()
        for labels, count in self._counts.items():
            family.add_metric(labels, count)
        yield family

    def _empty(self) -> CounterMetricFamily:
        name, documentation, labels = self._family
        return CounterMetricFamily(name, documentation, labels=labels)
