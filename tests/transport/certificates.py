"""Certificates for mutual TLS, made anew for every run."""

import ssl
from dataclasses import dataclass, field

import grpc
import trustme

HOST = "127.0.0.1"


@dataclass
class Certificates:
    """One authority, and a server and a client that it has signed."""

    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.server = self.authority.issue_cert(HOST)
        self.client = self.authority.issue_cert("envoy.example")

    def server_context(self) -> ssl.SSLContext:
        """A server that asks for a certificate of the authority's."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.configure_cert(context)
        self.authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self, *, certified: bool = True) -> ssl.SSLContext:
        """A client that trusts the authority, and has a certificate of it or not."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if certified:
            self.client.configure_cert(context)
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The same for grpc."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.authority.cert_pem.bytes(),
            private_key=self.client.private_key_pem.bytes(),
            certificate_chain=self.client.cert_chain_pems[0].bytes(),
        )
