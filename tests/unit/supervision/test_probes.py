"""Finding out whether something is ready, against small servers that are or are not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from sidecar.supervision.ports import Address
from sidecar.supervision.probes import (
    accepts,
    all_of,
    drain_envoy,
    envoy_live,
    http_ok,
    pongs,
    reloads_of,
)
from tests.stack.children import eventually

NOWHERE = Address("127.0.0.1", 1)


@contextlib.asynccontextmanager
async def serving(status: int, text: str, path: str = "/readyz") -> AsyncIterator[Address]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    application = web.Application()
    application.router.add_get(path, answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Address("127.0.0.1", runner.addresses[0][1])
    await runner.cleanup()


async def test_http_is_ready_at_200() -> None:
    async with serving(200, "ok") as address:
        assert await http_ok(address, "/readyz")() is None


async def test_http_is_not_ready_at_503_and_says_what_it_was_told() -> None:
    async with serving(503, "the store\ndoes not answer") as address:
        assert await http_ok(address, "/readyz")() == "/readyz answers 503: the store does not answer"


async def test_http_is_not_ready_where_nothing_listens() -> None:
    assert await http_ok(NOWHERE, "/readyz")() == "http://127.0.0.1:1/readyz does not answer"


async def test_reloads_are_counted_whatever_became_of_them() -> None:
    text = (
        "# TYPE idempotency_config_reloads_total counter\n"
        'idempotency_config_reloads_total{result="applied"} 3.0\n'
        'idempotency_config_reloads_total{result="rejected"} 1.0\n'
    )
    async with serving(200, text, "/metrics") as address:
        assert await reloads_of(address) == 4
    async with serving(200, "idempotency_in_flight 7.0\n", "/metrics") as address:
        assert await reloads_of(address) == 0
    assert await reloads_of(NOWHERE) is None


async def test_a_listener_is_ready_when_it_accepts() -> None:
    async with serving(200, "ok") as address:
        assert await accepts(address)() is None
    assert await accepts(address)() == f"{address} does not accept connections"


@contextlib.asynccontextmanager
async def redis_like(*answers: bytes) -> AsyncIterator[Address]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readline()
            writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])


async def test_valkey_is_ready_when_it_takes_the_password_and_pongs() -> None:
    async with redis_like(b"+OK\r\n", b"+PONG\r\n") as address:
        assert await pongs(address, "secret")() is None


async def test_valkey_is_not_ready_while_it_loads() -> None:
    async with redis_like(b"+OK\r\n", b"-LOADING in memory\r\n") as address:
        assert await pongs(address, "secret")() == f"{address} answers -LOADING in memory"


async def test_valkey_is_not_ready_where_nothing_listens() -> None:
    assert await pongs(NOWHERE, "secret")() == "127.0.0.1:1 does not answer"


async def test_of_several_probes_the_first_that_is_not_content_says_why() -> None:
    async def content() -> str | None:
        return None

    async def first() -> str | None:
        return "first"

    async def second() -> str | None:
        return "second"

    assert await all_of(content, first, second)() == "first"
    assert await all_of(content, content)() is None


class Envoy:
    """An admin endpoint that knows how many requests are in flight."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.ready = 200
        self.in_flight = 0
        self.drained = 0
        self.asked = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_get("/ready", self._ready)
        application.router.add_get("/stats", self._stats)
        application.router.add_post("/drain_listeners", self._drain)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.UnixSite(runner, str(self.socket)).start()
        yield
        await runner.cleanup()

    async def _ready(self, _: web.Request) -> web.Response:
        return web.Response(status=self.ready, text="LIVE" if self.ready == 200 else "PRE_INITIALIZING")

    async def _stats(self, request: web.Request) -> web.Response:
        assert request.query["filter"] == r"^http\..*\.downstream_rq_active$"
        self.asked += 1
        return web.Response(
            text=f"http.admin.downstream_rq_active: 1\nhttp.ingress.downstream_rq_active: {self.in_flight}\n"
        )

    async def _drain(self, _: web.Request) -> web.Response:
        self.drained += 1
        return web.Response(text="OK\n")


@pytest.fixture
def envoy() -> Iterator[Envoy]:
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        yield Envoy(Path(directory) / "admin.sock")


async def test_envoy_is_ready_when_it_is_live(envoy: Envoy) -> None:
    async with envoy.running():
        assert await envoy_live(envoy.socket)() is None
        envoy.ready = 503
        assert await envoy_live(envoy.socket)() == "/ready answers 503: PRE_INITIALIZING"


async def test_envoy_is_not_ready_while_its_admin_socket_is_not_there(envoy: Envoy) -> None:
    assert await envoy_live(envoy.socket)() == "its admin endpoint does not answer"


async def test_envoy_is_drained_when_its_own_requests_are_done_the_question_itself_not_counted(
    envoy: Envoy,
) -> None:
    envoy.in_flight = 2
    async with envoy.running():
        draining = asyncio.create_task(drain_envoy(envoy.socket))
        await eventually(lambda: envoy.asked > 0)
        assert not draining.done()
        envoy.in_flight = 0
        await asyncio.wait_for(draining, 5)
    assert envoy.drained == 1


async def test_an_envoy_that_does_not_answer_needs_no_draining(envoy: Envoy) -> None:
    await drain_envoy(envoy.socket)
