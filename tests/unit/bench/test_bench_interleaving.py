"""Rounds take turns, and what fails is left out with its reason."""

from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from bench.errors import BenchError, UnavailableError
from bench.interleaving import Batch, Campaign, Skip, Turn, joined
from bench.measure import Meter, per_request
from bench.point import Point, Sample, Scenario
from bench.rig import Rig
from bench.subject import Role, Subject
from sidecar.supervision.errors import StartupError
from tests.unit.bench.fabricated_results import sample


class FakeMeter:
    """Notes who is measured, and fails where it is told to."""

    def __init__(self) -> None:
        self.measured: list[str] = []
        self.failing: dict[str, int] = {}
        """The number of the call, from 1, in which a point fails."""

    async def round(self, subject: Subject, point: Point, seconds: int) -> Sample:
        assert subject.name == point.subject
        name = f"{subject.name} {point.scenario} {seconds}"
        self.measured.append(name)
        if self.measured.count(name) == self.failing.get(name):
            raise BenchError(f"{name} was answered 500")
        return sample(processor=100)


def start(name: str) -> Callable[[Rig], Awaitable[Subject]]:
    async def started(_: Rig) -> Subject:
        return Subject(name, "http://127.0.0.1:1", {}, "http://127.0.0.1:1")

    return started


def meet(campaign: Campaign, what: str, error: Exception) -> None:
    """Run into an error that is skipped."""
    with campaign.skipping(what):
        raise error


async def unavailable(_: Rig) -> Subject:
    raise UnavailableError("npm is not installed")


@pytest.fixture
def meter() -> FakeMeter:
    return FakeMeter()


@pytest.fixture
def campaign(meter: FakeMeter) -> Campaign:
    return Campaign(cast("Rig", None), cast("Meter", meter), lambda _: None)


A, B = start("a"), start("b")
A_NEW, B_NEW = Turn(A, Point("a", Scenario.NEW)), Turn(B, Point("b", Scenario.NEW))
A_REPLAY = Turn(A, Point("a", Scenario.REPLAY))


async def test_subjects_warm_up_once_and_then_take_turns_in_alternating_order(
    campaign: Campaign, meter: FakeMeter
) -> None:
    samples = await campaign.run(Batch("core", (A_NEW, A_REPLAY, B_NEW), rounds=2))

    assert meter.measured == [
        *("a new 1", "b new 1"),
        *("a new 2", "a replay 2", "b new 2"),
        *("b new 2", "a replay 2", "a new 2"),
    ]
    assert {point.name: len(rounds) for point, rounds in samples.items()} == {
        "a new 100 B c32": 2,
        "a replay 100 B c32": 2,
        "b new 100 B c32": 2,
    }


async def test_a_burst_that_is_not_measured_may_come_before_each_that_is(
    campaign: Campaign, meter: FakeMeter
) -> None:
    samples = await campaign.run(Batch("core", (A_NEW, B_NEW), rounds=1, seconds=3, warming_s=2))

    assert meter.measured == ["a new 1", "b new 1", "a new 2", "a new 3", "b new 2", "b new 3"]
    assert [len(rounds) for rounds in samples.values()] == [1, 1]


async def test_what_cannot_be_had_is_left_out_with_its_reason(campaign: Campaign) -> None:
    absent = Turn(unavailable, Point("express", Scenario.NEW))

    samples = await campaign.run(Batch("core", (absent, A_NEW), rounds=1))

    assert list(samples) == [A_NEW.point]
    assert campaign.skipped == {"express": Skip("npm is not installed", failed=False)}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BenchError("it was answered 500"), "it was answered 500"),
        (StartupError("it is not ready after 10 s"), "it is not ready after 10 s"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_what_is_there_and_does_not_work_is_a_failure(
    campaign: Campaign, error: Exception, reason: str
) -> None:
    meet(campaign, "express", error)

    assert campaign.skipped == {"express": Skip(reason, failed=True)}


def test_the_first_failure_is_kept_whatever_comes_before_or_after(campaign: Campaign) -> None:
    for error in (UnavailableError("a"), BenchError("b"), BenchError("c"), UnavailableError("d")):
        meet(campaign, "native", error)

    assert campaign.skipped == {"native": Skip("b", failed=True)}


async def test_a_point_that_fails_once_is_left_out_for_its_rounds_could_not_be_paired(
    campaign: Campaign, meter: FakeMeter
) -> None:
    meter.failing = {"a replay 2": 2}

    samples = await campaign.run(Batch("core", (A_NEW, A_REPLAY), rounds=3))

    assert [len(rounds) for rounds in samples.values()] == [3]
    assert campaign.skipped == {"a replay 100 B c32": Skip("a replay 2 was answered 500", failed=True)}
    assert meter.measured.count("a replay 2") == 2


async def test_parts_of_a_batch_are_joined_round_by_round_less_what_is_missing_in_one(
    campaign: Campaign, meter: FakeMeter
) -> None:
    batch = Batch("core", (A_NEW, A_REPLAY, B_NEW), rounds=2)
    earlier = await campaign.run(batch)
    meter.failing = {"a replay 2": 3}
    later = await campaign.run(batch)

    samples = joined(earlier, later)

    assert list(samples) == [A_NEW.point, B_NEW.point]
    assert samples[B_NEW.point] == [*earlier[B_NEW.point], *later[B_NEW.point]]


async def test_points_come_out_in_the_order_of_the_plan_whichever_way_the_last_round_went(
    campaign: Campaign,
) -> None:
    for rounds in (1, 2):
        samples = await campaign.run(Batch("core", (A_NEW, A_REPLAY, B_NEW), rounds))

        assert list(samples) == [A_NEW.point, A_REPLAY.point, B_NEW.point]


async def test_a_subject_that_does_not_answer_right_is_found_out_while_it_warms_up(
    campaign: Campaign, meter: FakeMeter
) -> None:
    meter.failing = {"a new 1": 1}

    samples = await campaign.run(Batch("core", (A_NEW, B_NEW), rounds=1))

    assert list(samples) == [B_NEW.point]
    assert campaign.skipped == {"a": Skip("a new 1 was answered 500", failed=True)}


async def test_a_subject_that_fails_with_policies_of_its_own_is_not_missing_without_them(
    campaign: Campaign,
) -> None:
    turn = Turn(unavailable, Point("a", Scenario.DETACHED))

    await campaign.run(Batch("special", (turn,), rounds=1))

    assert campaign.skipped == {"a: detached": Skip("npm is not installed", failed=False)}


@pytest.mark.parametrize("scenario", [Scenario.WAITING, Scenario.DETACHED])
async def test_a_subject_with_policies_of_its_own_warms_up_with_what_they_are_for(
    campaign: Campaign, meter: FakeMeter, scenario: Scenario
) -> None:
    await campaign.run(Batch("special", (Turn(A, Point("a", scenario)),), rounds=0))

    assert meter.measured == [f"a {scenario} 1"]


def test_cpu_per_request_is_in_microseconds() -> None:
    before, after = {Role.ENVOY: 1_000_000}, {Role.ENVOY: 5_000_000}

    assert per_request(before, after, 40) == {Role.ENVOY: 100.0}
