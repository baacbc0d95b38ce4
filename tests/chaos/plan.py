"""The faults of a run and when they strike: a plan made from the seed alone."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

STACKS = 2
WORKERS = 2

_CALM_START_S = 1.0
_CALM_END_S = 1.0
_DEATHS_AT_MOST = 3
_DEATHS_WITHIN_S = 32.0
"""`up` gives up at the fifth death of a process within 30 s: the plan stays well below that."""


class Kind(StrEnum):
    """What can be done to whom."""

    WORKER_KILLED = "worker killed (-9)"
    WORKER_STOPPED = "worker paused"
    WORKER_ENDED = "worker told to end"
    ENVOY_KILLED = "Envoy killed (-9)"
    ENVOY_STOPPED = "Envoy paused"
    STORE_KILLED = "store killed (-9)"
    STORE_STOPPED = "store frozen"
    UPSTREAM_DOWN = "upstream down"
    UPSTREAM_SLOW = "upstream slow"
    UPSTREAM_503 = "upstream answers 503"
    UPSTREAM_502 = "upstream answers 502"
    UPSTREAM_CUT = "upstream resets within its response"
    UPSTREAM_DROP = "upstream resets before its response"
    UPSTREAM_REFUSES = "upstream refuses streams"


OF_ENVOY = frozenset({Kind.ENVOY_KILLED, Kind.ENVOY_STOPPED})
OF_STORE = frozenset({Kind.STORE_KILLED, Kind.STORE_STOPPED})
OF_WORKERS = frozenset({Kind.WORKER_KILLED, Kind.WORKER_STOPPED, Kind.WORKER_ENDED})
_DEADLY = frozenset({Kind.WORKER_KILLED, Kind.WORKER_ENDED, Kind.ENVOY_KILLED})


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: when it begins, how long it lasts (for what ends by itself, how long it stays away)."""

    at_s: float
    kind: Kind
    for_s: float
    stack: int = 0
    worker: int = 0

    @property
    def target(self) -> str:
        """What it strikes, in words."""
        if self.kind in OF_WORKERS:
            return f"stack {self.stack}, worker {self.worker}"
        return f"stack {self.stack}" if self.kind in OF_ENVOY else self.kind.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class _Row:
    """How often a fault is chosen in its lane, and how long it may last."""

    weight: int
    kind: Kind
    shortest_s: float = 0.0
    longest_s: float = 0.0


_ON_A_STACK = (
    _Row(3, Kind.WORKER_KILLED),
    _Row(4, Kind.WORKER_STOPPED, 0.2, 3.0),
    _Row(1, Kind.WORKER_ENDED),
    _Row(2, Kind.ENVOY_KILLED),
    _Row(2, Kind.ENVOY_STOPPED, 0.2, 2.5),
)
_ON_THE_STORE = (
    _Row(3, Kind.STORE_STOPPED, 0.2, 2.5),
    _Row(2, Kind.STORE_KILLED, 0.0, 1.0),
)
_ON_THE_UPSTREAM = (
    _Row(2, Kind.UPSTREAM_DOWN, 0.3, 1.5),
    _Row(2, Kind.UPSTREAM_SLOW, 0.5, 2.0),
    _Row(2, Kind.UPSTREAM_503, 0.5, 1.5),
    _Row(1, Kind.UPSTREAM_502, 0.3, 0.8),
    _Row(2, Kind.UPSTREAM_CUT, 0.3, 1.0),
    _Row(2, Kind.UPSTREAM_DROP, 0.3, 1.0),
    _Row(1, Kind.UPSTREAM_REFUSES, 0.3, 1.0),
)


def plan(seed: int, duration_s: float) -> tuple[Fault, ...]:
    """The faults of a run of so many seconds, in order. In each lane the next begins when the last has ended.

    Part of the store's freezes have a worker killed within: a claim that was sent, and whose owner is gone
    before the store has run it.
    """
    faults: list[Fault] = []
    for stack in range(STACKS):
        rng = random.Random(f"{seed} stack {stack}")
        faults += _limited(_lane(rng, _ON_A_STACK, duration_s, (1.0, 4.0), stack))
    faults += _lane(random.Random(f"{seed} store"), _ON_THE_STORE, duration_s, (2.5, 6.0))
    faults += _lane(random.Random(f"{seed} upstream"), _ON_THE_UPSTREAM, duration_s, (1.5, 5.0))
    faults += _within_freezes(random.Random(f"{seed} freezes"), faults)
    return tuple(sorted(_limited(faults), key=lambda fault: fault.at_s))


def _lane(
    rng: random.Random, rows: Sequence[_Row], duration_s: float, gap_s: tuple[float, float], stack: int = 0
) -> Iterator[Fault]:
    at_s = _CALM_START_S + rng.uniform(0, gap_s[1])
    while True:
        row = rng.choices(rows, [row.weight for row in rows])[0]
        for_s = rng.uniform(row.shortest_s, row.longest_s)
        if at_s + for_s > duration_s - _CALM_END_S:
            return
        yield Fault(round(at_s, 3), row.kind, round(for_s, 3), stack, rng.randrange(WORKERS))
        at_s += for_s + rng.uniform(*gap_s)


def _within_freezes(rng: random.Random, faults: Sequence[Fault]) -> list[Fault]:
    freezes = [fault for fault in faults if fault.kind is Kind.STORE_STOPPED]
    return [
        Fault(
            round(freeze.at_s + freeze.for_s / 2, 3),
            Kind.WORKER_KILLED,
            0.0,
            rng.randrange(STACKS),
            rng.randrange(WORKERS),
        )
        for freeze in freezes
        if rng.random() < 0.5
    ]


def _limited(faults: Iterator[Fault] | Sequence[Fault]) -> list[Fault]:
    """The faults without those that would kill one process too often for its supervisor."""
    kept: list[Fault] = []
    deaths: dict[str, list[float]] = {}
    for fault in sorted(faults, key=lambda fault: fault.at_s):
        if fault.kind in _DEADLY:
            recent = [at_s for at_s in deaths.get(fault.target, []) if at_s > fault.at_s - _DEATHS_WITHIN_S]
            if len(recent) >= _DEATHS_AT_MOST:
                continue
            deaths[fault.target] = [*recent, fault.at_s]
        kept.append(fault)
    return kept
