"""The documented state machine is the one that runs."""

from pathlib import Path

import pytest

from sidecar.exchange.diagram import render
from sidecar.exchange.states import TABLE, State

PAGE = Path(__file__).parents[3] / "docs" / "exchange.md"


def test_the_committed_page_is_the_rendered_one() -> None:
    assert PAGE.read_text() == render(), "docs/exchange.md is out of date: run `make docs`"


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_every_state_has_a_section_saying_what_it_waits_for(state: State) -> None:
    assert f"## {state.name}\n\n{state.value}\n" in render()


def test_every_row_stands_in_the_section_of_its_state() -> None:
    sections = dict(section.split("\n", 1) for section in render().split("\n## ")[1:])

    for state in State:
        rows = [line for line in sections[state.name].splitlines() if line.startswith("| ")][1:]
        in_table = [(e.__name__, t.action) for (s, e), t in TABLE.items() if s is state]
        assert [tuple(cell.strip(" `") for cell in row.split("|")[1:3]) for row in rows] == in_table
        assert all(row.split("|")[3].strip() for row in rows), "an action without a docstring"


def test_every_change_of_state_is_an_arrow() -> None:
    picture = render().split("```")[1]

    for (state, event), transition in TABLE.items():
        for target in transition.targets - {state}:
            (arrow,) = (
                line
                for line in picture.splitlines()
                if line.strip().startswith(f"{state.name} --> {target.name}:")
            )
            assert event.__name__ in arrow
