"""Load of duplicates that wait: key after key, the first request held, the others waiting for it to end."""

import asyncio
from collections.abc import Iterator

from bench import envoy, upstream_control
from bench.errors import BenchError
from bench.load.client import Connection, Response, connected
from bench.load.outcome import Outcome
from bench.point import Point
from bench.subject import Subject
from bench.upstream import body_of

_WITHIN_S = 10.0
_POLL_S = 0.01


async def burst(subject: Subject, point: Point, keys: Iterator[str], seconds: int) -> Outcome:
    """Waves for as long as a time: each is `point.concurrency` requests with one key, the first among them.

    Latencies run from the moment the first is let go.

    Raises:
        BenchError: One that waited was not answered with the first one's response.
    """
    clock = asyncio.get_running_loop().time
    latencies: list[float] = []
    async with connected(subject.url, point.concurrency) as connections:
        begun = clock()
        while clock() < begun + seconds:
            latencies += await _wave(subject, point, next(keys), connections)
        return Outcome.of_latencies(latencies, clock() - begun)


async def _wave(subject: Subject, point: Point, key: str, connections: list[Connection]) -> list[float]:
    clock = asyncio.get_running_loop().time
    path, body = f"/{point.size}/hold", body_of(point.size)
    first, *others = connections
    first.send(path, key, body)
    await upstream_control.until_held(subject.executes_at, 1)
    for connection in others:
        connection.send(path, key, body)
    await _until_open(subject, len(connections))
    await upstream_control.release(subject.executes_at)
    released = clock()

    async def answered(connection: Connection) -> float:
        _expect(await connection.receive(), replayed=connection is not first)
        return clock() - released

    return list(await asyncio.gather(*map(answered, connections)))


async def _until_open(subject: Subject, count: int) -> None:
    """Wait until so many exchanges are open at the sidecar."""
    if subject.envoy_admin is None:
        raise BenchError(f"{subject.name} has no Envoy to ask how many requests wait")
    async with asyncio.timeout(_WITHIN_S):
        while await envoy.active_streams(subject.envoy_admin) < count:  # noqa: ASYNC110 - Envoy only answers
            await asyncio.sleep(_POLL_S)


def _expect(response: Response, *, replayed: bool) -> None:
    if response.status != 200 or response.replayed is not replayed:
        raise BenchError(
            f"a request that waited was answered {response.status}, replayed: {response.replayed}"
        )
