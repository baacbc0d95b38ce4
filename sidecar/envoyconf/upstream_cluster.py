"""The cluster of the service behind Envoy: HTTP/1.1, HTTP/2 in the clear, or TLS."""

import os
import ssl
from pathlib import Path

from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    TransportSocket,
)
from envoy_data_plane.envoy.config.core.v3 import HttpProtocolOptions as ConnectionOptions
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsAutoHttpConfig,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.clusters import assignment, discovery, http_options, lookup_family, raised_limits
from sidecar.envoyconf.inputs import Scheme, Upstream
from sidecar.envoyconf.typed import seconds

UPSTREAM_CLUSTER = "upstream"

_CONNECT_S = 5
_IDLE_S = 1
_CA_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def upstream_cluster(upstream: Upstream) -> Cluster:
    """The service. Envoy's own limits are raised: to refuse a request is the service's to do.

    Raises:
        ValueError: The upstream is `https://` and no CA bundle is found to verify it with.
    """
    addresses = [upstream.address]
    return Cluster(
        name=UPSTREAM_CLUSTER,
        type=discovery(addresses),
        connect_timeout=seconds(_CONNECT_S),
        dns_lookup_family=lookup_family(addresses),
        load_assignment=assignment(UPSTREAM_CLUSTER, addresses),
        circuit_breakers=raised_limits(),
        typed_extension_protocol_options=http_options(_protocol(upstream.scheme)),
        transport_socket=_tls(upstream) if upstream.scheme is Scheme.HTTPS else None,
    )


def _protocol(scheme: Scheme) -> HttpProtocolOptions:
    """The protocol, and how long an unused connection is kept.

    One second, where HTTP/1.1 may be spoken: servers close idle connections as well, many after 2 or 5 s,
    and a request that crosses such a close on the wire has an outcome that nobody knows. Envoy closing first
    leaves no such race. HTTP/2 has none, for a server says which streams it did not take (GOAWAY).
    """
    http1, http2 = Http1ProtocolOptions(enable_trailers=True), Http2ProtocolOptions()
    if scheme is Scheme.H2C:
        only_http2 = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=http2)
        return HttpProtocolOptions(explicit_http_config=only_http2)
    patience = ConnectionOptions(idle_timeout=seconds(_IDLE_S))
    if scheme is Scheme.HTTPS:
        either = HttpProtocolOptionsAutoHttpConfig(http_protocol_options=http1, http2_protocol_options=http2)
        return HttpProtocolOptions(common_http_protocol_options=patience, auto_config=either)
    only_http1 = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=http1)
    return HttpProtocolOptions(common_http_protocol_options=patience, explicit_http_config=only_http1)


def _tls(upstream: Upstream) -> TransportSocket:
    """TLS to the one name (or IP address) in the URL, verified against what this machine trusts."""
    host, trusted = upstream.address.host, DataSource(filename=system_ca_bundle())
    if upstream.address.is_ip:  # an IP address may not be sent as SNI (RFC 6066 §3)
        name = SubjectAltNameMatcher(
            san_type=SubjectAltNameMatcherSanType.IP_ADDRESS, matcher=StringMatcher(exact=host)
        )
        checks = CertificateValidationContext(trusted_ca=trusted, match_typed_subject_alt_names=[name])
        context = UpstreamTlsContext(common_tls_context=CommonTlsContext(validation_context=checks))
    else:
        checks = CertificateValidationContext(trusted_ca=trusted)
        common = CommonTlsContext(validation_context=checks)
        context = UpstreamTlsContext(common_tls_context=common, sni=host, auto_sni_san_validation=True)
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def system_ca_bundle() -> str:
    """The file of certificate authorities that this machine trusts; `SSL_CERT_FILE` names another.

    Raises:
        ValueError: There is none.
    """
    candidates = (os.environ.get("SSL_CERT_FILE"), ssl.get_default_verify_paths().cafile, *_CA_BUNDLES)
    for path in candidates:
        if path and Path(path).is_file():
            return path
    raise ValueError("no CA bundle is found to verify an https:// upstream with; set SSL_CERT_FILE to one")
