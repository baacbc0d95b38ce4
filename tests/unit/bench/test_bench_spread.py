"""Medians, ratios and lines."""

import pytest

from bench.spread import Spread, ratios, significant, slope


def test_a_spread_is_the_median_with_its_extremes() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)


def test_one_outlier_does_not_move_the_median() -> None:
    assert Spread.of([1.0, 1.1, 0.9, 50.0, 1.0]).median == 1.0


def test_an_even_number_of_rounds_has_its_median_in_between() -> None:
    assert Spread.of([1.0, 2.0]).median == 1.5


def test_no_rounds_have_no_spread() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        Spread.of([])


def test_a_spread_keeps_five_digits() -> None:
    assert Spread.of([1 / 3]).median == 0.33333
    assert significant(123456.7) == 123460.0


def test_a_spread_is_printed_with_its_extremes_and_rounds() -> None:
    assert str(Spread.of([0.251, 0.2, 0.3])) == "0.251 (0.2 to 0.3 in 3 rounds)"


def test_a_ratio_is_taken_round_by_round_so_that_a_slow_round_cancels() -> None:
    ours, theirs = [100.0, 300.0], [200.0, 600.0]

    assert ratios(ours, theirs) == [0.5, 0.5]


@pytest.mark.parametrize(("above", "below"), [([1.0], [1.0, 2.0]), ([], [])])
def test_rounds_that_do_not_pair_are_refused(above: list[float], below: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        ratios(above, below)


def test_the_slope_of_a_line_is_found_through_noise() -> None:
    times = [0.0, 1.0, 2.0, 3.0, 4.0]
    noisy = [10.1, 11.9, 14.1, 15.9, 18.0]

    assert slope(times, noisy) == pytest.approx(2.0, abs=0.05)


def test_what_does_not_grow_has_no_slope() -> None:
    assert slope([0.0, 1.0, 2.0], [5.0, 5.0, 5.0]) == 0
