"""What the filter tells the sidecar of a request beside its head: what a policy asks for, and no more.

Every attribute and every namespace costs Envoy time for each request that meets the filter, and shows the
sidecar something of the client: where no policy asks for any, none is sent.
"""

from collections.abc import Iterator

from envoy_data_plane.envoy.config.core.v3 import HeaderValue
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
)

from sidecar.idempotency.policy import Mode, Policies, Policy
from sidecar.idempotency.scope import PEER
from sidecar.idempotency.telling import TELLS, told_text

ROUTE = "xds.route_name"
PEER_NAMES = (
    "connection.uri_san_peer_certificate",
    "connection.dns_san_peer_certificate",
    "connection.subject_peer_certificate",
)
"""The names in the certificate that a client showed."""


def request_attributes(policies: Policies) -> list[str]:
    """The attributes that the policies need: of the route where one wants a certain one, of the peer."""
    active = list(_active(policies))
    by_route = any(policy.match.route is not None for policy in active)
    return [*([ROUTE] if by_route else []), *(PEER_NAMES if PEER in policies.needs else [])]


def metadata_namespaces(policies: Policies) -> list[str]:
    """The namespaces of dynamic metadata that scopes are read from; jwt_authn's where one has a claim."""
    return sorted(policies.needs - {PEER})


def metadata_options(policies: Policies) -> MetadataOptions | None:
    """These namespaces in Envoy's type; None where there are none."""
    namespaces = metadata_namespaces(policies)
    if not namespaces:
        return None
    return MetadataOptions(forwarding_namespaces=MetadataOptionsMetadataNamespaces(untyped=namespaces))


def initial_metadata(policies: Policies) -> list[HeaderValue]:
    """What the filter says of itself to the sidecar, which refuses requests that it is told too little of."""
    return [HeaderValue(key=TELLS, value=told_text(policies.needs))] if policies.needs else []


def _active(policies: Policies) -> Iterator[Policy]:
    return (policy for policy in policies.policies if policy.mode is not Mode.OFF)
