"""The faults of a run follow from its seed, and are such that the supervisors survive them."""

import itertools
from collections import defaultdict

import pytest

from sidecar.supervision.restart import RestartPolicy
from tests.chaos.plan import OF_ENVOY, OF_STORE, OF_WORKERS, STACKS, Fault, Kind, plan

DURATION_S = 120.0
SEEDS = range(20)
DEADLY = {Kind.WORKER_KILLED, Kind.WORKER_ENDED, Kind.ENVOY_KILLED}


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert plan(7, DURATION_S) == plan(7, DURATION_S)
    assert plan(7, DURATION_S) != plan(8, DURATION_S)


def test_two_minutes_hold_every_kind_of_fault() -> None:
    kinds = {fault.kind for seed in SEEDS for fault in plan(seed, DURATION_S)}
    assert kinds == set(Kind)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_plan_is_in_order_and_over_before_the_run_is(seed: int) -> None:
    faults = plan(seed, DURATION_S)
    assert list(faults) == sorted(faults, key=lambda fault: fault.at_s)
    assert faults[0].at_s >= 1
    assert max(fault.at_s + fault.for_s for fault in faults) < DURATION_S


@pytest.mark.parametrize("seed", SEEDS)
def test_no_process_dies_so_often_that_its_supervisor_gives_up(seed: int) -> None:
    limit = RestartPolicy()
    deaths: dict[str, list[float]] = defaultdict(list)
    for fault in plan(seed, 600):
        if fault.kind in DEADLY:
            deaths[fault.target].append(fault.at_s)
    for moments in deaths.values():
        for moment in moments:
            assert sum(moment <= other <= moment + limit.within_s for other in moments) < limit.deaths - 1


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("lane", [OF_STORE, {kind for kind in Kind if kind.name.startswith("UPSTREAM")}])
def test_what_there_is_one_of_is_struck_by_one_fault_at_a_time(seed: int, lane: set[Kind]) -> None:
    faults = [fault for fault in plan(seed, DURATION_S) if fault.kind in lane]
    assert all(before.at_s + before.for_s < after.at_s for before, after in itertools.pairwise(faults))


def test_some_freezes_of_the_store_lose_a_worker_within() -> None:
    def within(freeze: Fault, fault: Fault) -> bool:
        return fault.kind is Kind.WORKER_KILLED and freeze.at_s < fault.at_s < freeze.at_s + freeze.for_s

    faults = plan(1, DURATION_S)
    freezes = [fault for fault in faults if fault.kind is Kind.STORE_STOPPED]
    struck = [freeze for freeze in freezes if any(within(freeze, fault) for fault in faults)]
    assert 0 < len(struck) <= len(freezes)


def test_every_stack_is_struck() -> None:
    struck = {fault.stack for fault in plan(1, DURATION_S) if fault.kind in OF_WORKERS | OF_ENVOY}
    assert struck == set(range(STACKS))


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (Kind.WORKER_STOPPED, "stack 1, worker 0"),
        (Kind.ENVOY_KILLED, "stack 1"),
        (Kind.STORE_KILLED, "store"),
        (Kind.UPSTREAM_503, "upstream"),
    ],
)
def test_a_fault_names_its_target(kind: Kind, target: str) -> None:
    assert Fault(0, kind, 0, stack=1, worker=0).target == target
