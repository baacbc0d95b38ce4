"""Rounds that take turns: what is compared is measured in the same minutes, in alternating order."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bench.errors import BenchError, UnavailableError
from bench.point import Point, Sample, Scenario
from bench.rig import Rig
from bench.subject import Subject
from sidecar.supervision.errors import SupervisionError

_WARMING_S = 1

Start = Callable[[Rig], Awaitable[Subject]]
Samples = dict[Point, list[Sample]]


def joined(earlier: Samples, later: Samples) -> Samples:
    """The rounds of two parts of a batch; a point that is missing in one is left out of both."""
    return {point: [*rounds, *later[point]] for point, rounds in earlier.items() if point in later}


class Measures(Protocol):
    """What measures one round at one point."""

    async def round(self, subject: Subject, point: Point, seconds: int) -> Sample:
        """Load the subject as the point says.

        Raises:
            BenchError: It was not answered as the scenario asks: nothing was measured.
        """


@dataclass(frozen=True, slots=True)
class Skip:
    """Why something was left out.

    `failed`: it was there and did not do what it should (a wrong answer, a start that failed, a timeout). The
    run fails then. Otherwise a part is missing on this machine.
    """

    reason: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Turn:
    """A point and how its subject is had."""

    start: Start
    point: Point


@dataclass(frozen=True, slots=True)
class Batch:
    """Points that are compared with each other.

    `seconds`: of each burst. `warming_s`: of the one before it that is not measured, for what has rested
    while others were loaded is slow at first, and the more so the more code it runs through. `stacks`: on how
    many rigs, each made for it alone and gone after its rounds; 0: on the run's own. For two processes of
    the same program and configuration differ by some percent for as long as they live, and no number of
    rounds makes up for that.
    """

    title: str
    turns: tuple[Turn, ...]
    rounds: int
    seconds: int = 2
    warming_s: int = 0
    stacks: int = 0


@dataclass
class Campaign:
    """Runs batches on a rig, and keeps why a point could not be measured."""

    rig: Rig
    meter: Measures
    say: Callable[[str], None]
    skipped: dict[str, Skip] = field(default_factory=dict)

    async def run(self, batch: Batch) -> Samples:
        """The samples of every point that could be measured in every round."""
        subjects = await self._subjects(batch.turns)
        samples: Samples = {turn.point: [] for turn in batch.turns if turn.start in subjects}
        for number in range(batch.rounds):
            turns = batch.turns if number % 2 == 0 else batch.turns[::-1]
            for turn in turns:
                if turn.point in samples:
                    await self._take(subjects[turn.start], turn.point, batch, samples)
            self.say(f"{batch.title}: round {number + 1} of {batch.rounds}")
        return {turn.point: samples[turn.point] for turn in batch.turns if turn.point in samples}

    async def _subjects(self, turns: Sequence[Turn]) -> dict[Start, Subject]:
        """Each subject started, and warm: its connections made, its code paged in, its records' space had."""
        subjects: dict[Start, Subject] = {}
        for turn in turns:
            if turn.start in subjects:
                continue
            with self.skipping(_started_for(turn.point)):
                subjects[turn.start] = await self.warm(turn.start, turn.point)
        return subjects

    async def warm(self, start: Start, point: Point) -> Subject:
        """A subject that has answered requests like those of a point for a second."""
        subject = await start(self.rig)
        await self.meter.round(subject, _warming(point), _WARMING_S)
        return subject

    async def _take(self, subject: Subject, point: Point, batch: Batch, samples: Samples) -> None:
        """One round; a point that fails once is left out altogether, for its rounds could not be paired."""
        earlier = samples.pop(point)
        with self.skipping(point.name):
            if batch.warming_s:
                await self.meter.round(subject, point, batch.warming_s)
            samples[point] = [*earlier, await self.meter.round(subject, point, batch.seconds)]

    @contextlib.contextmanager
    def skipping(self, what: str) -> Iterator[None]:
        """Go on without what cannot be had or measured, and keep the reason."""
        try:
            yield
        except UnavailableError as error:
            self._leave_out(what, Skip(str(error), failed=False))
        except (BenchError, SupervisionError, TimeoutError) as error:
            self._leave_out(what, Skip(str(error) or type(error).__name__, failed=True))

    def _leave_out(self, what: str, skip: Skip) -> None:
        """Keep why; of several reasons the first failure, which later ones may only follow from."""
        if what not in self.skipped or not self.skipped[what].failed:
            self.skipped[what] = skip
        self.say(f"without {what}: {skip.reason}")


_SPECIAL = {Scenario.WAITING, Scenario.DETACHED}
"""Scenarios whose policies make the subject another one than it usually is."""


def _warming(point: Point) -> Point:
    return Point(point.subject, point.scenario if point.scenario in _SPECIAL else Scenario.NEW)


def _started_for(point: Point) -> str:
    """What is missing where the subject of a point cannot be had."""
    return f"{point.subject}: {point.scenario}" if point.scenario in _SPECIAL else point.subject
