"""Latency at a fixed rate: what a request waits where nothing is busy, not what the machine can take."""

import itertools
from collections.abc import Sequence

from bench.errors import BenchError
from bench.interleaving import Samples
from bench.load import paced
from bench.load.client import Connection, Response, connected
from bench.load.outcome import Outcome
from bench.measure import REPLAYS, record
from bench.point import Point, Sample, Scenario
from bench.results import PacedResult
from bench.rig import ALONE
from bench.spread import Spread
from bench.subject import Subject
from bench.upstream import body_of

RATE = 200
"""Requests a second: what every subject takes without effort."""


class PacedMeter:
    """Measures rounds at the rate (`Measures`). Every burst has keys that no other has."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    async def round(self, subject: Subject, point: Point, seconds: int) -> Sample:
        """Send requests as they are due for a time.

        Raises:
            BenchError: One was not answered as the scenario asks.
        """
        prefix, path = f"paced{next(self._numbers)}", f"/{point.size}/call"
        body = b"" if point.scenario is Scenario.REPLAY_BODYLESS else body_of(point.size)
        if point.scenario in REPLAYS:
            async with connected(subject.url) as (connection,):
                await record(connection, path, prefix, body)

        def send(connection: Connection, number: int) -> None:
            connection.send(path, _key(point.scenario, prefix, number), body)

        def check(response: Response, _: int) -> None:
            _expect(response, point)

        delays = await paced.latencies(subject.url, send, check, rate=RATE, seconds=seconds)
        return Sample(Outcome.of_latencies(delays, seconds))


def _key(scenario: Scenario, prefix: str, number: int) -> str | None:
    if scenario is Scenario.KEYLESS:
        return None
    return prefix if scenario in REPLAYS else f"{prefix}-{number}"


def _expect(response: Response, point: Point) -> None:
    replayed = point.scenario in REPLAYS
    if response.status != 200 or response.replayed is not replayed:
        raise BenchError(
            f"{point.name} at {RATE}/s: a request was answered {response.status} (replayed: "
            f"{response.replayed}), where 200 (replayed: {replayed}) belongs"
        )


def conclude(samples: Samples) -> tuple[PacedResult, ...]:
    """Each point's percentiles, and what they are above those of Envoy alone in the same round."""
    return tuple(_result(point, rounds, samples.get(_base(point), ())) for point, rounds in samples.items())


def _base(point: Point) -> Point:
    """What a point is compared with: Envoy alone makes no difference but between a key and none."""
    return Point(ALONE, Scenario.KEYLESS if point.scenario is Scenario.KEYLESS else Scenario.NEW)


def _result(point: Point, rounds: Sequence[Sample], base: Sequence[Sample]) -> PacedResult:
    (p50, p99), plain = _percentiles(rounds), _percentiles(base)
    compared = bool(base) and point.subject != ALONE
    return PacedResult(
        point.subject,
        RATE,
        Spread.of(p50),
        Spread.of(p99),
        point.scenario,
        added_p50_us=_added(p50, plain[0]) if compared else None,
        added_p99_us=_added(p99, plain[1]) if compared else None,
    )


def _percentiles(rounds: Sequence[Sample]) -> tuple[list[float], list[float]]:
    """The p50 of every round, and the p99."""
    outcomes = [sample.outcome for sample in rounds]
    return (
        [outcome.p50_us for outcome in outcomes if outcome.p50_us is not None],
        [outcome.p99_us for outcome in outcomes if outcome.p99_us is not None],
    )


def _added(ours: Sequence[float], plain: Sequence[float]) -> Spread:
    return Spread.of([with_it - without for with_it, without in zip(ours, plain, strict=True)])
