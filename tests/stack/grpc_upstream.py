"""A real gRPC server that does as it is told, with messages as raw bytes, and keeps a ledger of its calls.

The path says what kind of call it is: `/unary/…`, `/server-stream/…`, `/client-stream/…` or `/bidi/…`.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc

HELD_AT_MOST_S = 30.0
"""How long a call is held back, so that no failing test hangs."""
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


@dataclass
class Answer:
    """What the upstream does with a call.

    A call that has one answer gets `message` where its `status` is OK. A server's stream sends what the
    message holds between commas, a conversation sends back what it is sent. `started` is set when the call
    has come, and it waits for `wait` to be set.
    """

    message: bytes = b"done"
    status: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    initial: Metadata = ()
    trailing: Metadata = ()
    started: threading.Event = field(default_factory=threading.Event)
    wait: threading.Event | None = None


@dataclass(frozen=True)
class Seen:
    """One call as the upstream got it; of a stream, `messages` grows while it lasts."""

    path: str
    messages: list[bytes]
    metadata: dict[str, str | bytes]


class GrpcUpstream(grpc.GenericRpcHandler):
    """The server's handlers and their ledger. `script` gives the answer for a path."""

    def __init__(self) -> None:
        self.ledger: list[Seen] = []
        self.script: Callable[[str], Answer] = lambda _path: Answer()
        self.port = 0

    def times(self, path: str) -> int:
        """How often the path was called."""
        return sum(seen.path == path for seen in self.ledger)

    def last(self, path: str) -> Seen:
        """The last call of the path."""
        return [seen for seen in self.ledger if seen.path == path][-1]

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """The handler of a call, by the kind that its path begins with."""
        path = str(handler_call_details.method)
        return _HANDLERS[path.split("/")[1]](_Method(self, path))


@dataclass(frozen=True)
class _Method:
    """The four kinds of handlers for one path."""

    upstream: GrpcUpstream
    path: str

    def unary(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        return _end(self._enter([message], context), context)

    def server_stream(self, message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        answer = self._enter([message], context)
        yield from message.split(b",")
        _end(answer, context)

    def client_stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return _end(self._enter(list(messages), context), context)

    def bidi(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        seen: list[bytes] = []
        answer = self._enter(seen, context)
        for message in messages:
            seen.append(message)
            yield message
        _end(answer, context)

    def _enter(self, messages: list[bytes], context: grpc.ServicerContext) -> Answer:
        """Note the call, and begin to answer it: without initial metadata an error is trailers-only."""
        self.upstream.ledger.append(Seen(self.path, messages, dict(context.invocation_metadata())))
        answer = self.upstream.script(self.path)
        if answer.initial:
            context.send_initial_metadata(answer.initial)
        answer.started.set()
        if answer.wait is not None:
            answer.wait.wait(HELD_AT_MOST_S)
        return answer


_HANDLERS: "dict[str, Callable[[_Method], grpc.RpcMethodHandler[bytes, bytes]]]" = {
    "unary": lambda method: grpc.unary_unary_rpc_method_handler(method.unary),
    "server-stream": lambda method: grpc.unary_stream_rpc_method_handler(method.server_stream),
    "client-stream": lambda method: grpc.stream_unary_rpc_method_handler(method.client_stream),
    "bidi": lambda method: grpc.stream_stream_rpc_method_handler(method.bidi),
}


def _end(answer: Answer, context: grpc.ServicerContext) -> bytes:
    context.set_trailing_metadata(answer.trailing)
    if answer.status is not grpc.StatusCode.OK:
        context.abort(answer.status, answer.details)
    context.set_details(answer.details)
    return answer.message


@contextlib.contextmanager
def running_grpc_upstream() -> Iterator[GrpcUpstream]:
    """Serve on a free port of the loopback interface while the context lasts."""
    upstream = GrpcUpstream()
    with ThreadPoolExecutor(16) as pool:
        server = grpc.server(pool, handlers=[upstream])
        upstream.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield upstream
        finally:
            server.stop(None).wait()
