"""`python -m bench`: what it takes, and how it ends."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import environments, machine, store_costs
from bench.bounds import judge
from bench.errors import UnavailableError
from bench.interleaving import Skip
from bench.results import Results
from bench.rig import Variant
from tests.unit.bench.fabricated_results import HOLDING, results, spreads


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> list[Results]:
    """What the next run comes to; nothing is started and nothing is written."""
    prepared = [results()]
    monkeypatch.setattr(command, "_with_rig", lambda _: prepared[0])
    monkeypatch.setattr(command, "save", lambda _: None)
    monkeypatch.setattr(command, "_write_pages", lambda: None)
    return prepared


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["only", "knew"], "choose from"),
        (["only", "new", "--rounds", "0"], "a whole number from 1 up"),
        (["only", "new", "--transport", "quic"], "choose from"),
        (["run", "--long"], "unrecognized arguments"),
        ([], "required"),
    ],
)
def test_bad_usage_is_told_and_ends_with_two(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("outcome")
def test_a_full_run_fails_where_a_bound_was_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["run"]) == 1
    assert "not measured: nobody uploaded" in capsys.readouterr().out


def without(figure: str, what: str, skip: Skip) -> Results:
    """A run that lacks one figure because something was left out, and in which every other bound holds."""
    figures = spreads()
    del figures[figure]
    return results(bounds=judge(figures, {figure: skip.reason}), skipped={what: skip})


def test_the_short_form_fails_where_a_bound_is_missed(
    outcome: list[Results], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome[0] = results(bounds=judge(spreads(), {}))
    assert command.main(["run", "--short"]) == 0

    outcome[0] = results(bounds=judge(spreads(new_vs_noop=0.6), {}))
    assert command.main(["run", "--short"]) == 1
    assert "1 bounds are missed: new_vs_noop" in capsys.readouterr().out


def test_the_short_form_does_without_a_peer_that_is_not_there(
    outcome: list[Results], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome[0] = without("added_vs_idemkit", "idemkit", Skip("pip is not there", failed=False))

    assert command.main(["run", "--short"]) == 0
    assert "not measured: pip is not there" in capsys.readouterr().out
    assert command.main(["run"]) == 1


@pytest.mark.parametrize("form", [["--short"], []])
def test_a_peer_that_is_there_and_fails_fails_every_form(
    outcome: list[Results], form: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    outcome[0] = without("added_vs_idemkit", "idemkit", Skip("answered 500", failed=True))

    assert command.main(["run", *form]) == 1
    said = capsys.readouterr().out
    assert "FAIL idemkit: answered 500\n" in said
    assert "1 failed: idemkit (" in said


@pytest.mark.parametrize("form", [["--short"], []])
def test_a_point_that_fails_fails_every_form_even_where_no_bound_is_taken_from_it(
    outcome: list[Results], form: list[str]
) -> None:
    failed = {"native conflict": Skip("answered 200", failed=True)}
    outcome[0] = results(bounds=judge(spreads(), {}), skipped=failed)

    assert command.main(["run", *form]) == 1


@pytest.mark.parametrize("figure", sorted(HOLDING.keys() - {"added_vs_idemkit", "new_vs_cpp_noop"}))
def test_the_short_form_fails_where_a_figure_without_a_peer_was_not_measured(
    outcome: list[Results], figure: str
) -> None:
    outcome[0] = without(figure, "native", Skip("this build has no transport native", failed=False))

    assert command.main(["run", "--short"]) == 1


def test_what_is_missing_on_the_machine_ends_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_wrk(_: object) -> None:
        raise UnavailableError("wrk is not installed (Debian's package wrk)")

    monkeypatch.setattr(command, "_with_rig", without_wrk)

    assert command.main(["only", "new"]) == 1
    assert capsys.readouterr().err == "bench: wrk is not installed (Debian's package wrk)\n"


def test_the_short_form_is_skipped_where_nothing_can_be_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_wrk(_: object) -> None:
        raise UnavailableError("wrk is not installed")

    monkeypatch.setattr(command, "_with_rig", without_wrk)

    assert command.main(["run", "--short"]) == 0
    assert capsys.readouterr().out == "nothing was measured: wrk is not installed\n"
    assert command.main(["run"]) == 1


def test_a_sidecar_is_named_by_its_transport_and_workers() -> None:
    assert Variant("native").name == "native"
    assert Variant("native", workers=2).name == "native x2"


def test_the_responses_own_bytes_are_its_body_and_its_fields() -> None:
    assert store_costs.own_bytes() == 100 + len("content-typeapplication/json") + len("content-length100")


def test_a_machine_is_described_in_a_few_words() -> None:
    described = machine.describe()

    assert int(described["processors"]) >= 1
    assert described["memory"].endswith(" GiB")
    assert {
        "grpcio",
        "msgspec",
        "rfc8785",
        "protobuf",
        "idemkit",
        "idemgate",
        "express",
    } <= machine.versions().keys()


def test_a_run_names_the_commit_that_it_measured(tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    file = tmp_path / "a"
    file.touch()
    for arguments in (["init", "--quiet"], ["add", "a"], ["commit", "--quiet", "--message=a"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)

    clean = machine.commit(tmp_path)
    file.write_text("changed")

    assert re.fullmatch(r"[0-9a-f]{7,}", clean)
    assert machine.commit(tmp_path) == f"{clean}-dirty"


def test_without_git_or_a_repository_the_commit_is_unknown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert machine.commit(tmp_path) == "unknown"

    monkeypatch.setenv("PATH", "/nowhere")
    assert machine.commit() == "unknown"


def test_a_compiler_that_is_not_there_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(environments, "_CACHE", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")

    for attempt in (environments.cpp_noop, environments.express):
        with pytest.raises(UnavailableError, match=r"not installed \(Debian's package"):
            asyncio.run(attempt())


def test_an_installation_that_fails_says_what_the_installer_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "npm"
    program.write_text("#!/bin/sh\necho 404 not found >&2\nexit 1\n")
    program.chmod(0o755)
    (tmp_path / "node").symlink_to(program)
    monkeypatch.setattr(environments, "_CACHE", tmp_path / "cache")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    with pytest.raises(UnavailableError, match="express cannot be set up here: 404 not found"):
        asyncio.run(environments.express())
