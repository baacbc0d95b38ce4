"""A simulation that finds nothing in a broken product is worth nothing: each planted bug must be found."""

import pytest

from tests.simulation.drawing import draw
from tests.simulation.plants import PLANTS
from tests.simulation.searching import schedules_until, violation_of
from tests.simulation.shrinking import report, shrink

BASE = 1
"""Fixed: how soon a plant is found is a property of the simulation, not luck."""


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    plant = PLANTS[name]

    found = schedules_until(plant.product, BASE, plant.within, plant.rows)

    assert found is not None, f"not found within {plant.within} schedules"
    schedules, plan, violation = found
    with capsys.disabled():
        print(f"\n  {name}: schedule {schedules} (seed {plan.seed}), {violation}")  # noqa: T201 (for people)
    assert violation.rule in plant.rules
    assert violation_of(plan) is None, "the product breaks under this seed without the plant"


def test_a_violation_is_told_on_the_smallest_plan_that_shows_it() -> None:
    plant = PLANTS["a replay that compares nothing"]
    found = schedules_until(plant.product, BASE, plant.within)
    assert found is not None
    seed = found[1].seed

    smallest = shrink(draw(seed), plant.product)
    told = report(seed, plant.product)

    assert len(smallest.calls) == 2, "one that executes and one that is given its answer"
    assert smallest.faults == ()
    assert told == report(seed, plant.product)
    assert told.startswith(f"seed {seed}:")
    assert told.splitlines()[-1].startswith("VIOLATION of G3")


def test_a_plan_that_breaks_nothing_is_left_as_it_is() -> None:
    plan = draw(BASE)

    assert shrink(plan) == plan
    assert report(BASE).endswith("nothing is wrong")
