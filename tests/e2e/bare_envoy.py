"""A real Envoy on a rendered configuration, with an upstream and a processor that only count.

No sidecar: what is under test is the configuration alone.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tests.stack.ports import lasting_port

START_S = 20.0
ANSWER_S = 10.0
CONTINUE = b"\x0a\x00"
"""A ProcessingResponse that answers the request headers and changes nothing."""


@dataclass
class Upstream:
    """Answers 200, or the number that the path ends in, and keeps the head of every request."""

    heads: list[bytes] = field(default_factory=list)
    answer: bytes = b"HTTP/1.1 %d X\r\nserver: mine\r\ncontent-length: 2\r\n\r\nok"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                tail = head.split(b" ")[1].rpartition(b"/")[2]
                writer.write(self.answer % (int(tail) if tail.isdigit() else 200))
                await writer.drain()

    def header(self, name: str) -> list[str]:
        """The values of a header in the last request."""
        lines = (line.partition(":") for line in self.heads[-1].decode("latin-1").split("\r\n"))
        return [value.strip() for field_name, _, value in lines if field_name.lower() == name]


class Processor(grpc.GenericRpcHandler):
    """Lets everything pass, counts its streams, and keeps the first message of each and what came with it."""

    def __init__(self) -> None:
        self.streams = 0
        self.heads: list[bytes] = []
        self.metadata: list[dict[str, str | bytes]] = []

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        if not str(handler_call_details.method).startswith("/envoy.service.ext_proc."):
            return None
        self.metadata.append(dict(handler_call_details.invocation_metadata or ()))
        return grpc.stream_stream_rpc_method_handler(self._process)

    async def _process(self, messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        self.streams += 1
        async for message in messages:
            self.heads.append(message)
            yield CONTINUE


@dataclass
class BareEnvoy:
    """What runs, and how to talk to it."""

    port: int
    admin: Path
    upstream: Upstream
    processor: Processor
    stop_processor: Callable[[], Awaitable[None]]
    process: asyncio.subprocess.Process | None = None

    async def kill(self) -> None:
        """End Envoy at once."""
        assert self.process is not None
        self.process.kill()
        await self.process.wait()

    async def send(self, method: str, path: str, *headers: str, host: str = "shop.example") -> bytes:
        """One HTTP/1.1 request without a body; the whole response."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close", *headers]
        return await self.send_raw("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))

    async def send_raw(self, request: bytes) -> bytes:
        """Bytes as they are; the whole response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        with contextlib.closing(writer):
            writer.write(request)
            return await asyncio.wait_for(reader.read(), ANSWER_S)

    async def status(self, method: str, path: str, *headers: str, host: str = "shop.example") -> int:
        """One request; the status it was answered with."""
        return int((await self.send(method, path, *headers, host=host)).split(b" ")[1])

    async def ask_admin(self, path: str) -> str:
        """GET from Envoy's admin interface; the body."""
        reader, writer = await asyncio.open_unix_connection(self.admin)
        with contextlib.closing(writer):
            writer.write(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
            return (await asyncio.wait_for(reader.read(), ANSWER_S)).partition(b"\r\n\r\n")[2].decode()

    async def streams_started(self) -> int:
        """How many ext_proc streams Envoy says it opened."""
        stats = await self.ask_admin("/stats?filter=ext_proc.*streams_started")
        return int(stats.partition("streams_started: ")[2].split()[0])


@contextlib.asynccontextmanager
async def bare_envoy(
    envoy: str,
    directory: Path,
    render: Callable[[int, int], str],
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[BareEnvoy]:
    """Start all three; `render` makes the configuration from the listener's and the upstream's port.

    The processor serves `ext_proc.sock` and Envoy's admin interface `admin.sock` in the directory. With `tls`
    the upstream speaks HTTPS.
    """
    upstream, processor, config, port = Upstream(), Processor(), directory / "envoy.yaml", lasting_port()
    async with contextlib.AsyncExitStack() as cleanup:
        stop = await _serve(processor, directory / "ext_proc.sock")
        cleanup.push_async_callback(stop)
        served = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=tls)
        cleanup.callback(served.close)
        config.write_text(render(port, served.sockets[0].getsockname()[1]), encoding="utf-8")
        process = await cleanup.enter_async_context(_process(envoy, config, directory / "envoy.log"))
        running = BareEnvoy(port, directory / "admin.sock", upstream, processor, stop)
        running.process = process
        await _until_live(running, process)
        yield running


async def _serve(processor: Processor, path: Path) -> Callable[[], Awaitable[None]]:
    """Start the processor; how to stop it, once or twice."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((processor,))
    server.add_insecure_port(f"unix:{path}")
    await server.start()

    async def stop() -> None:
        await server.stop(None)

    return stop


@contextlib.asynccontextmanager
async def _process(envoy: str, config: Path, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    arguments: Sequence[str] = ("--config-path", str(config), "--disable-hot-restart", "--concurrency", "1")
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            envoy, *arguments, "--log-level", "warning", stderr=stderr
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), START_S)


async def _until_live(running: BareEnvoy, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(START_S):
        while process.returncode is None:
            with contextlib.suppress(OSError):
                if "LIVE" in await running.ask_admin("/ready"):
                    return
            await asyncio.sleep(0.02)  # Envoy offers nothing to wait on
    raise RuntimeError(f"Envoy ended with {process.returncode} before it was ready")
