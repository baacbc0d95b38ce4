"""The reference transport: grpc.aio, raw bytes in and out."""

import asyncio
import contextlib
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

# gRPC looks at this when it is loaded. Its event engine reads sockets on a pool of threads, and each message
# then changes threads twice before Python sees it, which is an eighth of what this transport costs. Without
# it, the one thread that waits for gRPC's completions reads the sockets itself.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_health.v1.health import aio

from sidecar.config.tls import ServerTls
from sidecar.errand import Errand
from sidecar.extproc.transport.port import PROCESS, Accept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    Context = grpc.aio.ServicerContext[Any, bytes]  # what is read may be `grpc.aio.EOF`

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
        with _starting_patient_threads():
            self._server = grpc.aio.server(options=_OPTIONS)
        self._health = aio.HealthServicer()
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._process)
        self._server.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler}),
                grpc.method_handlers_generic_handler(health.SERVICE_NAME, _health_methods(self._health)),
            )
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
                handler.on_message(message)
                if not stream.is_readable:
                    await stream.until_readable()
        finally:
            # A reset comes as CancelledError or as the end of the iteration, at random.
            stream.close()
            handler.on_end()
            # gRPC counts the response's head as sent only when the first answer has been written. Before that
            # it would send it again with the status, which its core refuses: the call would never end.
            await stream.until_written()
        if stream.failure is not None:  # it waited for an answer to go, and the peer's end came first
            await context.abort(grpc.StatusCode.INTERNAL, stream.failure)


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


@contextlib.contextmanager
def _starting_patient_threads() -> "Iterator[None]":
    """Threads that are started inside do not interrupt whoever runs when they have something to do.

    gRPC's poller wakes for every completion: a message read, an answer written. Where the processors are
    busy it would interrupt the event loop's thread each time, to tell it of one event. So it waits until the
    loop has done its work, and then tells of several: two thirds of its switches go, and a fifth of what this
    transport costs. It still gets its fair share of a processor (sched(7), SCHED_BATCH).
    """
    changed = False
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox may forbid it, and then it is merely slower
            if os.sched_getscheduler(0) == os.SCHED_OTHER:
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
                changed = True
    try:
        yield
    finally:
        if changed:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _health_methods(servicer: aio.HealthServicer) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """The service's methods, as generic handlers: for every registered one gRPC would ask at every call."""
    as_read = health_pb2.HealthCheckRequest.FromString
    as_sent = health_pb2.HealthCheckResponse.SerializeToString
    return {
        "Check": grpc.unary_unary_rpc_method_handler(servicer.Check, as_read, as_sent),
        "Watch": grpc.unary_stream_rpc_method_handler(servicer.Watch, as_read, as_sent),
    }


def _credentials(tls: ServerTls) -> grpc.ServerCredentials:
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    return grpc.ssl_server_credentials(
        [pair], root_certificates=tls.client_ca.read_bytes(), require_client_auth=True
    )


def _as_text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


_GONE = (grpc.aio.BaseError, asyncio.InvalidStateError)
"""What writing ends with where the stream has just gone: its end is on its way."""


class _GrpcioStream:
    """Writes one answer at a time, beside the reading of the next message; the others queue.

    Each is written by an errand: no coroutine waits for it, and gRPC hears of the answer and of the wish for
    the next message in one go.
    """

    def __init__(self, context: "Context") -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes] = deque()
        self.failure: str | None = None
        """What the handler has failed with, until the peer is told."""
        self._told: Callable[[], None] | None = None
        self._over = False
        self._writing = False
        self._paused = False
        self._readable: asyncio.Future[None] | None = None
        """Whom to tell that the next message may be read; None where nobody waits."""
        self._written: asyncio.Future[None] | None = None
        """Whom to tell that nothing is being written; None where nobody waits."""

    def metadata(self, name: str) -> str | None:
        found = None
        for key, value in self._context.invocation_metadata() or ():
            if key == name and not key.endswith("-bin"):
                found = value
        return None if found is None else _as_text(found)

    @property
    def is_readable(self) -> bool:
        """Whether the next message may be read: it is wanted, and no answer waits for another to go.

        Who read on meanwhile would let answers pile up for a peer that sends and does not read.
        """
        return not (self._queue or self._paused)

    async def until_readable(self) -> None:
        """Return once it is."""
        while not self.is_readable:
            self._readable = self._loop.create_future()
            await self._readable

    async def until_written(self) -> None:
        """Return once nothing is being written, which after `close` stays so."""
        if self._writing:
            self._written = self._loop.create_future()
            await self._written

    def send(self, message: bytes) -> None:
        if self._over or self.failure is not None:
            return
        if self._writing:
            self._queue.append(message)
        else:
            self._write(self._context.write(message))

    def when_writable(self, told: "Callable[[], None]") -> None:
        if self._writing:
            self._told = told
        elif not self._over:
            told()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._tell_reader()

    def fail(self, detail: str) -> None:
        if self._over or self.failure is not None:
            return
        self.failure = detail
        if not self._writing:
            self._abort(detail)

    def close(self) -> None:
        """Write nothing any more: gRPC has no call any more to write to, and does not look."""
        self._over = True
        self._told = None
        self._queue.clear()

    def _write(self, writing: "Coroutine[Any, Any, None]") -> None:
        self._writing = True
        Errand(writing, self._on_written, self._loop)

    def _on_written(self, _: None, error: BaseException | None) -> None:
        self._writing = False
        if error is not None:
            self.close()
        elif self._queue:
            self._write(self._context.write(self._queue.popleft()))
        elif self.failure is not None and not self._over:
            self._abort(self.failure)
        elif self._told is not None:
            told, self._told = self._told, None
            told()
        self._tell_reader()
        if self._written is not None and not (self._writing or self._written.done()):
            self._written.set_result(None)
        if error is not None and not isinstance(error, _GONE):
            raise error

    def _abort(self, detail: str) -> None:
        self.failure = None
        self.close()
        self._write(self._context.abort(grpc.StatusCode.INTERNAL, detail))

    def _tell_reader(self) -> None:
        if self._readable is not None and self.is_readable:
            waiting, self._readable = self._readable, None
            if not waiting.done():
                waiting.set_result(None)
