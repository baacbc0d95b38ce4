"""One bad file per error. Each begins with what has to be said: `# line: field: message; allowed: …`."""

from pathlib import Path

import pytest

from sidecar.config.errors import ConfigError, ConfigProblem
from sidecar.config.loading import load

BAD = sorted(Path("tests/configs/bad").glob("*.yaml"))
MARK = "# "


def problems_of(file: Path) -> tuple[ConfigProblem, ...]:
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    return caught.value.problems


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_everything_that_is_wrong_is_said_with_its_line_and_what_is_allowed(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    expected = [f"{file}:{line.removeprefix(MARK)}" for line in lines if line.startswith(MARK)]

    assert [str(problem) for problem in problems_of(file)] == expected


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_no_message_is_without_a_place_or_without_what_is_allowed(file: Path) -> None:
    for problem in problems_of(file):
        assert problem.line
        assert problem.allowed
        assert "\n" not in str(problem)


@pytest.mark.parametrize(
    "file", [file for file in BAD if "password" in file.stem], ids=lambda file: file.stem
)
def test_a_password_is_never_shown(file: Path) -> None:
    assert "hunter2" in file.read_text(encoding="utf-8")
    for problem in problems_of(file):
        assert "hunter2" not in repr(problem)


def test_the_error_holds_every_problem_and_reads_as_one_line_each() -> None:
    file = Path("tests/configs/bad/everything-at-once.yaml")
    with pytest.raises(ConfigError) as caught:
        load(file, {})

    assert len(caught.value.problems) == 6
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
