"""A run: every batch of a plan, the figures, the verdicts."""

import datetime as dt
import itertools
import time
from collections.abc import Callable, Mapping, Sequence

from bench import bounds, machine, memory, plan, store_costs
from bench.bounds import Verdict
from bench.figures import Figures, Measured, derive
from bench.interleaving import Campaign, Samples, joined
from bench.load import paced
from bench.load.client import Connection
from bench.load.outcome import Outcome
from bench.load.wrk import find_wrk
from bench.measure import Meter
from bench.memory import MemoryUse
from bench.peers import starting
from bench.plan import Plan
from bench.point import Point, Scenario
from bench.results import PacedResult, PointResult, Results, load_soak, summarise
from bench.rig import ALONE, NOOP, Rig
from bench.spread import Spread
from bench.store_costs import StoreCosts
from bench.upstream import body_of

PACED_RATE = 200
"""Requests a second: what every subject takes without effort."""
_PACED_S = 4
_FULL_ONLY = (bounds.SOAK_SLOPE, bounds.GRPCIO_NEW_VS_NOOP)
"""Bounds that the short form says nothing of: it holds no soak, and measures the first transport alone."""


async def carry_out(rig: Rig, chosen: Plan, say: Callable[[str], None]) -> Results:
    """Do all that a plan asks for.

    Raises:
        UnavailableError: There is no wrk: nothing can be measured.
    """
    find_wrk()
    begun, described = time.monotonic(), machine.describe()
    campaign = Campaign(rig, Meter(rig), say)
    costs, uses = await _costs(campaign, chosen), await _uses(campaign, chosen)
    samples: dict[str, Samples] = {}
    for batch in chosen.batches:
        taken = await campaign.run(batch)
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
    )


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
    """Latency of new keys where nothing is busy: what one request waits, not what the machine can take."""
    taken: dict[str, list[list[float]]] = {}
    for number in range(chosen.paced_rounds):
        for name in (ALONE, NOOP, *chosen.transports):
            with campaign.skipping(name):
                subject = await plan.start_of(name)(campaign.rig)
                delays = await _paced_burst(subject.url, f"paced-{number}-")
                taken.setdefault(name, []).append(delays)
        campaign.say(f"latency at {PACED_RATE}/s: round {number + 1} of {chosen.paced_rounds}")
    return tuple(_paced_result(name, bursts) for name, bursts in taken.items())


async def _paced_burst(url: str, keys: str) -> list[float]:
    body = body_of(100)

    def send(connection: Connection, number: int) -> None:
        connection.send("/100/call", f"{keys}{number}", body)

    return await paced.latencies(url, send, rate=PACED_RATE, seconds=_PACED_S)


def _paced_result(name: str, bursts: Sequence[Sequence[float]]) -> PacedResult:
    outcomes = [Outcome.of_latencies(burst, _PACED_S) for burst in bursts]
    p50, p99 = (
        Spread.of([value for value in values if value is not None])
        for values in zip(*((outcome.p50_us, outcome.p99_us) for outcome in outcomes), strict=True)
    )
    return PacedResult(name, PACED_RATE, p50, p99)


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
