"""From the configuration's `server` section to a transport."""

from sidecar.config.server_schema import ServerSection
from sidecar.config.tls import server_context
from sidecar.extproc.transport.port import Accept, Transport


def open_transport(server: ServerSection, worker: int, accept: Accept) -> Transport:
    """The transport of one worker, on the endpoint that is its own; it does not listen yet.

    Only the one that is chosen is imported: gRPC's library costs memory and time of starting.

    Args:
        server: The section.
        worker: Which of `server.workers` it is for.
        accept: Gives the handler of each stream.

    Raises:
        OSError: A file of TLS cannot be used any more.
    """
    endpoint = server.listen.for_worker(worker, server.workers)
    socket_mode = server.socket_mode if endpoint.is_unix else None
    if server.transport == "grpcio":
        from sidecar.extproc.transport.grpcio import GrpcioTransport  # noqa: PLC0415 - see above

        return GrpcioTransport(endpoint.address, accept, socket_mode=socket_mode, tls=server.tls)
    from sidecar.extproc.transport.native.server import NativeTransport  # noqa: PLC0415 - see above

    tls = None if server.tls is None else server_context(server.tls)
    return NativeTransport(endpoint.address, accept, socket_mode=socket_mode, ssl_context=tls)
