"""`only`: one figure, quickly: what a scenario takes on a transport, next to the no-op processor."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench.measure import Meter
from bench.point import Point, Sample, Scenario
from bench.rig import ALONE, NOOP, POLICIES, Rig, Variant
from bench.spread import Spread, ratios
from bench.subject import Role, Subject


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be measured."""

    scenario: Scenario
    transport: str
    rounds: int
    seconds: int
    size: int
    concurrency: int
    workers: int


async def ask(rig: Rig, question: Question, say: Callable[[str], None]) -> None:
    """Measure Envoy alone, the no-op processor and the sidecar in turn, and tell each round and the ratio.

    Raises:
        BenchError: Something was not answered as it should be.
        UnavailableError: There is no such transport.
    """
    meter = Meter(rig)
    policies = POLICIES.get(question.scenario, "")
    variant = Variant(question.transport, question.workers, policies)
    plain = Scenario.KEYLESS if question.scenario is Scenario.KEYLESS else Scenario.NEW
    turns = [
        (await rig.alone(), plain),
        (await rig.noop(), Scenario.NEW),
        (await rig.sidecar(variant), question.scenario),
    ]
    samples: dict[str, list[Sample]] = {subject.name: [] for subject, _ in turns}
    for number in range(question.rounds + 1):  # the first warms up
        for subject, scenario in turns:
            point = Point(subject.name, scenario, question.size, question.concurrency)
            sample = await meter.round(subject, point, question.seconds)
            if number:
                samples[subject.name].append(sample)
                say(f"{point.name:40} {_line(sample)}")
    _conclude(samples, turns[2][0], say)


def _line(sample: Sample) -> str:
    cpu = "  ".join(f"{role} {used:.1f}" for role, used in sample.cpu_us.items())
    outcome = sample.outcome
    return f"{sample.rate:7.0f}/s  p50 {outcome.p50_us} p99 {outcome.p99_us} µs  CPU µs/request: {cpu}"


def _conclude(samples: Mapping[str, list[Sample]], ours: Subject, say: Callable[[str], None]) -> None:
    def cpu(name: str) -> list[float]:
        return [sample.cpu_us[Role.PROCESSOR] for sample in samples[name]]

    def rates(name: str) -> list[float]:
        return [sample.rate for sample in samples[name]]

    ratio = Spread.of(ratios(cpu(ours.name), cpu(NOOP)))
    throughput = Spread.of(ratios(rates(ours.name), rates(ALONE)))
    say(f"sidecar CPU ÷ no-op processor's: {ratio}")
    say(f"sidecar CPU, µs per request: {Spread.of(cpu(ours.name))}")
    say(f"throughput ÷ Envoy alone: {throughput}")
