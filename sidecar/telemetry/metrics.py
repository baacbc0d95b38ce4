"""The metrics of CONTRACT §8, on a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest

from sidecar.telemetry.counts import Counts
from sidecar.telemetry.durations import Durations

# One more series for each series, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client left it unannotated

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics:
    """Every instrument of the sidecar."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counts(
            "idempotency_requests",
            "Keyed requests, by what was decided.",
            ("policy", "result"),
            registry=self.registry,
        )
        self.outcomes = Counts(
            "idempotency_outcomes",
            "Executions that ended, by what became of the key and why.",
            ("policy", "outcome", "reason"),
            registry=self.registry,
        )
        self.exchange_seconds = Durations(
            "idempotency_exchange_seconds",
            "How long Envoy waited for the answer to a message, by the message's phase.",
            ("phase",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.store_seconds = Durations(
            "idempotency_store_seconds",
            "How long a store operation took, by operation and result.",
            ("operation", "result"),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.store_circuit_open = Gauge(
            "idempotency_store_circuit_open",
            "1 while claims are refused without asking the store, which has just failed several times.",
            registry=self.registry,
        )
        self.origin_seconds = Durations(
            "idempotency_origin_seconds",
            "How long a detached call took, by result: answered, never_sent, lost, deadline.",
            ("result",),
            buckets=(*_SECONDS, 10.0, 30.0, 60.0),
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "idempotency_in_flight",
            "Streams open, or ended with a store operation still under way.",
            registry=self.registry,
        )
        self.config_reloads = Counter(
            "idempotency_config_reloads",
            "Configurations loaded, by result.",
            ("result",),
            registry=self.registry,
        )

    def render(self) -> bytes:
        """The Prometheus text exposition of everything."""
        return generate_latest(self.registry)
