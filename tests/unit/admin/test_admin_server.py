"""The admin listener over HTTP: alive, ready or why not, metrics, and a port that is taken."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import aiohttp
import pytest

from sidecar.admin.server import AdminServer
from sidecar.config.endpoint import HostPort
from sidecar.telemetry.metrics import Metrics
from tests.stack.ports import lasting_port


@dataclass
class Admin:
    """An admin server that listens, and a client of it."""

    client: aiohttp.ClientSession
    unready: str | None = None

    async def get(self, path: str) -> tuple[int, str, str]:
        async with self.client.get(path) as response:
            return response.status, response.headers["content-type"], await response.text()


@asynccontextmanager
async def serving(metrics: Metrics | None = None) -> AsyncIterator[Admin]:
    port = lasting_port()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
        admin = Admin(client)
        server = AdminServer(
            "127.0.0.1", port, unready=lambda: admin.unready, metrics=(metrics or Metrics()).render
        )
        await server.start()
        try:
            yield admin
        finally:
            await server.stop()


async def test_it_says_that_it_is_alive_whatever_the_store_does() -> None:
    async with serving() as admin:
        admin.unready = "the store does not answer"

        status, _, text = await admin.get("/healthz")

    assert (status, text) == (200, "alive\n")


async def test_it_says_that_it_is_ready_or_why_not_at_the_moment_it_is_asked() -> None:
    async with serving() as admin:
        first = await admin.get("/readyz")
        admin.unready = "the store does not answer: connection refused"
        second = await admin.get("/readyz")
        admin.unready = None
        third = await admin.get("/readyz")

    assert (first[0], first[2]) == (200, "ready\n")
    assert (second[0], second[2]) == (503, "not ready: the store does not answer: connection refused\n")
    assert third == first


async def test_it_serves_the_metrics_as_prometheus_reads_them() -> None:
    metrics = Metrics()
    metrics.requests.add("payments", "executed")
    async with serving(metrics) as admin:
        status, content_type, text = await admin.get("/metrics")

    assert status == 200
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert 'idempotency_requests_total{policy="payments",result="executed"} 1.0' in text
    assert text.encode() == metrics.render()


@dataclass
class Pair:
    """Two workers that know each other, and a client of the first."""

    first: aiohttp.ClientSession
    unready: list[str | None]
    second: AdminServer
    second_port: int

    async def get(self, path: str) -> tuple[int, str]:
        async with self.first.get(path) as response:
            return response.status, await response.text()


@asynccontextmanager
async def two_workers() -> AsyncIterator[Pair]:
    ports = [lasting_port(), lasting_port()]
    unready: list[str | None] = [None, None]
    admins = [HostPort("127.0.0.1", port) for port in ports]
    metrics = [Metrics(), Metrics()]
    servers = [
        AdminServer(
            "127.0.0.1",
            ports[index],
            unready=partial(unready.__getitem__, index),
            metrics=metrics[index].render,
            worker=index,
            siblings={1 - index: admins[1 - index]},
        )
        for index in range(2)
    ]
    for index in range(2):
        for _ in range(index + 1):
            metrics[index].requests.add("payments", "executed")
        await servers[index].start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports[0]}") as client:
        try:
            yield Pair(client, unready, servers[1], ports[1])
        finally:
            for server in servers:
                await server.stop()


async def test_any_worker_tells_the_metrics_of_all() -> None:
    async with two_workers() as pair:
        status, text = await pair.get("/metrics/all")

    assert status == 200
    for worker, count in ((0, 1.0), (1, 2.0)):
        labels = f'policy="payments",result="executed",worker="{worker}"'
        assert f"idempotency_requests_total{{{labels}}} {count}" in text


async def test_asked_for_its_own_a_worker_tells_nothing_of_the_others() -> None:
    async with two_workers() as pair:
        _, text = await pair.get("/metrics")

    assert "worker" not in text
    assert 'idempotency_requests_total{policy="payments",result="executed"} 1.0' in text


async def test_all_are_ready_only_if_each_is() -> None:
    async with two_workers() as pair:
        ready = await pair.get("/readyz/all")
        pair.unready[1] = "draining"
        draining = await pair.get("/readyz/all")
        own = await pair.get("/readyz")
        pair.unready[:] = ["the store does not answer", None]
        other = await pair.get("/readyz/all")

    assert ready == (200, "worker 0: ready\nworker 1: ready\n")
    assert draining == (503, "worker 0: ready\nworker 1: not ready: draining\n")
    assert own == (200, "ready\n")
    assert other == (503, "worker 0: not ready: the store does not answer\nworker 1: ready\n")


async def test_a_worker_that_is_gone_shows_in_every_view_of_all() -> None:
    async with two_workers() as pair:
        assert await pair.get("/healthz/all") == (200, "worker 0: alive\nworker 1: alive\n")
        await pair.second.stop()

        assert await pair.get("/healthz/all") == (503, "worker 0: alive\nworker 1: does not answer\n")
        assert await pair.get("/readyz/all") == (503, "worker 0: ready\nworker 1: does not answer\n")
        status, text = await pair.get("/metrics/all")

    assert status == 200
    assert 'idempotency_worker_up{worker="0"} 1.0' in text
    assert 'idempotency_worker_up{worker="1"} 0.0' in text


async def test_a_worker_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.admin.siblings._WITHIN_S", 0.1)
    async with two_workers() as pair:
        await pair.second.stop()
        with socket.create_server(("127.0.0.1", pair.second_port)):  # accepts, and says nothing
            answer = await asyncio.wait_for(pair.get("/readyz/all"), 5)

    assert answer == (503, "worker 0: ready\nworker 1: does not answer\n")


async def test_a_single_worker_is_all_there_are() -> None:
    async with serving() as admin:
        assert (await admin.get("/readyz/all"))[::2] == (200, "worker 0: ready\n")
        assert 'idempotency_worker_up{worker="0"} 1.0' in (await admin.get("/metrics/all"))[2]


async def test_other_paths_are_not_found_and_other_methods_not_allowed() -> None:
    async with serving() as admin:
        async with admin.client.get("/") as unknown:
            assert unknown.status == 404
        async with admin.client.post("/readyz") as posted:
            assert posted.status == 405


async def test_a_port_that_is_taken_is_an_os_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = AdminServer("127.0.0.1", port, unready=lambda: None, metrics=bytes)

        with pytest.raises(OSError, match=f"^cannot listen on 127.0.0.1:{port}: Address already in use$"):
            await server.start()


async def test_a_stopped_listener_frees_its_port() -> None:
    port = lasting_port()
    for _ in range(2):
        server = AdminServer("127.0.0.1", port, unready=lambda: None, metrics=bytes)
        await server.start()
        await server.stop()

    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
