"""Searching for violations: many schedules from one seed, on as many processes as there are cores.

A process is started afresh for each share of the seeds, and not forked: the test run that starts it may have
threads. What comes back is plain data.
"""

import os
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from multiprocessing import get_context

from tests.simulation.drawing import draw
from tests.simulation.plan import Plan
from tests.simulation.policies import ROWS
from tests.simulation.violation import Violation
from tests.simulation.world import REAL, Product, World

SHARE = 1_000
"""Seeds that a process takes at a time."""


@dataclass(slots=True)
class Findings:
    """What a search met: the seeds that broke a rule, and what the others consisted of."""

    schedules: int = 0
    violations: dict[int, str] = field(default_factory=dict)
    met: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Findings") -> None:
        """Take in what another search met."""
        self.schedules += other.schedules
        self.violations.update(other.violations)
        self.met.update(other.met)


def violation_of(plan: Plan, product: Product = REAL, trace: list[str] | None = None) -> Violation | None:
    """What a plan leads to that no plan may lead to."""
    try:
        World(plan, product, trace).run()
    except Violation as violation:
        return violation
    return None


def search(seeds: Iterable[int]) -> Findings:
    """Run the schedule of each seed."""
    findings = Findings()
    for seed in seeds:
        plan = draw(seed)
        findings.schedules += 1
        findings.met[plan.row] += 1
        try:
            findings.met.update(World(plan).run())
        except Violation as violation:
            findings.violations[seed] = str(violation)
    return findings


def search_everywhere(base: int, schedules: int) -> Findings:
    """The schedules of the seeds from `base` on, on every core."""
    shares = [
        range(seed, min(seed + SHARE, base + schedules)) for seed in range(base, base + schedules, SHARE)
    ]
    findings = Findings()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for found in pool.map(search, shares):
            findings.add(found)
    return findings


def schedules_until(
    product: Product, base: int, most: int, rows: tuple[str, ...] = tuple(ROWS)
) -> tuple[int, Plan, Violation] | None:
    """How many schedules it takes to find that something is wrong with this product, and what was found."""
    for number, seed in enumerate(islice(count(base), most), 1):
        plan = draw(seed, rows)
        violation = violation_of(plan, product)
        if violation is not None:
            return number, plan, violation
    return None
