"""The page about scaling: its figures follow from the results, the committed page from the committed ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from docs import scaling
from docs.scaling import Costs, ResultsError


def point(subject: str, scenario: str, **cpu_us: float) -> dict[str, Any]:
    where = {"subject": subject, "scenario": scenario, "size": 100, "concurrency": 32, "http": 1}
    return {
        "point": where,
        "cpu_us": {role: {"median": value, "least": value, "most": value} for role, value in cpu_us.items()},
    }


def results(transport: str = "native") -> dict[str, Any]:
    large = point(transport, "new", processor=9_999, envoy=9_999, valkey=9_999)
    large["point"]["size"] = 10_000
    return {
        "taken": "2026-01-02 03:04",
        "machine": {"processor": "Abacus", "processors": "2"},
        "points": [
            large,
            point("alone", "new", envoy=50, upstream=10),
            point(transport, "new", processor=120, envoy=150, valkey=60),
            point(transport, "replay", processor=90, envoy=100, valkey=30),
        ],
        "store": [
            {
                "subject": transport,
                "roundtrips_new": 2,
                "roundtrips_replay": 1,
                "bytes_new": 800,
                "bytes_replay": 400,
                "record_overhead_bytes": 300,
            }
        ],
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "latest.json"


def read(file: Path, content: dict[str, Any]) -> Costs:
    file.write_text(json.dumps(content))
    return Costs.read(file)


def test_the_costs_are_those_of_small_bodies_at_the_usual_concurrency(file: Path) -> None:
    costs = read(file, results())

    assert (costs.transport, costs.sidecar_new, costs.sidecar_replay) == ("native", 120, 90)
    assert (costs.envoy_new, costs.envoy_alone) == (150, 50)
    assert (costs.store_new, costs.store_replay, costs.bytes_new) == (60, 30, 800)
    assert costs.record == 300 + scaling.RESPONSE_BYTES


def test_the_transport_is_the_fastest_that_was_measured(file: Path) -> None:
    both = results("grpcio")
    both["points"] += results("native")["points"]

    assert read(file, both).transport == "native"
    assert read(file, results("grpcio")).transport == "grpcio"


def test_cores_are_planned_to_be_three_fifths_busy(file: Path) -> None:
    costs = read(file, results())

    assert costs.per_core(120) == 5_000, "0.6 s of CPU a second, 120 µs each"
    assert costs.cores(5_000, 120) == 1
    assert costs.cores(5_001, 120) == 2
    assert costs.cores(1_000_000, 120) == 200


def test_every_figure_of_the_table_follows_from_the_costs(file: Path) -> None:
    row = next(
        line
        for line in scaling.render(read(file, results())).splitlines()
        if line.startswith("| 1 000 000 |")
    )

    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "1 000 000",
        "200",  # 120 s of CPU a second ÷ 0.6
        "250",
        "100",
        "800 MB/s",
        "2.62 TiB",  # 1e6 · 3 600 · 800 B
        "62.9 TiB",
        "84, 2 012",  # ÷ 32 GiB
        "400",
    ]


def test_what_was_measured_is_shown_with_its_place_in_the_results(file: Path) -> None:
    page = scaling.render(read(file, results()))

    assert "| sidecar, new key | 120 CPU µs | `native` new |" in page
    assert "| round trips to the store, new key | 2 | `roundtrips_new` |" in page
    assert "2026-01-02 03:04 UTC on Abacus, 2 processors" in page


def test_no_placeholder_is_left(file: Path) -> None:
    page = scaling.render(read(file, results()))

    assert "{{" not in page
    assert "}}" not in page


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("points", "no new of native in the results; run `make bench`"),
        ("store", "no costs of the store in the results; run `make bench`"),
    ],
)
def test_results_that_lack_what_it_needs_are_refused(file: Path, missing: str, said: str) -> None:
    with pytest.raises(ResultsError) as refused:
        read(file, {**results(), missing: []})

    assert str(refused.value) == said


def test_without_results_it_says_how_to_have_some(file: Path) -> None:
    with pytest.raises(ResultsError, match=r"there is no .*latest\.json; run `make bench`"):
        Costs.read(file)


@pytest.mark.skipif(not scaling.RESULTS.exists(), reason="there are no results: make bench")
def test_the_committed_page_is_made_of_the_committed_results() -> None:
    committed = Path("docs/scaling.md").read_text(encoding="utf-8")

    assert committed == scaling.render(Costs.read()), "run `make docs`"
