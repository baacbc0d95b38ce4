"""The admin listener over HTTP: alive, ready or why not, metrics, and a port that is taken."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest

from sidecar.admin.server import AdminServer
from sidecar.telemetry.metrics import Metrics


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
    port = free_port()
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
    metrics.requests.labels("payments", "executed").inc()
    async with serving(metrics) as admin:
        status, content_type, text = await admin.get("/metrics")

    assert status == 200
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert 'idempotency_requests_total{policy="payments",result="executed"} 1.0' in text
    assert text.encode() == metrics.render()


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

        with pytest.raises(OSError, match=f"^cannot listen on 127.0.0.1:{port}: "):
            await server.start()


async def test_a_stopped_listener_frees_its_port() -> None:
    port = free_port()
    for _ in range(2):
        server = AdminServer("127.0.0.1", port, unready=lambda: None, metrics=bytes)
        await server.start()
        await server.stop()

    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        pass
