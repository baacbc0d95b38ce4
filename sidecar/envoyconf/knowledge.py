"""What the filter tells the sidecar of a request beside its head: what a policy asks for, and no more.

Every attribute and every namespace costs Envoy time for each request that meets the filter, and shows the
sidecar something of the client: where no policy asks for any, none is sent.
"""

from collections.abc import Iterator

from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    MetadataOptions,
    MetadataOptionsMetadataNamespaces,
)

from sidecar.idempotency.identity import JWT_NAMESPACE
from sidecar.idempotency.policy import Mode, Policies, Policy
from sidecar.idempotency.scope import ScopePart

ROUTE = "xds.route_name"
PEER = (
    "connection.uri_san_peer_certificate",
    "connection.dns_san_peer_certificate",
    "connection.subject_peer_certificate",
)
"""The names in the certificate that a client showed."""


def request_attributes(policies: Policies) -> list[str]:
    """The attributes that the policies need: of the route where one wants a certain one, of the peer."""
    active = list(_active(policies))
    by_route = any(policy.match.route is not None for policy in active)
    by_peer = any(part.kind == "peer" for part in _parts(policies))
    return [*([ROUTE] if by_route else []), *(PEER if by_peer else [])]


def metadata_namespaces(policies: Policies) -> list[str]:
    """The namespaces of dynamic metadata that scopes are read from; jwt_authn's where one has a claim."""
    found = {namespace for part in _parts(policies) if (namespace := _namespace(part))}
    return sorted(found)


def metadata_options(policies: Policies) -> MetadataOptions | None:
    """These namespaces in Envoy's type; None where there are none."""
    namespaces = metadata_namespaces(policies)
    if not namespaces:
        return None
    return MetadataOptions(forwarding_namespaces=MetadataOptionsMetadataNamespaces(untyped=namespaces))


def _namespace(part: ScopePart) -> str:
    """Where a part is read from; a namespace may have dots of its own, a key has none."""
    if part.kind == "jwt":
        return JWT_NAMESPACE
    return part.name.rpartition(".")[0] if part.kind == "metadata" else ""


def _parts(policies: Policies) -> Iterator[ScopePart]:
    for policy in _active(policies):
        yield from policy.scope


def _active(policies: Policies) -> Iterator[Policy]:
    return (policy for policy in policies.policies if policy.mode is not Mode.OFF)
