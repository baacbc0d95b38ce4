"""Load at a rate, on a clock that only the test moves."""

import asyncio
import collections
import heapq
import selectors
from typing import Any, cast

import pytest

from bench.errors import BenchError
from bench.load.client import Connection, Response
from bench.load.paced import PacedClient


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        inner = cast("Any", self)
        while inner._scheduled and inner._scheduled[0]._cancelled:
            heapq.heappop(inner._scheduled)._scheduled = False
        if not inner._ready and inner._scheduled:
            self._now = max(self._now, inner._scheduled[0]._when)
        cast("Any", super())._run_once()


class FakeConnection:
    """Answers after a time that the test chooses."""

    def __init__(self, delay_s: float, status: int = 200) -> None:
        self._delay_s = delay_s
        self._status = status

    async def receive(self) -> Response:
        await asyncio.sleep(self._delay_s)
        return Response(self._status, {}, b"")


def run(connections: list[FakeConnection], rate: float, seconds: float) -> tuple[list[float], list[float]]:
    """When each request left, and how long after it was due its answer was there."""
    left: list[float] = []

    def accept(response: Response, number: int) -> None:
        if response.status != 200:
            raise BenchError(f"request {number} was answered {response.status}")

    async def work() -> list[float]:
        loop = asyncio.get_running_loop()
        client = PacedClient(
            cast("list[Connection]", connections), lambda *_: left.append(loop.time()), accept
        )
        await client.run(rate, seconds)
        return client.latencies_s

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        latencies = runner.run(work())
    return left, latencies


def test_requests_leave_when_they_are_due() -> None:
    left, latencies = run([FakeConnection(0.05)], rate=10, seconds=1)

    assert left == pytest.approx([number / 10 for number in range(10)])
    assert latencies == pytest.approx([0.05] * 10)


def test_several_are_under_way_at_once_on_connections_of_their_own() -> None:
    left, latencies = run([FakeConnection(0.25) for _ in range(3)], rate=10, seconds=1)

    assert left == pytest.approx([number / 10 for number in range(10)])
    assert max(latencies) == pytest.approx(0.25)


def test_a_slow_server_makes_the_requests_behind_it_late_and_that_counts() -> None:
    left, latencies = run([FakeConnection(0.2)], rate=10, seconds=0.5)

    assert left == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert latencies == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])


def test_a_wrong_answer_ends_the_load_with_its_own_error() -> None:
    with pytest.raises(BenchError, match="was answered 503"):
        run([FakeConnection(0.01, status=503)], rate=10, seconds=1)


def test_the_virtual_clock_does_not_wait() -> None:
    assert collections.Counter(run([FakeConnection(0)], rate=1, seconds=60)[0]).total() == 60
