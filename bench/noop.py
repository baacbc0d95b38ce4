"""The reference: a processor on grpc.aio that answers each of the four messages with "continue".

    python -m bench.noop uvloop|asyncio SOCKET_PATH

It does not even parse: which phase a message is of shows in its first byte, the tag of the field that is
set, because Envoy serialises fields in the order of their numbers. What is left is grpc.aio's own cost, and
of that the least: `read` and `write` cost less than an async generator, raw bytes less than messages, and
uvloop less than asyncio's loop, by a fifth. The reference of the ratios is the cheapest of them all.
"""

import asyncio
import sys
from typing import TYPE_CHECKING

import grpc
import uvloop

from sidecar.extproc.transport.port import PROCESS
from sidecar.extproc.wire import ext_proc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    Context = grpc.aio.ServicerContext[bytes, bytes]

_PHASES = ("request_headers", "request_body", "response_headers", "response_body")
_OPTIONS = [("grpc.max_receive_message_length", 16 * 1024 * 1024)]


def continuations() -> dict[int, bytes]:
    """The answer to a message, by the message's first byte."""
    answers = {}
    for phase in _PHASES:
        request = pb.ProcessingRequest()
        getattr(request, phase).SetInParent()
        response = pb.ProcessingResponse()
        getattr(response, phase).SetInParent()
        answers[request.SerializeToString()[0]] = response.SerializeToString()
    return answers


_CONTINUATIONS = continuations()


async def process(_: "AsyncIterator[bytes]", context: "Context") -> None:
    """One stream."""
    message: object = await context.read()
    while isinstance(message, bytes):  # grpc.aio.EOF is not
        await context.write(_CONTINUATIONS[message[0]])
        message = await context.read()


async def serve(path: str) -> None:
    """Serve on a unix socket until the process is ended."""
    server = grpc.aio.server(options=_OPTIONS)
    service, method = PROCESS[1:].split("/")
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(process)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    run = uvloop.run if sys.argv[1] == "uvloop" else asyncio.run
    run(serve(sys.argv[2]))
