"""docs/compatibility.md: that it is what the suite would find today, and how it is made."""

import ast
from pathlib import Path

import pytest

from tests.envoys import limits
from tests.envoys.__main__ import write
from tests.envoys.conftest import PAIRINGS
from tests.envoys.limits import SINCE
from tests.envoys.page import PAGE, render
from tests.envoys.programs import minor
from tests.envoys.results import Finding, Lacks, Open, Pairing, Results, Row, Works

OLD_1, OLD_2 = Pairing("1.39.3", "grpcio"), Pairing("1.39.3", "native")
NEW_1, NEW_2 = Pairing("1.40.0", "grpcio"), Pairing("1.40.0", "native")


def table(page: str) -> list[list[str]]:
    """Its cells, without the line between the head and the rest."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [line.strip("| ").split(" | ") for line in lines if not line.startswith("| ---")]


def test_the_page_has_every_row_of_the_suite_and_what_the_limits_let_expect() -> None:
    """A run fails where it finds anything else; so, without a run, this is how the page has to look."""
    expected: dict[Row, dict[Pairing, Finding]] = {}
    for row, limit in rows_of_the_suite().items():
        expected[row] = {pairing: expectation(limit, pairing) for pairing in PAIRINGS}

    assert PAGE.read_text(encoding="utf-8") == render(expected), "run `make envoys`"


def rows_of_the_suite() -> dict[Row, pytest.Mark | None]:
    """Each test on a stack, in the order of the files, and the limit that it carries."""
    found: dict[Row, pytest.Mark | None] = {}
    for file in sorted(Path(__file__).parent.glob("test_each_envoy_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and on_a_stack(node):
                marks = [
                    getattr(limits, name.id).mark
                    for name in node.decorator_list
                    if isinstance(name, ast.Name)
                ]
                found[node.name.removeprefix("test_").replace("_", " ")] = marks[0] if marks else None
    return found


def on_a_stack(test: ast.FunctionDef) -> bool:
    """Or on one that depends on it; those with an `envoy` of their own are no rows."""
    return "envoy" not in {argument.arg for argument in test.args.args}


def expectation(limit: pytest.Mark | None, pairing: Pairing) -> Finding:
    if limit is None or minor(pairing.version) >= minor(limit.args[0]):
        return Works()
    return Lacks(limit.args[1])


def test_every_limit_names_an_envoy_under_test_and_a_reason() -> None:
    marks = [each.mark for each in vars(limits).values() if isinstance(each, pytest.MarkDecorator)]

    assert {mark.name for mark in marks} == {SINCE}
    assert {minor(mark.args[0]) for mark in marks} <= {minor(pairing.version) for pairing in PAIRINGS}
    assert all(mark.args[1].endswith(".") for mark in marks)


def test_a_cell_says_yes_or_no_and_a_no_has_a_note_that_is_told_once() -> None:
    lack = Lacks("It is old.")
    page = render(
        {
            "first": {OLD_1: lack, OLD_2: lack, NEW_1: Works(), NEW_2: Works()},
            "second": {OLD_1: Lacks("It is very old."), OLD_2: lack, NEW_1: Works(), NEW_2: Works()},
        }
    )

    assert table(page) == [
        ["what was tried", "1.39.3", "1.40.0"],
        ["first", "no (1)", "yes"],
        ["second", "grpcio: no (2), native: no (1)", "yes"],
    ]
    assert page.endswith("\n1. It is old.\n2. It is very old.\n")
    assert "works on 1.40.0 only" in page


def test_the_page_names_every_version_on_which_all_of_it_works() -> None:
    versions = [Pairing(f"1.{number}.0", "native") for number in range(36, 41)]
    findings: dict[Pairing, Finding] = {pairing: Works() for pairing in versions}
    findings[versions[0]] = Lacks("It is old.")

    assert "works on 1.37.0, 1.38.0, 1.39.0 and 1.40.0 only" in render({"it": findings})


@pytest.mark.parametrize(
    ("finding", "said"),
    [(Works(), "works on all of them"), (Lacks("So it is."), "works on none of them")],
)
def test_the_page_says_first_where_everything_works(finding: Finding, said: str) -> None:
    assert said in render({"it": {NEW_1: finding}})


def test_a_finding_that_is_open_or_missing_has_no_place_in_the_page() -> None:
    with pytest.raises(ValueError, match="call failed"):
        render({"it": {NEW_1: Open("call failed")}})
    with pytest.raises(ValueError, match="None"):
        render({"it": {NEW_1: Works()}, "that": {NEW_2: Works()}})


def test_a_page_is_written_from_whole_results_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    skipped = Results(findings={"it": {NEW_1: Open("setup skipped")}})
    whole = Results(findings={"it": {NEW_1: Works()}})

    assert write(skipped, page) == "page.md is left as it is, for 1 of its results are not there"
    assert not page.exists()
    assert write(whole, page) == "page.md is written"
    assert table(page.read_text()) == [["what was tried", "1.40.0"], ["it", "yes"]]
    assert write(whole, page) == "page.md is what was found"
