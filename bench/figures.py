"""From samples to the figures that are bounded. A ratio is taken in each round, then the median of those."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from bench import bounds
from bench.interleaving import Samples, Skip
from bench.memory import MemoryUse
from bench.peers.starting import FASTAPI, IDEMKIT
from bench.point import Point, Sample, Scenario
from bench.rig import ALONE, CPP_NOOP, NOOP
from bench.spread import Spread, ratios
from bench.store_costs import StoreCosts
from bench.subject import Role

_COUNTED = {bounds.ROUNDTRIPS_NEW, bounds.ROUNDTRIPS_REPLAY, bounds.RECORD_OVERHEAD, bounds.UPLOAD_RSS}


class MissingError(Exception):
    """A figure cannot be had, because the point that the message names was not measured."""


@dataclass
class Figures:
    """The figures, and for those that are missing why."""

    values: dict[str, Spread] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def put(self, name: str, take: Callable[[], Sequence[float]]) -> None:
        """Take a figure's rounds."""
        try:
            self.values[name] = Spread.of(take())
        except MissingError as missing:
            self.reasons[name] = str(missing)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the ratios are taken from."""

    transport: str
    """The one that figures are of where they name none."""
    core: Samples
    added: Samples
    """Those of which `added_vs_idemkit` is taken."""
    keyless: Samples
    skipped: Mapping[str, Skip]

    def samples(self, subject: str, scenario: Scenario = Scenario.NEW) -> list[Sample]:
        """The rounds of a point.

        Raises:
            MissingError: It was not measured.
        """
        point = Point(subject, scenario)
        found = self.core.get(point) or self.keyless.get(point)
        if not found:
            skip = self.skipped.get(subject) or self.skipped.get(point.name)
            raise MissingError(skip.reason if skip else f"no {point.name}")
        return found

    def cpu(
        self, subject: str, scenario: Scenario = Scenario.NEW, role: Role = Role.PROCESSOR
    ) -> list[float]:
        """CPU of a role per request, round by round."""
        return [sample.cpu_us[role] for sample in self.samples(subject, scenario)]


def derive(measured: Measured, costs: Sequence[StoreCosts], memory: Sequence[MemoryUse]) -> Figures:
    """Every figure but the soak's, which is a run of its own."""
    figures, first = Figures(), measured.transport
    for name, scenario in (
        (bounds.NEW_VS_NOOP, Scenario.NEW),
        (bounds.REPLAY_VS_NOOP, Scenario.REPLAY),
        (bounds.REPLAY_BODYLESS_VS_NOOP, Scenario.REPLAY_BODYLESS),
    ):
        figures.put(name, partial(_to, measured, NOOP, first, scenario))
    figures.put(bounds.GRPCIO_NEW_VS_NOOP, lambda: _to(measured, NOOP, "grpcio"))
    figures.put(bounds.NEW_VS_CPP_NOOP, lambda: _to(measured, CPP_NOOP, first))
    figures.put(bounds.KEYLESS_VS_PLAIN, lambda: _keyless(measured))
    figures.put(bounds.ADDED_VS_IDEMKIT, lambda: _added(replace(measured, core=measured.added)))
    figures.values |= _single_values(first, costs, memory)
    skip = measured.skipped.get(first)
    for name in _COUNTED - figures.values.keys():
        figures.reasons[name] = skip.reason if skip else "it was not measured"
    return figures


def _single_values(
    subject: str, costs: Sequence[StoreCosts], memory: Sequence[MemoryUse]
) -> dict[str, Spread]:
    """What is counted once, not timed in rounds."""
    found: dict[str, float] = {}
    for cost in costs:
        if cost.subject == subject:
            found[bounds.ROUNDTRIPS_NEW] = cost.roundtrips_new
            found[bounds.ROUNDTRIPS_REPLAY] = cost.roundtrips_replay
            found[bounds.RECORD_OVERHEAD] = cost.record_overhead_bytes
    for use in memory:
        if use.subject == subject:
            found[bounds.UPLOAD_RSS] = use.upload_rss_mib
    return {name: Spread.of([value]) for name, value in found.items()}


def _to(measured: Measured, base: str, ours: str, scenario: Scenario = Scenario.NEW) -> list[float]:
    """The sidecar's CPU against that of a no-op processor, whose four messages are one kind of request."""
    return ratios(measured.cpu(ours, scenario), measured.cpu(base))


def _keyless(measured: Measured) -> list[float]:
    ours, plain = (
        measured.samples(measured.transport, Scenario.KEYLESS),
        measured.samples(ALONE, Scenario.KEYLESS),
    )
    return ratios([sample.rate for sample in ours], [sample.rate for sample in plain])


def _added(measured: Measured) -> list[float]:
    """What the sidecar adds to Envoy alone, in both processes, against what idemkit adds to its service."""
    first = measured.transport
    with_sidecar = zip(measured.cpu(first), measured.cpu(first, role=Role.ENVOY), strict=True)
    plain = measured.cpu(ALONE, role=Role.ENVOY)
    ours = [sidecar + envoy - alone for (sidecar, envoy), alone in zip(with_sidecar, plain, strict=True)]
    idemkit, bare = measured.cpu(IDEMKIT, role=Role.APP), measured.cpu(FASTAPI, role=Role.APP)
    return ratios(ours, [with_it - without for with_it, without in zip(idemkit, bare, strict=True)])
