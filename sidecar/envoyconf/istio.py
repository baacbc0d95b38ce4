"""For Istio: an EnvoyFilter that puts the idempotency filter in front of a workload.

The fields are those of `networking.istio.io/v1alpha3` (EnvoyFilter); what stands under `value` is Envoy's own
configuration, the same that the other formats have.
"""

from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.connections import EscapedSlashes, escaped_slashes
from sidecar.envoyconf.filter import (
    failure_words,
    idempotency_filters,
    version_option,
    what_has_to_arrive,
)
from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.mesh import GRACEFUL_CLOSE, check_origin, explicit
from sidecar.envoyconf.placement import Placement
from sidecar.envoyconf.sidecar_cluster import sidecar_cluster
from sidecar.envoyconf.timing import stream_idle_ms
from sidecar.envoyconf.typed import Plain, plain, to_yaml

_MANAGER = "envoy.filters.network.http_connection_manager"
_ROUTER = "envoy.filters.http.router"
_HEADER = """
The idempotency filter for Istio, in an EnvoyFilter, for proxies with Envoy {version}.
Made by: idempotency-sidecar envoy-config --format istio{option}. Render it again when the policies change:
the matcher lets requests that need no sidecar pass without a stream, and has to know which those are.
Its form was checked against Istio's schema, its parts were run in an Envoy; it was not run in a cluster.

What it changes {where}:
- The idempotency filter stands right before the router, so after Istio's own authentication.
- The cluster idempotency_sidecar is added. A unix socket of it is one in a volume that the proxy's container
  has too; 127.0.0.1 is the pod's own.{paths}
- The proxy's bootstrap gets a runtime flag. A proxy that runs does not read it: start the pods again.

What the rest of the mesh has to keep, for a key to be executed at most once:
{behind}
{always}
- {failure}
- No timeout for a silent stream is under {idle}, the longest that a policy lets a request be silent.
"""
_PATHS = """
- Dots in paths are resolved, slashes merged, and a path with an escaped slash is refused (400): sidecar and
  service have to mean the same path."""
_AT_SIDECAR = "for what comes in to the workload"
_AT_GATEWAY = "at the gateways"
_BEHIND_SIDECAR = """\
- The clients' proxies may retry: they send the same key again. This one must not, where it stands before the
  service: no route of it retries on anything but refused-stream."""
_BEHIND_GATEWAY = """\
- Routes with keys do not retry, nor hedge. Where a VirtualService says nothing, Istio retries twice: write
  retries: {attempts: 0} there. In the proxy of the service behind, no route retries on anything but
  refused-stream."""


def render_istio(inputs: EnvoyInputs, placement: Placement) -> str:
    """The EnvoyFilter, as YAML.

    Raises:
        ValueError: A policy is detached and its origin is a socket, which nothing would listen on.
    """
    check_origin(inputs)
    header = _HEADER.format(
        version=inputs.envoy_version,
        option=version_option(inputs.envoy_version),
        where=_AT_GATEWAY if placement.at_gateway else _AT_SIDECAR,
        paths=_PATHS if _guards_paths(inputs) else "",
        behind=_BEHIND_GATEWAY if placement.at_gateway else _BEHIND_SIDECAR,
        always=what_has_to_arrive(inputs),
        failure=failure_words(inputs),
        idle=f"{stream_idle_ms(inputs.policies) // 1000}s",
    )
    return to_yaml(header, envoy_filter(inputs, placement))


def envoy_filter(inputs: EnvoyInputs, placement: Placement) -> Plain:
    """The EnvoyFilter as plain values."""
    context = "GATEWAY" if placement.at_gateway else "SIDECAR_INBOUND"
    cluster = plain(sidecar_cluster(inputs.endpoint_addresses, inputs.sidecar_tls))
    paths = [_merged_manager(context)] if _guards_paths(inputs) else []
    selector = {"workloadSelector": {"labels": dict(placement.workload)}} if placement.workload else {}
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": placement.name, "namespace": placement.namespace},
        "spec": {
            **selector,
            "configPatches": [
                _patch("CLUSTER", {"context": context}, "ADD", cluster),
                *paths,
                *(_before_router(context, explicit(each, inputs)) for each in idempotency_filters(inputs)),
                _patch("BOOTSTRAP", {}, "MERGE", _runtime()),
            ],
        },
    }


def _guards_paths(inputs: EnvoyInputs) -> bool:
    return escaped_slashes(inputs.policies) is EscapedSlashes.REJECT_REQUEST


def _before_router(context: str, entry: Plain) -> Plain:
    """The entry, right before the router: what is inserted later stands closer to it."""
    at = {"name": _MANAGER, "subFilter": {"name": _ROUTER}}
    match = {"context": context, "listener": {"filterChain": {"filter": at}}}
    return _patch("HTTP_FILTER", match, "INSERT_BEFORE", entry)


def _merged_manager(context: str) -> Plain:
    manager = HttpConnectionManager(
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=EscapedSlashes.REJECT_REQUEST,
    )
    merged = plain(HttpFilter(name=_MANAGER, typed_config=Any.pack(manager)))
    match = {"context": context, "listener": {"filterChain": {"filter": {"name": _MANAGER}}}}
    return _patch("NETWORK_FILTER", match, "MERGE", merged)


def _runtime() -> Plain:
    return {"layered_runtime": {"layers": [{"name": "idempotency", "static_layer": {GRACEFUL_CLOSE: True}}]}}


def _patch(apply_to: str, match: Plain, operation: str, value: Plain) -> Plain:
    where = {"match": match} if match else {}
    return {"applyTo": apply_to, **where, "patch": {"operation": operation, "value": value}}
