"""One round at one point: prepare, load, check that it was what it says, and read what it took."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench import upstream_control, waves
from bench.errors import BenchError
from bench.load import h2load, wrk
from bench.load.client import Connection, connected
from bench.load.outcome import Outcome
from bench.load.request import Keys, Request
from bench.point import Point, Sample, Scenario
from bench.rig import Rig
from bench.subject import Role, Subject
from bench.upstream import body_of

_KEYS = {
    Scenario.KEYLESS: Keys.NONE,
    Scenario.NEW: Keys.UNIQUE,
    Scenario.DETACHED: Keys.UNIQUE,
}
REPLAYS = {Scenario.REPLAY, Scenario.REPLAY_BODYLESS}
"""Scenarios that begin with a record."""


class Meter:
    """Measures rounds. Every burst has keys that no other has."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._numbers = itertools.count(1)

    async def round(self, subject: Subject, point: Point, seconds: int) -> Sample:
        """Load the subject as the point says.

        Raises:
            BenchError: It was not answered, or not executed, as the scenario asks: nothing was measured.
        """
        if point.scenario is Scenario.WAITING:
            keys = (f"w{next(self._numbers)}" for _ in itertools.count())
            before = subject.cpu_ns()
            outcome = await waves.burst(subject, point, keys, seconds)
            return Sample(outcome, per_request(before, subject.cpu_ns(), outcome.requests))
        async with self._prepared(subject, point) as request:
            executed = await upstream_control.settled(subject.executes_at)
            before = subject.cpu_ns()
            outcome = await _burst(request, point, seconds)
            after = subject.cpu_ns()
            executed = (await upstream_control.counts(subject.executes_at)).executed - executed
        outcome.expect(point.name, errors=point.scenario is Scenario.CONFLICT)
        _expect_executed(point, outcome, executed)
        return Sample(outcome, per_request(before, after, outcome.requests))

    @contextlib.asynccontextmanager
    async def _prepared(self, subject: Subject, point: Point) -> AsyncIterator[Request]:
        """What is to be sent, with its key recorded or claimed where the scenario starts from there."""
        key = f"k{next(self._numbers)}"
        bodyless = point.scenario is Scenario.REPLAY_BODYLESS or point.size == 0
        body = b"" if bodyless else body_of(point.size)
        path = f"/{point.size}/{'hold' if point.scenario is Scenario.CONFLICT else 'call'}"
        keys = _KEYS.get(point.scenario, Keys.FIXED)
        request = Request(f"{subject.url}{path}", keys, key, self._file(body) if body else None)
        async with connected(subject.url) as (connection,):
            if point.scenario in REPLAYS:
                await record(connection, path, key, body)
            if point.scenario is Scenario.CONFLICT:
                connection.send(path, key, body)
                await upstream_control.until_held(subject.executes_at, 1)
            yield request
            if point.scenario is Scenario.CONFLICT:
                await upstream_control.release(subject.executes_at)
                await connection.receive()

    def _file(self, body: bytes) -> Path:
        file = self._rig.directory / f"{len(body)}.json"
        if not file.exists():
            file.write_bytes(body)
        return file


def per_request(before: Mapping[Role, int], after: Mapping[Role, int], requests: int) -> dict[Role, float]:
    """CPU in microseconds per request, from what the roles had taken in nanoseconds."""
    return {role: (after[role] - before[role]) / requests / 1000 for role in before}


async def record(connection: Connection, path: str, key: str, body: bytes) -> None:
    """Send the first request of a key, which all that follow repeat.

    The record may take a moment more than the response to be there (a peer that records after it answers):
    the second request, not measured, waits for it.

    Raises:
        BenchError: The two are answered differently.
    """
    first = await connection.request(path, key, body)
    second = await connection.request(path, key, body)
    if (first.status, first.body) != (second.status, second.body):
        raise BenchError(f"{path}: answered {first.status} first and {second.status} to the retry")


async def _burst(request: Request, point: Point, seconds: int) -> Outcome:
    if point.http == 2:
        return await h2load.burst(request, streams=point.concurrency, seconds=seconds)
    return await wrk.burst(request, connections=point.concurrency, seconds=seconds)


def _expect_executed(point: Point, outcome: Outcome, executed: int) -> None:
    """See that replays and conflicts executed nothing, and everything else every time.

    Those under way when a burst ends are executed and not counted among its answers.
    """
    once = point.scenario in REPLAYS or point.scenario is Scenario.CONFLICT
    least, most = (0, 0) if once else (outcome.requests, outcome.requests + 2 * point.concurrency)
    if not least <= executed <= most:
        raise BenchError(
            f"{point.name}: {outcome.requests} answers and {executed} executions, "
            f"where {least} to {most} belong"
        )
