"""For Envoy Gateway: what its own resource can say, and a patch for what it cannot.

An EnvoyExtensionPolicy makes Envoy Gateway put an ext_proc filter on the routes of a Gateway. It has no words
for the skip matcher, for longer waits, for a status of its own or for lengths that are kept, and it ends each
exchange after ten seconds. So an EnvoyPatchPolicy replaces that filter's configuration by the one that the
other formats have. The fields are those of `gateway.envoyproxy.io/v1alpha1`.
"""

from collections.abc import Sequence

from sidecar.envoyconf.addresses import TcpAddress, UnixAddress
from sidecar.envoyconf.filter import (
    failure_words,
    idempotency_filters,
    version_option,
    what_has_to_arrive,
)
from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.knowledge import metadata_namespaces, request_attributes
from sidecar.envoyconf.mesh import GRACEFUL_CLOSE, check_origin, explicit
from sidecar.envoyconf.modes import on_demand
from sidecar.envoyconf.placement import Placement
from sidecar.envoyconf.processor import fails_open
from sidecar.envoyconf.sidecar_cluster import SIDECAR_CLUSTER, sidecar_cluster
from sidecar.envoyconf.timing import message_timeout_ms, stream_idle_ms
from sidecar.envoyconf.typed import Plain, plain, to_yaml

_API = "gateway.envoyproxy.io/v1alpha1"
_TYPE = "type.googleapis.com/envoy.config"
_HEADER = """
The idempotency filter for Envoy Gateway, for proxies with Envoy {version}.
Made by: idempotency-sidecar envoy-config --format envoy-gateway{option}. Render it again when the
policies change: the matcher lets requests that need no sidecar pass without a stream, and has to know which
those are. Its form was checked against Envoy Gateway's schema, its parts were run in an Envoy; it was not run
in a cluster.

EnvoyExtensionPolicy: puts an ext_proc filter on every route of the listener.
EnvoyPatchPolicy: gives it the configuration that the former has no words for, and the cluster of the
  sidecar's workers. It has to be allowed (extensionApis.enableEnvoyPatchPolicy), and its condition Programmed
  to be True before requests with keys come: until then the filter asks about every request, ends each
  exchange after ten seconds, and does not tell where a response came from. The listener that it names is
  {listener}; where Envoy Gateway names them after ports (XDSNameSchemeV2), write that.
EnvoyProxy: a runtime flag for the proxies' bootstrap. Merge it into the one that the Gateway has, or name
  this one in the Gateway's infrastructure.parametersRef.

What the rest of the configuration has to keep, for a key to be executed at most once:
- No BackendTrafficPolicy of routes with keys retries on anything but refused-stream: what Envoy repeats below
  the filter is one exchange to the sidecar and several executions to the service.
- path.escapedSlashesAction of a ClientTrafficPolicy is left alone, or is RejectRequest: sidecar and service
  have to mean the same path.
{always}
- {failure}
- No timeout for a silent stream is under {idle}, the longest that a policy lets a request be silent.
- A Service of another namespace than these resources' needs a ReferenceGrant there.
"""


def render_envoy_gateway(inputs: EnvoyInputs, placement: Placement) -> str:
    """The three resources, as YAML documents.

    Raises:
        ValueError: The sidecar is not reached by the name of a Service, a policy is detached and its origin a
            socket, or the Envoy is too old to be given all by one filter.
    """
    header = _HEADER.format(
        version=inputs.envoy_version,
        option=version_option(inputs.envoy_version),
        always=what_has_to_arrive(inputs),
        failure=failure_words(inputs),
        listener=_listener(placement),
        idle=f"{stream_idle_ms(inputs.policies) // 1000}s",
    )
    first, *rest = envoy_gateway_resources(inputs, placement)
    return to_yaml(header, first) + "".join(f"---\n{to_yaml('', each).lstrip()}" for each in rest)


def envoy_gateway_resources(inputs: EnvoyInputs, placement: Placement) -> Sequence[Plain]:
    """The three resources as plain values."""
    check_origin(inputs)
    if not inputs.envoy_version.keeps_lengths:
        raise ValueError(
            f"for Envoy {inputs.envoy_version} filters would have to stand around Envoy Gateway's; "
            "allowed: --envoy-version 1.38 or newer"
        )
    return (_extension(inputs, placement), _patch(inputs, placement), _proxy(placement))


