"""A whole Envoy: a listener, the idempotency filter, one upstream. What `up` and `demo` start."""

from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Admin,
    Bootstrap,
    BootstrapDynamicResources,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
)
from envoy_data_plane.envoy.config.core.v3 import ConfigSource, Node, PathConfigSource
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryResponse
from envoy_data_plane.google.protobuf import Any, Struct

from sidecar.envoyconf.addresses import UnixAddress
from sidecar.envoyconf.connections import connection_manager
from sidecar.envoyconf.filter import failure_words, version_option
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.envoyconf.origin_listener import origin_listener
from sidecar.envoyconf.sidecar_cluster import sidecar_cluster
from sidecar.envoyconf.typed import plain, socket, to_yaml
from sidecar.envoyconf.upstream_cluster import upstream_cluster

_MAX_CLIENT_CONNECTIONS = 10_000
_HEADER = """
An Envoy {version} with the idempotency filter in front of one upstream.
Made by: idempotency-sidecar envoy-config --format bootstrap{option}. Change the policies in the sidecar's own
configuration and render it again, for Envoy and the sidecar have to agree on them.
Yours to change: the listener's address, and the endpoints of the clusters.
A listener idempotency_origin, where it is there, is the sidecar's alone: what arrives there executes, so keep
it off every network. Its socket has mode 0600; Envoy and the sidecar run as one user, or change that.
{failure}
Start it with: envoy --config-path THIS-FILE --disable-hot-restart
"""


_LISTENERS_HEADER = """
The listeners of an Envoy {version}, which takes them anew whenever another file is renamed over this one.
"""


def render_bootstrap(inputs: EnvoyInputs, listeners: str | None = None) -> str:
    """The configuration file of an Envoy that needs nothing else, as YAML.

    Args:
        inputs: What it depends on.
        listeners: The path of a file with the listeners (`render_listeners`), which Envoy then follows. They
            are all that is made of the policies. None: they are part of the bootstrap, and stay as they are.

    Raises:
        ValueError: No upstream is given, or an `https://` one cannot be verified on this machine.
    """
    header = _HEADER.format(
        version=inputs.envoy_version,
        option=version_option(inputs.envoy_version),
        failure=failure_words(inputs),
    )
    return to_yaml(header, plain(_bootstrap(inputs, _upstream(inputs), listeners)))


def render_listeners(inputs: EnvoyInputs) -> str:
    """The file of listeners for an Envoy whose bootstrap names it, as YAML.

    Raises:
        ValueError: No upstream is given.
    """
    resources = [Any.pack(listener) for listener in _listeners(inputs, _upstream(inputs))]
    header = _LISTENERS_HEADER.format(version=inputs.envoy_version)
    return to_yaml(header, plain(DiscoveryResponse(resources=resources)))


def _upstream(inputs: EnvoyInputs) -> Upstream:
    if inputs.upstream is None:
        raise ValueError("a bootstrap needs an upstream, such as http://127.0.0.1:3000")
    return inputs.upstream


def _bootstrap(inputs: EnvoyInputs, upstream: Upstream, listeners: str | None) -> Bootstrap:
    return Bootstrap(
        node=None if listeners is None else Node(id="idempotency", cluster="idempotency"),
        dynamic_resources=None if listeners is None else _followed(listeners),
        static_resources=BootstrapStaticResources(
            listeners=_listeners(inputs, upstream) if listeners is None else [],
            clusters=[
                sidecar_cluster(inputs.endpoint_addresses, inputs.sidecar_tls),
                upstream_cluster(upstream),
            ],
        ),
        layered_runtime=_runtime(),
        admin=_admin(inputs.admin_path),
        overload_manager=_limits(),
    )


def _followed(listeners: str) -> BootstrapDynamicResources:
    """Envoy follows the path itself: it takes the file when another is renamed over it."""
    return BootstrapDynamicResources(
        lds_config=ConfigSource(path_config_source=PathConfigSource(path=listeners))
    )


def _listeners(inputs: EnvoyInputs, upstream: Upstream) -> list[Listener]:
    """The one for clients and, where a policy executes detached, the one for the sidecar's own calls."""
    main, origin = _listener(inputs, upstream), inputs.origin_address
    return [main] if origin is None else [main, origin_listener(inputs, origin)]


def _listener(inputs: EnvoyInputs, upstream: Upstream) -> Listener:
    manager = Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=Any.pack(connection_manager(inputs, upstream)),
    )
    return Listener(
        name="ingress",
        address=socket(inputs.listen_address),
        filter_chains=[FilterChain(filters=[manager])],
    )


def _admin(path: str | None) -> Admin | None:
    """On a unix socket in a directory of the owner's: whoever reaches it can stop this Envoy."""
    return None if path is None else Admin(address=socket(UnixAddress(path)))


def _runtime() -> LayeredRuntime:
    """Exchanges end with a half-close rather than a reset, which grpcio reports in two ways, at random."""
    flags = Struct.from_dict({"envoy.reloadable_features.ext_proc_graceful_grpc_close": True})
    return LayeredRuntime(layers=[RuntimeLayer(name="static", static_layer=flags)])


def _limits() -> OverloadManager:
    connections = DownstreamConnectionsConfig(max_active_downstream_connections=_MAX_CLIENT_CONNECTIONS)
    monitor = ResourceMonitor(
        name="envoy.resource_monitors.global_downstream_max_connections", typed_config=Any.pack(connections)
    )
    return OverloadManager(resource_monitors=[monitor])
