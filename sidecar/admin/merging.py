"""The metrics of several workers as one exposition: the same families, each sample with its worker."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

LABEL = "worker"


def merged(expositions: Mapping[int, str | None]) -> bytes:
    """The Prometheus text exposition of all workers.

    Args:
        expositions: What each worker exposes, by its number; None for one that does not answer, which shows
            as `idempotency_worker_up{worker="1"} 0` and nowhere else.
    """
    up = Metric("idempotency_worker_up", "1 where the worker exposed its metrics, else 0.", "gauge")
    families: dict[str, Metric] = {}
    for worker, text in sorted(expositions.items()):
        label = {LABEL: str(worker)}
        up.add_sample(up.name, label, 0 if text is None else 1)
        for family in text_string_to_metric_families(text or ""):
            into = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            into.samples += [sample._replace(labels=label | sample.labels) for sample in family.samples]
    registry = CollectorRegistry()
    registry.register(_Collected([up, *families.values()]))
    return generate_latest(registry)


class _Collected(Collector):
    """Families that are there already."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