def _extension(inputs: EnvoyInputs, placement: Placement) -> Plain:
    namespaces = metadata_namespaces(inputs.policies)
    told = {"metadata": {"accessibleNamespaces": namespaces}} if namespaces else {}
    processor = {
        "backendRefs": [_service(address, placement) for address in inputs.endpoint_addresses],
        "processingMode": _processing_mode(inputs),
        "failOpen": fails_open(inputs),
        "messageTimeout": _duration(message_timeout_ms(inputs.store_timeout_ms)),
        **told,
    }
    target = {**_gateway(placement), "sectionName": placement.listener}
    return _resource("EnvoyExtensionPolicy", placement, {"targetRefs": [target], "extProc": [processor]})


def _processing_mode(inputs: EnvoyInputs) -> Plain:
    """What `modes.processing_mode` says, in the words that there are."""
    attributes = request_attributes(inputs.policies)
    request: Plain = {"attributes": attributes} if attributes else {}
    if on_demand(inputs.envoy_version, only_watching=fails_open(inputs)):
        return {"request": request, "allowModeOverride": True}
    whole = {"body": "FullDuplexStreamed"}
    return {"request": {**request, **whole}, "response": whole}


def _duration(count_ms: int) -> str:
    """A duration as the Gateway API writes it (GEP-2257), in units of at most five digits each."""
    seconds, rest_ms = divmod(count_ms, 1000)
    parts = [f"{seconds}s"] * bool(seconds) + [f"{rest_ms}ms"] * bool(rest_ms)
    return "".join(parts)


def _service(address: TcpAddress | UnixAddress, placement: Placement) -> Plain:
    """The Service behind `NAME` or `NAME.NAMESPACE[.svc[.cluster.local]]`."""
    if isinstance(address, UnixAddress) or address.is_ip:
        found = address.path if isinstance(address, UnixAddress) else address.host
        raise ValueError(
            f"the sidecar is reached at {found}, which is no Service; "
            "allowed: --sidecar-host NAME.NAMESPACE.svc, with server.listen at a port"
        )
    name, _, rest = address.host.partition(".")
    namespace = rest.partition(".")[0]
    elsewhere = {"namespace": namespace} if namespace not in ("", placement.namespace) else {}
    return {"name": name, **elsewhere, "port": address.port}


def _patch(inputs: EnvoyInputs, placement: Placement) -> Plain:
    (entry,) = idempotency_filters(inputs)
    extended = f"envoyextensionpolicy/{placement.namespace}/{placement.name}/extproc/0"
    at = f"$..http_filters[?(@.name=='envoy.filters.http.ext_proc/{extended}')].typed_config"
    cluster = plain(sidecar_cluster(inputs.endpoint_addresses, inputs.sidecar_tls))
    patches = [
        _change("cluster.v3.Cluster", SIDECAR_CLUSTER, {"op": "add", "path": "", "value": cluster}),
        _change(
            "listener.v3.Listener",
            _listener(placement),
            {"op": "replace", "jsonPath": at, "value": explicit(entry, inputs)["typed_config"]},
        ),
    ]
    spec = {"targetRef": _gateway(placement), "type": "JSONPatch", "jsonPatches": patches}
    return _resource("EnvoyPatchPolicy", placement, spec)


def _proxy(placement: Placement) -> Plain:
    flag = {"op": "add", "path": f"/layered_runtime/layers/0/static_layer/{GRACEFUL_CLOSE}", "value": True}
    return _resource("EnvoyProxy", placement, {"bootstrap": {"type": "JSONPatch", "jsonPatches": [flag]}})


def _change(kind: str, name: str, operation: Plain) -> Plain:
    return {"type": f"{_TYPE}.{kind}", "name": name, "operation": operation}


def _listener(placement: Placement) -> str:
    """What Envoy Gateway calls the listener in Envoy's configuration."""
    return f"{placement.namespace}/{placement.gateway}/{placement.listener}"


def _gateway(placement: Placement) -> Plain:
    return {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": placement.gateway}


def _resource(kind: str, placement: Placement, spec: Plain) -> Plain:
    metadata = {"name": placement.name, "namespace": placement.namespace}
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}
