"""The cluster of the sidecar's workers."""

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterLbPolicy, UpstreamConnectionOptions
from envoy_data_plane.envoy.config.core.v3 import (
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    Http2ProtocolOptions,
    TcpKeepalive,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)

from sidecar.envoyconf.addresses import TcpAddress
from sidecar.envoyconf.clusters import (
    Addresses,
    assignment,
    discovery,
    http_options,
    lookup_family,
    raised_limits,
)
from sidecar.envoyconf.inputs import SidecarTls
from sidecar.envoyconf.sidecar_tls import transport_socket
from sidecar.envoyconf.typed import milliseconds, seconds

SIDECAR_CLUSTER = "idempotency_sidecar"

_CONNECT_MS = 500


def sidecar_cluster(endpoints: Addresses, tls: SidecarTls | None = None) -> Cluster:
    """The workers: HTTP/2, an endpoint each, as one Envoy worker keeps one connection per endpoint.

    The limits are raised because every request with a key holds a stream here. A peer that vanishes without a
    word is found by TCP's keepalive. HTTP/2's is not used: to a gRPC server, pings on a quiet connection are
    abuse, and it answers by dropping the connection ("too many pings") with every exchange on it.
    """
    http2 = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    return Cluster(
        name=SIDECAR_CLUSTER,
        type=discovery(endpoints),
        connect_timeout=milliseconds(_CONNECT_MS),
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        dns_lookup_family=lookup_family(endpoints),
        load_assignment=assignment(SIDECAR_CLUSTER, endpoints),
        health_checks=[_health_check()] if len(endpoints) > 1 else [],
        circuit_breakers=raised_limits(),
        typed_extension_protocol_options=http_options(HttpProtocolOptions(explicit_http_config=http2)),
        transport_socket=None if tls is None else transport_socket(tls),
        upstream_connection_options=_keepalive(endpoints),
    )


def _health_check() -> HealthCheck:
    """Takes a worker that drains or died out of the rotation.

    Needed from two endpoints on: a dead one has the fewest requests, so LEAST_REQUEST would prefer it. With a
    single one there is nothing to choose, and Envoy tries it whatever the check says.
    """
    return HealthCheck(
        timeout=seconds(1),
        interval=seconds(1),
        no_traffic_interval=seconds(1),
        unhealthy_threshold=2,
        healthy_threshold=1,
        grpc_health_check=HealthCheckGrpcHealthCheck(),
    )


def _keepalive(endpoints: Addresses) -> UpstreamConnectionOptions | None:
    if not any(isinstance(endpoint, TcpAddress) for endpoint in endpoints):
        return None  # the kernel reports the end of a unix socket's peer at once
    probes = TcpKeepalive(keepalive_time=30, keepalive_interval=5, keepalive_probes=3)
    return UpstreamConnectionOptions(tcp_keepalive=probes)
