"""The examples in `envoy/` and `deploy/`: what a small payments configuration renders to."""

from dataclasses import replace

from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.envoy_gateway import render_envoy_gateway
from sidecar.envoyconf.filter import render_filter
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.envoyconf.istio import render_istio
from sidecar.envoyconf.placement import Placement
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


def render_mesh_examples() -> dict[str, str]:
    """Every example by its file name in `deploy/`: the same policies, less what a mesh cannot have.

    In Istio the sidecar is in the pod of the service, for Envoy Gateway it is a Service of its own.
    """
    inputs = replace(example_inputs(), upstream=None, admin_path=None, origin="http://127.0.0.1:3000")
    elsewhere = replace(inputs, endpoints=("idempotency.payments.svc:9000",))
    placement = Placement(namespace="payments", workload={"app": "payments"})
    return {
        "istio/envoyfilter.yaml": render_istio(inputs, placement),
        "envoy-gateway/idempotency.yaml": render_envoy_gateway(elsewhere, placement),
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
