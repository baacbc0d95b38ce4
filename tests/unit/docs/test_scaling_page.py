"""The page about scaling: its figures follow from the results, the committed page from the committed ones."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from docs import scaling
from docs.scaling import Costs, Load, ResultsError

there_are_results = pytest.mark.skipif(
    not scaling.RESULTS.exists(), reason="there are no results: make bench"
)


def point(subject: str, scenario: str, at_once: int = 32, rate: float = 3_000, **cpu_us: float) -> Any:
    def spread(value: float) -> dict[str, float]:
        return {"median": value, "least": value - 1, "most": value + 1}

    where = {"subject": subject, "scenario": scenario, "size": 100, "concurrency": at_once, "http": 1}
    cpu = {role: spread(value) for role, value in cpu_us.items()}
    return {"point": where, "rate": spread(rate), "cpu_us": cpu}


def results(transport: str = "native") -> dict[str, Any]:
    large = point(transport, "new", processor=9_999, envoy=9_999, valkey=9_999)
    large["point"]["size"] = 10_000
    two = f"{transport} x2"
    return {
        "taken": "2026-01-02 03:04",
        "machine": {"processor": "Abacus", "processors": "2"},
        "points": [
            large,
            point("alone", "new", envoy=50, valkey=0.1, upstream=10),
            point("alone", "new", at_once=1, envoy=160, valkey=0.4),
            point(transport, "new", rate=3_300, processor=120, envoy=150, valkey=60),
            point(transport, "new", at_once=1, rate=900, processor=400, envoy=450, valkey=150),
            point(transport, "replay", processor=90, envoy=100, valkey=30),
            point(two, "new", rate=3_100, processor=180, envoy=210, valkey=90),
            point(two, "new", at_once=256, rate=3_700, processor=126, envoy=225, valkey=66),
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


def row_of(page: str, start: str) -> list[str]:
    row = next(line for line in page.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_ends_are_what_small_bodies_cost_at_32_at_once_and_at_one(file: Path) -> None:
    costs = read(file, results())

    assert costs.transport == "native"
    assert costs.coalesced == Load(sidecar=120, envoy=150, store=60, rate=3_300)
    assert costs.alone == Load(sidecar=400, envoy=450, store=150, rate=900)
    assert (costs.replay.sidecar, costs.replay.store) == (90, 30)
    assert (costs.plain.envoy, costs.plain_alone.envoy) == (50, 160)
    assert costs.bytes_new == 800


def test_a_record_is_reckoned_with_the_tables_that_memory_usage_leaves_out(file: Path) -> None:
    assert read(file, results()).record == 300 + 39 + scaling.RESPONSE_BYTES


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
    assert row_of(scaling.render(read(file, results())), "1 000 000") == [
        "1 000 000",
        "200 to 667",  # 120 and 400 s of CPU a second ÷ 0.6
        "250 to 750",
        "100 to 250",
        "88, 2 110",  # what follows ÷ 32 GiB
        "2.75 TiB, 65.9 TiB",  # 1e6 · 3 600 · 839 B, and 24 times that
        "1 GB/s",  # 1e6 · (500 + 500) B
        "800 MB/s",
        "400 to 1 334",
        "100, 4.74",  # 2e6 ÷ (200 · 100), for 100 shards are more than 88; 2e6 ÷ (200 · 2 110)
        "high, high",
    ]


def test_a_figure_that_is_the_same_at_both_ends_is_told_once(file: Path) -> None:
    assert row_of(scaling.render(read(file, results())), "1 000")[1:4] == ["1", "1", "1"]


@pytest.mark.parametrize(
    ("commands", "nearer"),
    [(2_500, "low"), (2_499, "between"), (250, "between"), (249, "high")],
)
def test_low_holds_where_a_turn_of_the_loop_has_two_commands_for_a_shard(
    file: Path, commands: float, nearer: str
) -> None:
    costs = read(file, results())

    assert costs.company == 2_500, "1 s ÷ 400 µs"
    assert costs.nearer(commands) == nearer


def test_a_store_that_needs_more_shards_for_its_memory_leaves_fewer_commands_to_each(file: Path) -> None:
    costs = read(file, results())

    assert costs.commands(10_000, ttl_s=60) == 2 * 10_000 / (2 * 1)
    assert costs.commands(10_000, ttl_s=86_400) == 2 * 10_000 / (2 * 22)


def test_what_was_measured_is_shown_with_its_place_in_the_results(file: Path) -> None:
    page = scaling.render(read(file, results()))

    place = "`native`, `native x2`: new, `processor`"
    assert row_of(page, "sidecar, new key") == ["sidecar, new key", "120", "400", "180", "126", place]
    assert row_of(page, "store, new key")[1:5] == ["60", "150", "90", "66"]
    assert row_of(page, "Envoy without it")[1:5] == ["50", "160", "-", "-"]
    assert row_of(page, "commands a second on a connection")[1:5] == ["6 600", "1 800", "3 100", "3 700"]
    assert "| round trips to the store, new key | 2 | `roundtrips_new` |" in page
    assert "2026-01-02 03:04 UTC on Abacus, 2 processors" in page


def test_what_two_workers_cost_is_told_as_a_multiple_of_what_the_model_assumes(file: Path) -> None:
    page = scaling.render(read(file, results()))

    assert "sidecar 1.50, store 1.50, Envoy 1.40 with 32 at once" in page
    assert "sidecar 1.05, store 1.10, Envoy 1.50 with 256 at once" in page


def test_no_placeholder_is_left(file: Path) -> None:
    page = scaling.render(read(file, results()))

    assert "{{" not in page
    assert "}}" not in page


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("points", "no new of native, 32 at once, in the results; run `make bench`"),
        ("store", "no costs of the store in the results; run `make bench`"),
    ],
)
def test_results_that_lack_what_it_needs_are_refused(file: Path, missing: str, said: str) -> None:
    with pytest.raises(ResultsError) as refused:
        read(file, {**results(), missing: []})

    assert str(refused.value) == said


@pytest.mark.parametrize(("subject", "at_once"), [("native", 1), ("native x2", 32), ("alone", 1)])
def test_results_that_lack_an_end_or_the_two_workers_are_refused(
    file: Path, subject: str, at_once: int
) -> None:
    content = results()
    content["points"] = [
        one
        for one in content["points"]
        if (one["point"]["subject"], one["point"]["concurrency"]) != (subject, at_once)
    ]

    with pytest.raises(ResultsError, match=f"no new of {subject}, {at_once} at once, in the results"):
        read(file, content)


def test_without_results_it_says_how_to_have_some(file: Path) -> None:
    with pytest.raises(ResultsError, match=r"there is no .*latest\.json; run `make bench`"):
        Costs.read(file)


@there_are_results
def test_high_is_never_below_low_in_the_committed_results() -> None:
    costs = Costs.read()

    for process in ("sidecar", "envoy", "store"):
        assert getattr(costs.alone, process) >= getattr(costs.coalesced, process), process


@there_are_results
def test_the_committed_table_has_its_low_and_high_from_the_points_of_the_committed_results() -> None:
    points = json.loads(scaling.RESULTS.read_bytes())["points"]
    sidecar = {
        at_once: next(
            point["cpu_us"]["processor"]["median"]
            for point in points
            if point["point"]
            == {"subject": "native", "scenario": "new", "size": 100, "concurrency": at_once, "http": 1}
        )
        for at_once in (32, 1)
    }
    low, high = (math.ceil(1e6 * cpu_us / 1e6 / 0.6) for cpu_us in sidecar.values())

    page = Path("docs/scaling.md").read_text(encoding="utf-8")
    assert row_of(page, "1 000 000")[1] == f"{low:,} to {high:,}".replace(",", " ")
    assert row_of(page, "sidecar, new key")[1:3] == [f"{cpu_us:.0f}" for cpu_us in sidecar.values()]


@there_are_results
def test_the_committed_page_is_made_of_the_committed_results() -> None:
    committed = Path("docs/scaling.md").read_text(encoding="utf-8")

    assert committed == scaling.render(Costs.read()), "run `make docs`"
