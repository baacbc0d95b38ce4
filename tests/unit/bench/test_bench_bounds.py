"""Which bounds hold, and what is said of them."""

import pytest

from bench import bounds
from bench.bounds import BOUNDS, Bound, Side, judge, line, misses
from bench.spread import Spread
from tests.unit.bench.fabricated_results import HOLDING, spreads


def test_every_figure_has_a_bound_of_its_name() -> None:
    assert {bound.figure for bound in BOUNDS} == HOLDING.keys()


def test_figures_on_their_limits_hold() -> None:
    verdicts = judge(spreads(), {})

    assert all(verdict.passed for verdict in verdicts)
    assert misses(verdicts, without_peers=False) == []


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("new_vs_noop", 0.36),
        ("keyless_vs_plain", 0.96),
        ("roundtrips_new", 2.05),
        ("record_overhead_bytes", 401),
        ("soak_slope_mib_per_h", 1.0),
    ],
)
def test_a_figure_beyond_its_limit_is_a_miss(figure: str, value: float) -> None:
    verdicts = judge(spreads(**{figure: value}), {})

    assert [missed.figure for missed in misses(verdicts, without_peers=False)] == [figure]


def test_the_median_decides_not_the_extremes() -> None:
    figures = spreads() | {"new_vs_noop": Spread.of([0.2, 0.3, 0.9])}

    assert misses(judge(figures, {}), without_peers=False) == []


def test_the_comparison_with_cpp_is_only_told() -> None:
    verdicts = judge(spreads(new_vs_cpp_noop=3.0), {})

    assert misses(verdicts, without_peers=False) == []
    assert line(verdicts[-1]).startswith("over new_vs_cpp_noop")


def test_the_short_form_allows_a_quarter_more_or_less_by_the_side_of_the_limit() -> None:
    at_most = Bound("a", "", Side.AT_MOST, 0.4)
    at_least = Bound("b", "", Side.AT_LEAST, 1.0)

    assert at_most.limit_with(bounds.NOISE) == 0.5
    assert at_least.limit_with(bounds.NOISE) == 0.8


def test_what_is_counted_is_not_noisy() -> None:
    verdicts = judge(spreads(roundtrips_new=2.2, new_vs_noop=0.42), {}, noise=bounds.NOISE)

    assert [missed.figure for missed in misses(verdicts, without_peers=False)] == ["roundtrips_new"]


def test_a_comparison_with_a_peer_that_is_not_there_says_why_and_misses_only_a_full_run() -> None:
    figures = spreads()
    del figures["added_vs_idemkit"]
    verdicts = judge(figures, {"added_vs_idemkit": "pip is not there"})

    assert [missed.figure for missed in misses(verdicts, without_peers=False)] == ["added_vs_idemkit"]
    assert misses(verdicts, without_peers=True) == []
    assert "not measured: pip is not there" in "\n".join(map(line, verdicts))


@pytest.mark.parametrize("figure", sorted(HOLDING.keys() - {"added_vs_idemkit", "new_vs_cpp_noop"}))
def test_every_other_figure_misses_where_it_was_not_measured(figure: str) -> None:
    figures = spreads()
    del figures[figure]

    assert [missed.figure for missed in misses(judge(figures, {}), without_peers=True)] == [figure]


def test_a_comparison_with_a_peer_that_is_there_misses_like_any_other() -> None:
    verdicts = judge(spreads(added_vs_idemkit=1.3), {}, noise=bounds.NOISE)

    assert [missed.figure for missed in misses(verdicts, without_peers=True)] == ["added_vs_idemkit"]


def test_a_form_may_leave_a_figure_out() -> None:
    judged = judge({}, {}, without=("soak_slope_mib_per_h",))

    assert "soak_slope_mib_per_h" not in {verdict.figure for verdict in judged}
    assert len(judged) == len(BOUNDS) - 1


def test_a_line_tells_outcome_figure_bound_and_spread() -> None:
    (verdict, *_) = judge({"new_vs_noop": Spread(0.4, 0.38, 0.41, 5)}, {})

    assert line(verdict).split() == ["MISS", "new_vs_noop", "≤", "0.35", "0.4", "(0.38", "to", "0.41)"]
