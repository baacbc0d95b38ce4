"""A run: every batch of a plan, the figures, the verdicts."""

import datetime as dt
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce

from bench import at_rate, bounds, machine, memory, plan, store_costs
from bench.bounds import Verdict
from bench.figures import Figures, Measured, derive
from bench.interleaving import Batch, Campaign, Samples, joined
from bench.load.wrk import find_wrk
from bench.measure import Meter
from bench.memory import MemoryUse
from bench.peers import starting
from bench.plan import Plan
from bench.point import Point, Scenario
from bench.results import PacedResult, PointResult, Results, load_soak, summarise
from bench.rig import Rig, running
from bench.spread import Spread
from bench.store_costs import StoreCosts

_FULL_ONLY = (bounds.SOAK_SLOPE,)
"""Bounds that the short form says nothing of: it holds no soak."""


async def carry_out(rig: Rig, chosen: Plan, say: Callable[[str], None]) -> Results:
    """Do all that a plan asks for.

    Raises:
        UnavailableError: There is no wrk: nothing can be measured.
    """
    find_wrk()
    begun, described, commit = time.monotonic(), machine.describe(), machine.commit()
    campaign = Campaign(rig, Meter(rig), say)
    costs, uses = await _costs(campaign, chosen), await _uses(campaign, chosen)
    samples: dict[str, Samples] = {}
    for batch in chosen.batches:
        taken = await _taken(campaign, batch)
        samples[batch.title] = joined(samples[batch.title], taken) if batch.title in samples else taken
    paced_results = await _paced(campaign, chosen)
    core, keyless = samples[plan.CORE], samples[plan.KEYLESS]
    added = samples.get(plan.ADDED, core)  # the short form has no rounds of its own for it
    measured = Measured(chosen.transports[0], core, added, keyless, campaign.skipped)
    figures = derive(measured, costs, uses)
    _add_soak(figures)
    return Results(
        form=chosen.form,
        taken=now(),
        seconds=round(time.monotonic() - begun),
        machine=described,
        versions=machine.versions(),
        bounds=_verdicts(figures, chosen),
        points=_points(samples),
        paced=paced_results,
        store=costs,
        memory=uses,
        figures=figures.values,
        skipped=campaign.skipped,
        commit=commit,
    )


async def _taken(campaign: Campaign, batch: Batch) -> Samples:
    """The samples of a batch, on the rig of the run or on its own."""
    if not batch.stacks:
        return await campaign.run(batch)
    taken: list[Samples] = []
    for _ in range(batch.stacks):
        async with running() as rig:
            taken.append(await replace(campaign, rig=rig, meter=Meter(rig)).run(batch))
    return reduce(joined, taken)


def now() -> str:
    """The time in UTC, to the minute."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M")


def _points(samples: Mapping[str, Samples]) -> tuple[PointResult, ...]:
    return tuple(itertools.chain.from_iterable(summarise(title, batch) for title, batch in samples.items()))


def _verdicts(figures: Figures, chosen: Plan) -> tuple[Verdict, ...]:
    """The short form looks at less, and at nothing of the past."""
    if chosen.form == "full":
        return bounds.judge(figures.values, figures.reasons)
    return bounds.judge(figures.values, figures.reasons, noise=bounds.NOISE, without=_FULL_ONLY)


def _add_soak(figures: Figures) -> None:
    soak = load_soak()
    if soak is None:
        figures.reasons[bounds.SOAK_SLOPE] = "there was no soak yet: make soak"
    else:
        figures.values[bounds.SOAK_SLOPE] = Spread.of([soak.slope_mib_per_h])


async def _paced(campaign: Campaign, chosen: Plan) -> tuple[PacedResult, ...]:
    """Latency at a fixed rate, in a campaign that is measured otherwise and leaves out into the same list."""
    if chosen.paced is None:
        return ()
    paced = Campaign(campaign.rig, at_rate.PacedMeter(), campaign.say, campaign.skipped)
    return at_rate.conclude(await paced.run(chosen.paced))


async def _costs(campaign: Campaign, chosen: Plan) -> tuple[StoreCosts, ...]:
    """What the store is asked; first of all, while nothing else is there that could ask it something."""
    peers = (starting.IDEMKIT, starting.IDEMGATE, starting.NODE_IDEMPOTENCY)
    names = (*chosen.transports, *peers) if chosen.thorough else chosen.transports[:1]
    costs = []
    for name in names:
        with campaign.skipping(name):
            subject = await plan.start_of(name)(campaign.rig)
            costs.append(await store_costs.measure(subject, campaign.rig.store_url))
    campaign.say("store costs: done")
    return tuple(costs)


async def _uses(campaign: Campaign, chosen: Plan) -> tuple[MemoryUse, ...]:
    uses = []
    for name in chosen.transports if chosen.thorough else chosen.transports[:1]:
        with campaign.skipping(name):
            subject = await campaign.warm(plan.start_of(name), Point(name, Scenario.NEW))
            uses.append(await memory.measure(subject, "memory"))
    campaign.say("memory: done")
    return tuple(uses)
