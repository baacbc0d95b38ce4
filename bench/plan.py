"""The matrix: which points are measured, together with which, how often."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache

from bench import noop
from bench.interleaving import Batch, Start, Turn
from bench.peers import starting
from bench.peers.starting import PEERS
from bench.point import Point, Scenario
from bench.rig import ALONE, CPP_NOOP, NOOP, POLICIES, Rig, Variant
from bench.subject import Subject

TRANSPORTS = ("native", "grpcio")
"""All that are measured; the bounds are of the first."""
NOOP_TUNED = f"{NOOP} {noop.TUNED}"

CORE = "core"
"""What the bounds are taken from: what is divided stands close together, as neighbours share a mood.

The rounds are spread over the run, for a machine keeps its mood for minutes.
"""
ADDED = "added"
"""What is added to a request, here and by a library: a difference over a difference, so it has more rounds.

Where nine were taken, their medians went from 0.88 to 1.12 of one run to the next (docs/decisions/0024).
"""
BESIDE = "beside the core"
"""The same with others, for the tables; no bound is taken from these."""
KEYLESS = "keyless"
SIZES = "sizes"
CONCURRENCY = "concurrency"
WORKERS = "workers"
SPECIAL = "waiting and detached"
HTTP2 = "HTTP/2"
PACED = "latency at a fixed rate"

_REPLAYS = (Scenario.REPLAY, Scenario.REPLAY_BODYLESS)
_SIZES = ((0, 32), (10_000, 32), (1_000_000, 4))
"""Bytes of the bodies, and how many requests at once."""
_OTHERS = (starting.IDEMGATE, starting.NODE_IDEMPOTENCY)


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run does."""

    form: str
    transports: tuple[str, ...]
    """Those that are measured; the bounds that name none are of the first."""
    batches: tuple[Batch, ...]
    """In their order; those of one title are parts of one, at different times."""
    paced: Batch | None
    """Latency at a fixed rate; None: not measured."""
    thorough: bool
    """Whether memory and the store's costs are measured on every transport, and of the peers."""


def full(transports: tuple[str, ...] = TRANSPORTS) -> Plan:
    """Everything: about twenty minutes."""
    third_of_core = Batch(CORE, _core(transports), rounds=3, warming_s=1)
    third_of_added = Batch(ADDED, _added(transports), rounds=8, seconds=1, warming_s=1)
    third_of_keyless = Batch(KEYLESS, _keyless(transports), rounds=3, seconds=1, stacks=4)
    return Plan(
        "full",
        transports,
        (
            third_of_core,
            third_of_added,
            Batch(BESIDE, _beside(transports), rounds=3, warming_s=1),
            third_of_keyless,
            third_of_core,
            third_of_added,
            third_of_keyless,
            Batch(SIZES, _sizes(transports), rounds=2),
            Batch(CONCURRENCY, _concurrency(transports), rounds=2),
            Batch(WORKERS, _workers(transports), rounds=2),
            Batch(SPECIAL, _special(transports), rounds=2),
            Batch(HTTP2, _http2(transports), rounds=2),
            third_of_core,
            third_of_added,
            third_of_keyless,
        ),
        paced=Batch(PACED, _paced(transports), rounds=3, seconds=10, warming_s=1),
        thorough=True,
    )


def short(transports: tuple[str, ...] = TRANSPORTS) -> Plan:
    """What the bounds need, with fewer rounds: a little under three minutes."""
    batches = (
        Batch(CORE, _core(transports), rounds=4, warming_s=1),
        Batch(KEYLESS, _keyless(transports), rounds=3, seconds=1, stacks=2),
    )
    return Plan("short", transports, batches, paced=None, thorough=False)


def place(point: Point) -> tuple[bool, int]:
    """Where a point stands among those of one load: the sidecar's subjects before its peers, keyless last."""
    subjects = (ALONE, NOOP, NOOP_TUNED, CPP_NOOP, *TRANSPORTS, *(name for name in PEERS if name != CPP_NOOP))
    return point.scenario is Scenario.KEYLESS, subjects.index(point.subject)


