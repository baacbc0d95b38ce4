"""Results are kept and read again."""

import json
from pathlib import Path

import pytest

from bench import results as kept
from bench.bounds import judge
from bench.errors import BenchError
from bench.point import Point, Scenario
from bench.spread import Spread
from bench.subject import Role
from tests.unit.bench.fabricated_results import results, sample, soak


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "latest.json"

    kept.save(results(), file)

    assert kept.load(file) == results()


def test_files_from_before_commits_were_recorded_are_read_as_they_are(tmp_path: Path) -> None:
    file, soak_file = tmp_path / "latest.json", tmp_path / "soak.json"
    kept.save(results(), file)
    kept.save_soak(soak(), soak_file)
    for path in (file, soak_file):
        fields = json.loads(path.read_text())
        del fields["commit"]
        for result in fields.get("paced", ()):
            del result["scenario"], result["added_p50_us"], result["added_p99_us"]
        path.write_text(json.dumps(fields))

    (first, *_) = kept.load(file).paced
    assert (first.scenario, first.added_p50_us) == (Scenario.NEW, None)
    assert kept.load(file).commit == ""
    assert kept.load_soak(soak_file) == soak()


def test_the_file_names_each_bound_with_value_and_verdict(tmp_path: Path) -> None:
    file = tmp_path / "latest.json"
    kept.save(results(), file)
    text = file.read_text(encoding="utf-8")

    first = json.loads(text)["bounds"][0]
    assert first.items() >= {"figure": "new_vs_noop", "value": 0.25, "bound": 0.35, "pass": True}.items()


def test_a_soak_is_kept_as_well(tmp_path: Path) -> None:
    file = tmp_path / "soak.json"
    assert kept.load_soak(file) is None

    kept.save_soak(soak(), file)

    assert kept.load_soak(file) == soak()


def test_without_results_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="make bench"):
        kept.load(tmp_path / "latest.json")


@pytest.mark.parametrize("load", [kept.load, kept.load_soak])
def test_results_of_another_version_are_refused(load: object, tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text('{"form": "full"}')

    with pytest.raises(BenchError, match="not written by this version"):
        load(file)  # type: ignore[operator] # one of the two functions above


def test_rounds_become_spreads() -> None:
    point = Point("native", Scenario.NEW)

    (result,) = kept.summarise(
        "core", {point: [sample(rate=100, processor=10), sample(rate=300, processor=30)]}
    )

    assert (result.batch, result.point) == ("core", point)
    assert result.rate == Spread(200, 100, 300, 2)
    assert result.cpu_us == {Role.PROCESSOR: Spread(20, 10, 30, 2)}
    assert result.p50_us == Spread(900, 900, 900, 2)


def test_a_generator_without_percentiles_gives_none() -> None:
    (result,) = kept.summarise("h2", {Point("native", Scenario.KEYLESS, http=2): [sample(p50_us=None)]})

    assert result.p50_us is None
    assert result.p99_us is None


def test_a_later_soak_replaces_its_verdict_and_no_other() -> None:
    before = results()
    (verdict,) = (
        found
        for found in judge({"soak_slope_mib_per_h": Spread.of([0.5])}, {})
        if found.figure == "soak_slope_mib_per_h"
    )

    after = before.with_verdict(verdict)

    changed = [new for old, new in zip(before.bounds, after.bounds, strict=True) if old != new]
    assert changed == [verdict]
