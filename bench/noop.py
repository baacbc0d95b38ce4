"""The reference: a processor on grpc.aio that answers each of the four messages with "continue".

    python -m bench.noop plain|tuned SOCKET_PATH

*Plain* is how a processor on grpc.aio is written and run: an asynchronous generator of messages, on asyncio's
event loop. It is what ratios are taken to. *Tuned* is the least that grpc.aio can be brought to: `read` and
`write` in place of the generator, raw bytes in place of messages (which phase one is of shows in its first
byte, the tag of the field that is set, because Envoy serialises fields in the order of their numbers), and
uvloop. It is measured as well, so that nobody has to believe that the reference is a fair one.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import uvloop

from sidecar.extproc.transport.port import PROCESS
from sidecar.extproc.wire import ext_proc_pb2 as pb

if TYPE_CHECKING:
    Context = grpc.aio.ServicerContext[bytes, bytes]

PLAIN, TUNED = "plain", "tuned"
_PHASES = ("request_headers", "request_body", "response_headers", "response_body")
_OPTIONS = [("grpc.max_receive_message_length", 16 * 1024 * 1024)]


def continuation(phase: str) -> pb.ProcessingResponse:
    """The answer to a message of this phase."""
    response = pb.ProcessingResponse()
    getattr(response, phase).SetInParent()
    return response


def continuations() -> dict[int, bytes]:
    """The answer to a message, by the message's first byte."""
    answers = {}
    for phase in _PHASES:
        request = pb.ProcessingRequest()
        getattr(request, phase).SetInParent()
        answers[request.SerializeToString()[0]] = continuation(phase).SerializeToString()
    return answers


_CONTINUATIONS = continuations()
_ANSWERS = {phase: continuation(phase) for phase in _PHASES}


async def plain(
    requests: AsyncIterator[pb.ProcessingRequest], _: object
) -> AsyncIterator[pb.ProcessingResponse]:
    """One stream, as one writes it."""
    async for request in requests:
        yield _ANSWERS[request.WhichOneof("request") or ""]


async def tuned(_: AsyncIterator[bytes], context: "Context") -> None:
    """One stream, for the least that it can cost."""
    message: object = await context.read()
    while isinstance(message, bytes):  # grpc.aio.EOF is not
        await context.write(_CONTINUATIONS[message[0]])
        message = await context.read()


def handler(kind: str) -> "grpc.RpcMethodHandler[Any, Any]":
    """How grpc.aio is to handle the streams."""
    if kind == TUNED:
        return grpc.stream_stream_rpc_method_handler(tuned)
    return grpc.stream_stream_rpc_method_handler(
        plain,
        request_deserializer=pb.ProcessingRequest.FromString,
        response_serializer=pb.ProcessingResponse.SerializeToString,
    )


async def serve(kind: str, path: str) -> None:
    """Serve on a unix socket until the process is ended."""
    server = grpc.aio.server(options=_OPTIONS)
    service, method = PROCESS[1:].split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler(kind)}),))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    run = uvloop.run if sys.argv[1] == TUNED else asyncio.run
    run(serve(sys.argv[1], sys.argv[2]))
