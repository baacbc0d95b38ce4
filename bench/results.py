"""The results as they are kept: `latest.json` of the last full run, a file of the last soak at each load."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bench.bounds import Verdict
from bench.errors import BenchError
from bench.interleaving import Samples, Skip
from bench.memory import MemoryUse
from bench.point import Point, Scenario
from bench.spread import Spread
from bench.store_costs import StoreCosts
from bench.subject import Role

RESULTS = Path(__file__).parent / "results"
LATEST = RESULTS / "latest.json"
SOAK = RESULTS / "soak.json"
HALF_LOAD, FULL_LOAD = 0.5, 1.0
SOAKS = {HALF_LOAD: SOAK, FULL_LOAD: RESULTS / "soak_full_load.json"}
"""Where the last soak at each load is kept. The bound is for half of it."""


@dataclass(frozen=True, slots=True)
class PointResult:
    """What all rounds at a point came to: requests/s, latencies and CPU per request in microseconds."""

    batch: str
    point: Point
    rate: Spread
    p50_us: Spread | None
    p99_us: Spread | None
    cpu_us: dict[Role, Spread]


@dataclass(frozen=True, slots=True)
class PacedResult:
    """Latency at a fixed rate, in microseconds."""

    subject: str
    rate: float
    p50_us: Spread
    p99_us: Spread
    scenario: Scenario = Scenario.NEW
    added_p50_us: Spread | None = None
    """How much it is above that of Envoy alone in the same round; None where that was not taken."""
    added_p99_us: Spread | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """A whole run."""

    form: str
    taken: str
    """When, in UTC, to the minute."""
    seconds: int
    machine: dict[str, str]
    versions: dict[str, str]
    bounds: tuple[Verdict, ...]
    points: tuple[PointResult, ...]
    paced: tuple[PacedResult, ...] = ()
    store: tuple[StoreCosts, ...] = ()
    memory: tuple[MemoryUse, ...] = ()
    figures: dict[str, Spread] = field(default_factory=dict)
    skipped: dict[str, Skip] = field(default_factory=dict)
    commit: str = ""
    """What was measured, as `git describe` names it; empty: not recorded."""

    @property
    def failures(self) -> dict[str, Skip]:
        """What was there and did not do what it should."""
        return {what: skip for what, skip in self.skipped.items() if skip.failed}

    def with_verdict(self, verdict: Verdict) -> "Results":
        """The same run with one verdict replaced: a soak that came after it."""
        return replace(
            self, bounds=tuple(verdict if old.figure == verdict.figure else old for old in self.bounds)
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """The sidecar's memory and descriptors at a moment of a soak."""

    seconds: float
    rss_mib: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class SoakResult:
    """A soak: load for a long time, and whether anything grew."""

    taken: str
    transport: str
    minutes: float
    rate: float
    """Requests a second that were due: `load` of what it could take."""
    requests: int
    warm_up_s: float
    """What the fitted lines leave out."""
    slope_mib_per_h: float
    descriptors_per_h: float
    readings: tuple[Reading, ...]
    load: float = HALF_LOAD
    commit: str = ""
    """What was soaked, as `git describe` names it; empty: not recorded."""


def summarise(batch: str, samples: Samples) -> tuple[PointResult, ...]:
    """The rounds of a batch as spreads."""
    return tuple(
        PointResult(
            batch,
            point,
            Spread.of([sample.rate for sample in rounds]),
            _latency([sample.outcome.p50_us for sample in rounds]),
            _latency([sample.outcome.p99_us for sample in rounds]),
            {role: Spread.of([sample.cpu_us[role] for sample in rounds]) for role in rounds[0].cpu_us},
        )
        for point, rounds in samples.items()
        if rounds
    )


def _latency(values: list[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return Spread.of(known) if known else None


_RESULTS = TypeAdapter(Results)
_SOAK = TypeAdapter(SoakResult)


def save(results: Results, file: Path = LATEST) -> None:
    """Write the results of a run."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(_RESULTS.dump_json(results, indent=1, by_alias=True) + b"\n")


def load(file: Path = LATEST) -> Results:
    """Read them.

    Raises:
        BenchError: They are not there, or not of this version.
    """
    try:
        return _RESULTS.validate_json(file.read_bytes())
    except FileNotFoundError:
        raise BenchError(f"there are no results in {file}; run `make bench`") from None
    except ValidationError as error:
        raise BenchError(f"{file} was not written by this version; run `make bench`: {error}") from None


def save_soak(result: SoakResult, file: Path = SOAK) -> None:
    """Write the result of a soak."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(_SOAK.dump_json(result, indent=1) + b"\n")


def load_soak(file: Path = SOAK) -> SoakResult | None:
    """Read it; None where there has been no soak.

    Raises:
        BenchError: It is not of this version.
    """
    if not file.exists():
        return None
    try:
        return _SOAK.validate_json(file.read_bytes())
    except ValidationError as error:
        raise BenchError(f"{file} was not written by this version; run `make soak`: {error}") from None
