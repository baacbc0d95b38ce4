"""Many measurements of one thing as few numbers: median and extremes, paired ratios, a fitted line."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and most of some rounds, to five significant digits: what follows them is noise."""

    median: float
    least: float
    most: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value.

        Raises:
            ValueError: There is none.
        """
        if not values:
            raise ValueError("no rounds, no median")
        median, least, most = map(significant, (statistics.median(values), min(values), max(values)))
        return cls(median, least, most, len(values))

    def __str__(self) -> str:
        return f"{self.median:.4g} ({self.least:.4g} to {self.most:.4g} in {self.rounds} rounds)"


def significant(value: float) -> float:
    """The value to five significant digits."""
    return float(f"{value:.{_DIGITS}g}")


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Each round's own ratio: what both sides of a round have in common, such as a busy machine, cancels.

    Raises:
        ValueError: The sides have not as many rounds as each other, or none.
    """
    if not numerators or len(numerators) != len(denominators):
        raise ValueError(f"{len(numerators)} rounds cannot be paired with {len(denominators)}")
    return [above / below for above, below in zip(numerators, denominators, strict=True)]


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Of the line fitted by least squares: how much the value rises in one unit of time."""
    return statistics.linear_regression(times, values).slope
