"""Mutual TLS from Envoy to the sidecar's workers."""

from envoy_data_plane.envoy.config.core.v3 import DataSource, TransportSocket
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from sidecar.envoyconf.addresses import is_ip
from sidecar.envoyconf.inputs import SidecarTls


def transport_socket(tls: SidecarTls) -> TransportSocket:
    """TLS 1.2 or 1.3 (Envoy's own default for clients ends at 1.2), HTTP/2 by ALPN, a certificate shown.

    The sidecar has to be who `name` says: an authority signs certificates for others as well.
    """
    common = CommonTlsContext(
        tls_params=TlsParameters(
            tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2,
            tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3,
        ),
        tls_certificates=[
            TlsCertificate(
                certificate_chain=DataSource(filename=tls.certificate),
                private_key=DataSource(filename=tls.key),
            )
        ],
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(filename=tls.ca), match_typed_subject_alt_names=[_name(tls)]
        ),
        alpn_protocols=["h2"],
    )
    context = UpstreamTlsContext(common_tls_context=common, sni=_server_name(tls))
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _name(tls: SidecarTls) -> SubjectAltNameMatcher:
    kind = SubjectAltNameMatcherSanType.DNS
    if tls.is_uri:
        kind = SubjectAltNameMatcherSanType.URI
    elif is_ip(tls.name):
        kind = SubjectAltNameMatcherSanType.IP_ADDRESS
    return SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=tls.name))


def _server_name(tls: SidecarTls) -> str:
    """SNI, which takes DNS names only (RFC 6066 §3)."""
    return "" if tls.is_uri or is_ip(tls.name) else tls.name
