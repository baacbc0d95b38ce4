"""What both clusters are made of: where their members are, how they are found, how much they may take."""

from collections.abc import Sequence
from typing import TypeAlias

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.addresses import TcpAddress, UnixAddress
from sidecar.envoyconf.typed import socket

Addresses: TypeAlias = Sequence[TcpAddress | UnixAddress]

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_ENOUGH = 100_000


def discovery(addresses: Addresses) -> ClusterDiscoveryType:
    """Names are resolved; IP addresses and sockets stand as they are."""
    return ClusterDiscoveryType.STRICT_DNS if _have_names(addresses) else ClusterDiscoveryType.STATIC


def lookup_family(addresses: Addresses) -> ClusterDnsLookupFamily:
    """IPv4 first for names: `localhost` has both addresses, and most services listen on 127.0.0.1 only."""
    return ClusterDnsLookupFamily.V4_PREFERRED if _have_names(addresses) else ClusterDnsLookupFamily.AUTO


def assignment(cluster: str, addresses: Addresses) -> ClusterLoadAssignment:
    """Every address is one endpoint, all in one locality."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=socket(address))) for address in addresses]
    return ClusterLoadAssignment(
        cluster_name=cluster, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]
    )


def raised_limits() -> CircuitBreakers:
    """Circuit breakers that do not open: at Envoy's default of 1024 it answers for others with errors."""
    limits = CircuitBreakersThresholds(
        max_connections=_ENOUGH, max_pending_requests=_ENOUGH, max_requests=_ENOUGH, max_retries=_ENOUGH
    )
    return CircuitBreakers(thresholds=[limits])


def http_options(options: HttpProtocolOptions) -> dict[str, Any]:
    """A cluster's `typed_extension_protocol_options`."""
    return {_HTTP_OPTIONS: Any.pack(options)}


def _have_names(addresses: Addresses) -> bool:
    return any(isinstance(address, TcpAddress) and not address.is_ip for address in addresses)
