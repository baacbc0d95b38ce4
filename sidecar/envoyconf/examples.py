"""The examples in `envoy/`: what a small payments configuration renders to."""

from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.filter import render_filter
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.envoyconf.version import NEWEST, EnvoyVersion
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import Execution, KeySource, Match, Policies, Policy

_WRITES = frozenset({"POST", "PATCH"})


def render_examples() -> dict[str, str]:
    """Every example by its file name in `envoy/`; the same text on every machine.

    For the newest Envoy, and for the oldest, which needs all that older ones need.
    """
    newest, oldest = example_inputs(), example_inputs(EnvoyVersion.SUPPORTED[0])
    return {
        "bootstrap.yaml": render_bootstrap(newest),
        "filter.yaml": render_filter(newest),
        f"filter-{oldest.envoy_version}.yaml": render_filter(oldest),
    }


def example_inputs(envoy_version: EnvoyVersion = NEWEST) -> EnvoyInputs:
    """What they are rendered from: every kind of policy that changes their form is among it."""
    return EnvoyInputs(
        policies=_payments(),
        endpoints=tuple(f"unix:/run/idempotency/ext_proc.sock.{worker}" for worker in range(2)),
        store_timeout_ms=250,
        listen="127.0.0.1:8080",
        upstream=Upstream.parse("http://127.0.0.1:3000"),
        admin_path="/run/idempotency/envoy-admin.sock",
        origin="unix:///run/idempotency/origin.sock",
        envoy_version=envoy_version,
    )


def _payments() -> Policies:
    """Refunds need a key, and go on when their client is gone; other payments may have one."""
    refunds = Match(methods=_WRITES, paths=(PathPattern("/v1/refunds"),))
    payments = Match(methods=_WRITES, paths=(PathPattern("/v1/payments/**"),))
    return Policies(
        (
            Policy("refunds", match=refunds, key=KeySource(required=True), execution=Execution.DETACHED),
            Policy("payments", match=payments),
        )
    )
