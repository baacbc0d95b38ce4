"""The native transport keeps the promises of the port, over TLS as well."""

import grpc
import pytest

from sidecar.extproc.transport.native import Limits, NativeTransport
from sidecar.extproc.transport.port import Accept
from tests.stack.ports import lasting_port
from tests.transport.certificates import Certificates
from tests.transport.contract import TransportContract
from tests.transport.transport_scene import NO_LIMITS, HealthyTransport


class TestNativeTransport(TransportContract):
    def make(self, address: str, accept: Accept) -> HealthyTransport:
        return NativeTransport(address, accept)


class TestNativeTransportOverTls(TransportContract):
    certificates = Certificates()

    @pytest.fixture
    def address(self) -> str:
        return f"127.0.0.1:{lasting_port()}"

    def make(self, address: str, accept: Accept) -> HealthyTransport:
        tls = None if address.startswith("unix:") else self.certificates.server_context()
        # gRPC's client does not answer the end of TLS with its own, so every test would wait out the linger.
        return NativeTransport(address, accept, ssl_context=tls, limits=Limits(linger_s=0.05))

    def channel(self, address: str) -> grpc.aio.Channel:
        if address.startswith("unix:"):
            return super().channel(address)
        return grpc.aio.secure_channel(address, self.certificates.channel_credentials(), options=NO_LIMITS)
