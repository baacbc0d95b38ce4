"""The reference transport keeps the promises of the port."""

from sidecar.extproc.transport.grpcio import GrpcioTransport
from sidecar.extproc.transport.port import Accept
from tests.transport.contract import TransportContract
from tests.transport.transport_scene import HealthyTransport


class TestGrpcioTransport(TransportContract):
    def make(self, address: str, accept: Accept) -> HealthyTransport:
        return GrpcioTransport(address, accept)
