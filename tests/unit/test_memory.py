"""A worker's memory: no garbage of exchanges, none of what is loaded looked at, and what was freed kept."""

import asyncio
import gc
import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sidecar import memory
from sidecar.exchange.effects import Execute, StoreEffect, TakeClaim
from sidecar.exchange.events import OriginEvent, Settled, StoreEvent
from sidecar.extproc.server import ExchangeServer
from sidecar.extproc.transport.port import PROCESS
from sidecar.idempotency.claim import Claimed
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.observer import Telemetry
from tests.unit.extproc.driver_scene import POLICIES, Performing
from tests.unit.extproc.envoy_messages import (
    request_body,
    request_headers,
    response_body,
    response_headers,
)
from tests.unit.extproc.native.h2_scene import Scene, data, framed, reset

EXCHANGES = 50


async def answer_later(effect: StoreEffect | Execute) -> StoreEvent | OriginEvent:
    """A store whose answers take a turn of the loop."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_result, None)
    await future
    return Claimed(1) if isinstance(effect, TakeClaim) else Settled(held=True)


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collected_by_hand")
async def test_an_exchange_leaves_no_cycles_behind() -> None:
    telemetry = Telemetry(Metrics())
    server = ExchangeServer(lambda: POLICIES, Performing(answer_later), telemetry)
    scene = Scene(routes={PROCESS.encode(): server.accept}).greet()

    async def exchange(stream_id: int) -> None:
        scene.call(stream_id, request_headers())
        await turns()
        for message in (request_body(b"x", end=True), response_headers(), response_body(b"y", end=True)):
            scene.feed(data(stream_id, framed(message)))
        await turns()
        scene.feed(reset(stream_id))

    await exchange(1)
    gc.collect()
    for number in range(EXCHANGES):
        await exchange(3 + 2 * number)

    outcome = {"policy": "default", "outcome": "record", "reason": "status"}
    kept = telemetry.metrics.registry.get_sample_value("idempotency_outcomes_total", outcome)
    assert (kept, scene.host.errors) == (EXCHANGES + 1, [])
    assert gc.collect() < EXCHANGES, "less than one object for each exchange is left to be found"


async def turns() -> None:
    for _ in range(6):
        await asyncio.sleep(0)


def test_what_is_loaded_by_the_time_a_worker_serves_is_not_looked_at_again() -> None:
    before = gc.get_threshold()
    gc.unfreeze()  # what has been set aside for the tests (tests/conftest.py)
    try:
        memory.settle()

        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] > before[0]
    finally:
        gc.set_threshold(*before)
        gc.freeze()


FAULTS = """
import resource
from sidecar import memory

memory.settle()

def bodies():
    return [bytearray(b"x") * 1_000_000 for _ in range(4)]

bodies()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    bodies()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 50 * 4 * 1_000_000 // 4096


def faults(**environ: str) -> int:
    """How many pages a process asks of the kernel for 50 times four bodies of a megabyte."""
    argv = [sys.executable, "-c", FAULTS]
    found = subprocess.run(argv, env=os.environ | environ, capture_output=True, text=True, check=True)
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's allocator that is told")
def test_what_was_freed_is_not_asked_of_the_kernel_again_unless_an_operator_wants_it() -> None:
    assert faults() < PAGES // 20
    assert faults(MALLOC_TRIM_THRESHOLD_="131072") > PAGES // 2