@cache
def start_of(subject: str, scenario: Scenario = Scenario.NEW, workers: int = 1) -> Start:
    """How to start a subject; the same function for the same subject, so that it is started once."""
    if subject in TRANSPORTS:
        variant = Variant(subject, workers, POLICIES.get(scenario, ""))
        return _sidecar(variant)
    plain: dict[str, Callable[[Rig], Awaitable[Subject]]] = {
        ALONE: lambda rig: rig.alone(),
        NOOP: lambda rig: rig.noop(),
        NOOP_TUNED: lambda rig: rig.noop(noop.TUNED),
    }
    return (plain | dict(PEERS))[subject]


@cache
def _sidecar(variant: Variant) -> Start:
    return lambda rig: rig.sidecar(variant)


def _turn(
    subject: str,
    scenario: Scenario = Scenario.NEW,
    size: int = 100,
    concurrency: int = 32,
    http: int = 1,
) -> Turn:
    return Turn(start_of(subject, scenario), Point(subject, scenario, size, concurrency, http))


def _core(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    """In an order in which what is divided stands next to what it is divided by."""
    first, *others = transports
    return (
        *(_turn(subject) for subject in (ALONE, starting.FASTAPI, starting.IDEMKIT, CPP_NOOP, first, NOOP)),
        *(_turn(transport) for transport in others),
        *(_turn(first, scenario) for scenario in _REPLAYS),
    )


def _added(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    return tuple(_turn(subject) for subject in (ALONE, starting.FASTAPI, starting.IDEMKIT, transports[0]))


def _beside(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    first, *others = transports
    return (
        _turn(NOOP_TUNED),
        _turn(first, Scenario.CONFLICT),
        *(
            _turn(other, scenario)
            for other in others
            for scenario in (*_REPLAYS, Scenario.CONFLICT, Scenario.KEYLESS)
        ),
        _turn(starting.EXPRESS),
        _turn(starting.IDEMKIT, Scenario.REPLAY),
        *(_turn(peer, scenario) for peer in _OTHERS for scenario in (Scenario.NEW, Scenario.REPLAY)),
    )


def _keyless(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    return (_turn(ALONE, Scenario.KEYLESS), _turn(transports[0], Scenario.KEYLESS))


def _sizes(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    """Few at once of the largest: 32 would ask whether the store's file takes gigabytes a second."""
    every = tuple(
        _turn(subject, size=size, concurrency=concurrency)
        for size, concurrency in _SIZES
        for subject in (ALONE, NOOP, *transports)
    )
    replays = tuple(
        _turn(transports[0], Scenario.REPLAY, size, concurrency) for size, concurrency in _SIZES[1:]
    )
    return every + replays


def _concurrency(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    subjects = (ALONE, NOOP, *transports)
    return tuple(_turn(subject, concurrency=count) for count in (1, 256) for subject in subjects)


def _workers(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    return tuple(
        Turn(
            start_of(transport, workers=2),
            Point(Variant(transport, 2).name, Scenario.NEW, concurrency=concurrency),
        )
        for concurrency in (32, 256)
        for transport in transports
    )


def _special(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    return tuple(
        _turn(transport, scenario)
        for transport in transports
        for scenario in (Scenario.WAITING, Scenario.DETACHED)
    )


def _http2(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    return (
        _turn(ALONE, Scenario.KEYLESS, http=2),
        _turn(transports[0], Scenario.KEYLESS, http=2),
        _turn(transports[0], Scenario.REPLAY, http=2),
    )


def _paced(transports: tuple[str, ...]) -> tuple[Turn, ...]:
    """New keys everywhere, the other scenarios on the first transport; Envoy alone with a key and without."""
    first = transports[0]
    return (
        *(_turn(subject) for subject in (ALONE, NOOP, *transports)),
        *(_turn(first, scenario) for scenario in (*_REPLAYS, Scenario.DETACHED)),
        *(_turn(subject, Scenario.KEYLESS) for subject in (ALONE, first)),
    )
