"""The matrix."""

import pytest

from bench import plan
from bench.interleaving import Batch
from bench.peers import starting
from bench.plan import Plan
from bench.point import Point, Scenario
from bench.rig import ALONE, CPP_NOOP, NOOP


def points(chosen: Plan, title: str) -> set[Point]:
    (turns,) = {batch.turns for batch in chosen.batches if batch.title == title}
    return {turn.point for turn in turns}


def loading_s(batch: Batch) -> int:
    return max(batch.stacks, 1) * batch.rounds * (batch.warming_s + batch.seconds) * len(batch.turns)


@pytest.mark.parametrize("chosen", [plan.full(), plan.short()], ids=["full", "short"])
def test_every_form_measures_what_the_bounds_need_in_the_same_rounds(chosen: Plan) -> None:
    core = points(chosen, plan.CORE)

    needed = {ALONE, NOOP, CPP_NOOP, "native", "grpcio", starting.FASTAPI, starting.IDEMKIT}
    assert {Point(subject, Scenario.NEW) for subject in needed} <= core
    assert {Point("native", Scenario.REPLAY), Point("native", Scenario.REPLAY_BODYLESS)} <= core
    assert {point.subject for point in points(chosen, plan.KEYLESS)} == {ALONE, "native"}


@pytest.mark.parametrize("chosen", [plan.full(), plan.short()], ids=["full", "short"])
def test_no_point_is_in_two_batches_but_for_those_with_rounds_of_their_own(chosen: Plan) -> None:
    different = {batch.title: batch for batch in chosen.batches if batch.title != plan.ADDED}
    everything = [turn.point for batch in different.values() for turn in batch.turns]

    assert len(everything) == len(set(everything))


def test_the_full_run_covers_sizes_concurrency_workers_and_scenarios() -> None:
    every = {turn.point for batch in plan.full().batches for turn in batch.turns}

    assert {point.size for point in every} == {0, 100, 10_000, 1_000_000}
    assert {point.concurrency for point in every} == {1, 4, 32, 256}
    assert {point.http for point in every} == {1, 2}
    assert {point.scenario for point in every} == set(Scenario)
    assert {"native x2", "grpcio x2", starting.IDEMGATE, starting.NODE_IDEMPOTENCY} <= {
        point.subject for point in every
    }


def test_the_load_of_each_form_leaves_time_for_the_rest() -> None:
    assert sum(map(loading_s, plan.full().batches)) < 780
    assert sum(map(loading_s, plan.short().batches)) < 130


def test_what_the_bounds_are_taken_from_is_spread_over_a_full_run() -> None:
    titles = [batch.title for batch in plan.full().batches]

    assert {title for title in titles if titles.count(title) == 3} == {plan.CORE, plan.ADDED, plan.KEYLESS}
    assert titles[0] == plan.CORE
    assert titles[-3:] == [plan.CORE, plan.ADDED, plan.KEYLESS]
    assert len(titles) == len(set(titles)) + 6, "every other batch is measured in one go"


def test_another_transport_can_be_the_bounded_one() -> None:
    chosen = plan.short(("grpcio", "native"))

    assert Point("grpcio", Scenario.REPLAY) in points(chosen, plan.CORE)
    assert Point("native", Scenario.REPLAY) not in points(chosen, plan.CORE)


def test_a_subject_is_started_by_one_function_however_often_it_is_asked_for() -> None:
    assert plan.start_of("native") is plan.start_of("native", Scenario.REPLAY)
    assert plan.start_of("native") is not plan.start_of("native", Scenario.DETACHED)
    assert plan.start_of("native") is not plan.start_of("native", workers=2)


def test_a_point_is_named_by_all_that_tells_it_from_others() -> None:
    assert Point("native", Scenario.REPLAY, 0, 256, 2).name == "native replay 0 B c256 h2"
    assert Point("alone", Scenario.NEW).name == "alone new 100 B c32"


def test_rows_stand_together_by_subject_whichever_batch_measured_them() -> None:
    chosen = plan.full()

    every = points(chosen, plan.CORE) | points(chosen, plan.BESIDE)
    rows = sorted((point for point in every if point.scenario is not Scenario.KEYLESS), key=plan.place)

    subjects = [point.subject for point in rows]
    assert subjects[:4] == [ALONE, NOOP, plan.NOOP_TUNED, CPP_NOOP]
    assert subjects == sorted(subjects, key=subjects.index)
    assert {point.scenario for point in rows if point.subject == "native"} == {
        Scenario.NEW,
        Scenario.REPLAY,
        Scenario.REPLAY_BODYLESS,
        Scenario.CONFLICT,
    }
    assert plan.place(Point(ALONE, Scenario.KEYLESS)) > max(map(plan.place, rows))


def test_keyless_rows_stand_last_the_other_transports_from_rounds_beside_the_core() -> None:
    chosen = plan.full()
    beside = Point("grpcio", Scenario.KEYLESS)

    rows = sorted({beside, *points(chosen, plan.KEYLESS), *points(chosen, plan.CORE)}, key=plan.place)

    assert beside in points(chosen, plan.BESIDE)
    assert [point.subject for point in rows[-3:]] == [ALONE, "native", "grpcio"]


def test_latency_at_a_rate_has_a_row_of_envoy_alone_for_each_kind_of_request() -> None:
    batch = plan.full().paced
    assert batch is not None
    taken = [(turn.point.subject, turn.point.scenario) for turn in batch.turns]

    assert {(subject, Scenario.NEW) for subject in (ALONE, NOOP, *plan.TRANSPORTS)} <= set(taken)
    assert {(subject, Scenario.KEYLESS) for subject in (ALONE, "native")} <= set(taken)
    assert {("native", scenario) for scenario in Scenario} - set(taken) == {
        ("native", Scenario.CONFLICT),
        ("native", Scenario.WAITING),
    }
    assert (batch.rounds, batch.seconds) == (3, 10)
    assert loading_s(batch) < 300
    assert plan.short().paced is None
