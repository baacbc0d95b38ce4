"""Thousands of schedules of crashes, pauses, losses and races, and no guarantee is broken in any of them."""

from collections.abc import Mapping

import pytest

from tests.simulation.drawing import draw
from tests.simulation.policies import ROWS
from tests.simulation.searching import search_everywhere
from tests.simulation.shrinking import report, tell

REPLAY = (
    "pytest tests/simulation --simulation-seed {seed}   (or with SIMULATION_SEED={seed} in the environment)"
)
SHOWN = 3
"""Violations that are told in full."""
ENOUGH = 5_000
"""So many schedules come to everything that they are meant to come to."""
MEANT = {
    *ROWS, "records", "takeovers", "calls", "streams", "calls replayed",
    "executed", "replayed", "in-progress", "key-reused", "outcome-unknown", "response-not-stored",
    "store-unavailable", "body-too-large", "origin-unavailable", "key-expired",
}  # fmt: skip


@pytest.mark.timeout(600)
def test_no_schedule_breaks_a_guarantee(
    given_seed: int | None, base_seed: int, schedules: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if given_seed is not None:
        pytest.skip(f"the schedule of seed {given_seed} alone is replayed")
    with capsys.disabled():
        print(f"\nsimulation: {schedules} schedules from seed {base_seed}")  # noqa: T201 (it is for replaying)

    found = search_everywhere(base_seed, schedules)

    assert found.schedules == schedules
    assert not found.violations, told(found.violations)
    missed = MEANT - found.met.keys()
    assert schedules < ENOUGH or not missed, f"no schedule came to {', '.join(sorted(missed))}"


def test_a_given_seed_is_replayed_and_told(
    given_seed: int | None, base_seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    story = tell(draw(base_seed))

    if given_seed is not None:
        with capsys.disabled():
            print(f"\n{story}")  # noqa: T201 (it was asked for)
    assert story.endswith("nothing is wrong"), told({base_seed: story.splitlines()[-1]})


def test_what_is_told_of_a_violation_replays_it() -> None:
    message = told({1: "G1: executed twice", 2: "G1: executed twice"})

    assert message.startswith("2 schedules break a guarantee")
    assert REPLAY.format(seed=2) in message
    assert tell(draw(2)) in message, "nothing is wrong under it, so there is nothing to leave out"


def told(violations: Mapping[int, str]) -> str:
    """The violations that were found: the first few with their traces, and how to see them again."""
    lines = [f"{len(violations)} schedules break a guarantee"]
    for seed in sorted(violations)[:SHOWN]:
        lines += ["", f"{violations[seed]}: {REPLAY.format(seed=seed)}", report(seed)]
    return "\n".join(lines)
