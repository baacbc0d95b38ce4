"""The reference transport: grpc.aio, raw bytes in and out."""

import asyncio
import contextlib
import os
from collections import deque
from typing import TYPE_CHECKING

# gRPC looks at this when it is loaded. Its event engine reads sockets on a pool of threads, and each message
# then changes threads twice before Python sees it, which is an eighth of what this transport costs. Without
# it, the one thread that waits for gRPC's completions reads the sockets itself.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from sidecar.config.tls import ServerTls
from sidecar.extproc.transport.port import PROCESS, Accept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    Context = grpc.aio.ServicerContext[bytes, bytes]

_SERVICE, _METHOD = PROCESS[1:].split("/")
_OPTIONS = [
    # Two servers that share a port unnoticed would each see half of the streams.
    ("grpc.so_reuseport", 0),
    # Envoy's streamed body pieces are as large as its connection buffer, 1 MiB by default.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    # Envoy pings to see whether the sidecar is alive.
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
]


class GrpcioTransport:
    """Serves ext_proc streams and grpc.health.v1 on one endpoint (see `port.Transport`).

    Args:
        address: As grpc writes it: `unix:/path` or `host:port`.
        accept: Gives the handler of each stream.
        socket_mode: The permissions of a unix socket; None: what the umask leaves.
        tls: The files of mutual TLS; None: in the clear.
    """

    def __init__(
        self, address: str, accept: Accept, *, socket_mode: int | None = None, tls: ServerTls | None = None
    ) -> None:
        self._address = address
        self._accept = accept
        self._socket_mode = socket_mode
        self._tls = tls
        self._server = grpc.aio.server(options=_OPTIONS)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._process)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),)
        )

    async def start(self) -> None:
        """Listen; raise `OSError` where the endpoint, or a file of TLS, cannot be had."""
        credentials = None if self._tls is None else _credentials(self._tls)
        try:
            with _creating_files(self._socket_mode):
                if credentials is None:
                    self._server.add_insecure_port(self._address)
                else:
                    self._server.add_secure_port(self._address, credentials)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._address}: it is taken or not allowed") from error
        # The health service would say "serving" of its own accord until it is told otherwise.
        await self.set_serving(False)
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What grpc.health.v1 says."""
        serving_status = health_pb2.HealthCheckResponse.ServingStatus
        status = serving_status.SERVING if serving else serving_status.NOT_SERVING
        await self._health.set("", status)
        await self._health.set(_SERVICE, status)

    async def stop(self, grace_s: float) -> None:
        """Take no new streams (GOAWAY), wait `grace_s` seconds for the others, then cancel them."""
        await self._server.stop(grace_s)

    async def _process(self, _: "AsyncIterator[bytes]", context: "Context") -> None:
        """One stream; `read` costs a fifth less than the iterator over the same messages."""
        stream = _GrpcioStream(context)
        handler = self._accept(stream)
        try:
            while isinstance(message := await context.read(), bytes):  # `grpc.aio.EOF` is not
                stream.in_call = True
                handler.on_message(message)
                stream.in_call = False
                await stream.flush()
                if not stream.is_readable:
                    await stream.until_readable()
        finally:
            # A reset comes as CancelledError or as the end of the iteration, at random.
            stream.close()
            handler.on_end()


@contextlib.contextmanager
def _creating_files(mode: int | None) -> "Iterator[None]":
    """What is created inside has this mode from its first moment: grpc binds a socket without giving one."""
    if mode is None:
        yield
        return
    before = os.umask(0o777 & ~mode)
    try:
        yield
    finally:
        os.umask(before)


def _credentials(tls: ServerTls) -> grpc.ServerCredentials:
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    return grpc.ssl_server_credentials(
        [pair], root_certificates=tls.client_ca.read_bytes(), require_client_auth=True
    )


def _as_text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


class _GrpcioStream:
    """Queues answers; the reading coroutine writes them, a task where they come outside its calls."""

    def __init__(self, context: "Context") -> None:
        self.in_call = False
        self._context = context
        self._queue: deque[bytes] = deque()
        self._failure: str | None = None
        self._told: Callable[[], None] | None = None
        self._over = False
        self._writing = False
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[object] | None = None
        self._going_on = asyncio.Event()
        self._going_on.set()

    def metadata(self, name: str) -> str | None:
        found = [value for key, value in self._context.invocation_metadata() or () if key == name]
        return _as_text(found[-1]) if found else None

    @property
    def is_readable(self) -> bool:
        """Whether the next message may be read: it is wanted, and the answers before it have gone."""
        return not self._writing and self._going_on.is_set()

    async def until_readable(self) -> None:
        """Return once it is.

        Answers that came outside the reading coroutine are written by a task: who read on meanwhile would
        let them pile up for a peer that sends and does not read.
        """
        while not self.is_readable:
            await self._going_on.wait()
            if self._writing and self._writer is not None:
                await asyncio.wait((self._writer,))

    def send(self, message: bytes) -> None:
        if not self._over and self._failure is None:
            self._queue.append(message)
            self._flush_soon()

    def when_writable(self, told: "Callable[[], None]") -> None:
        if self._queue or self._writing:
            self._told = told
        elif not self._over:
            told()

    def pause_reading(self) -> None:
        self._going_on.clear()

    def resume_reading(self) -> None:
        self._going_on.set()

    def fail(self, detail: str) -> None:
        if not self._over and self._failure is None:
            self._failure = detail
            self._flush_soon()

    def close(self) -> None:
        self._over = True
        self._told = None
        self._queue.clear()

    def _flush_soon(self) -> None:
        if not self.in_call and not self._writing:
            self._task = asyncio.get_running_loop().create_task(self.flush())

    async def flush(self) -> None:
        if self._writing:
            return
        self._writing, self._writer = True, asyncio.current_task()
        try:
            await self._write()
        except (grpc.aio.BaseError, asyncio.InvalidStateError):
            # So it is with a stream that has just gone: its end is on its way, and nobody has taken anything.
            self._told = None
        finally:
            self._writing = False
        if self._told is not None and not self._queue:
            told, self._told = self._told, None
            told()

    async def _write(self) -> None:
        while self._queue and not self._over:
            await self._context.write(self._queue.popleft())
        if self._failure is not None and not self._over:
            self._over = True
            await self._context.abort(grpc.StatusCode.INTERNAL, self._failure)
