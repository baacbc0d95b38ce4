"""A soak: half of what the sidecar can take, or all, for minutes; whether memory or descriptors grow."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from bench import machine, procfs, spread
from bench.errors import BenchError
from bench.load.client import Connection, Response, connected
from bench.load.paced import PacedClient
from bench.measure import Meter
from bench.point import Point, Scenario
from bench.results import Reading, SoakResult
from bench.rig import Rig, Variant
from bench.run import now
from bench.subject import Role, Subject
from bench.upstream import body_of

SOAKED = """\
  - name: soaked
    match: {methods: [POST]}
    ttl: 60s
"""
"""Records are forgotten after a minute, so that the store comes to rest as well."""

LEAST_KEPT_MINUTES = 10
"""A shorter soak is printed, and does not take the place of one that says something."""

_CONNECTIONS = 64
_PROBED_S = 5
_READ_EVERY_S = 2.0
_WARM_UP_SHARE = 0.25
_BEHIND = 1_000
"""How many requests ago a key was new that is replayed or reused: recorded by then, and not yet gone."""
_MIB = 1024 * 1024
_S_PER_H = 3600
_PATH = "/100/soak"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request in the mixture."""

    key: int | None
    """The number of the request whose key it bears; None: no key."""
    altered: bool = False
    """Whether its body is another than the key's first one had: 422."""
    replayed: bool = False


def kind_of(number: int) -> Kind:
    """Of ten requests five are new, three are replays, one has no key, one reuses a key with another body."""
    earlier = number - number % 10 - _BEHIND
    place = number % 10
    if place < 5 or earlier < 0:
        return Kind(number)
    if place < 8:
        return Kind(earlier, replayed=True)
    return Kind(None) if place == 8 else Kind(earlier, altered=True)


class Mixture:
    """Writes the requests, and checks their answers."""

    _body = body_of(100)
    _altered = body_of(101)

    def send(self, connection: Connection, number: int) -> None:
        """Request number N (`paced.Send`)."""
        kind = kind_of(number)
        key = None if kind.key is None else f"soak-{kind.key}"
        connection.send(_PATH, key, self._altered if kind.altered else self._body)

    @staticmethod
    def check(response: Response, number: int) -> None:
        """The answer to request number N (`paced.Check`).

        Raises:
            BenchError: It is not what the contract says.
        """
        kind = kind_of(number)
        status = 422 if kind.altered else 200
        if response.status != status or response.replayed is not kind.replayed:
            raise BenchError(
                f"request {number} of the soak was answered {response.status} (replayed: "
                f"{response.replayed}), where {status} (replayed: {kind.replayed}) belongs"
            )


async def soak(
    rig: Rig, transport: str, minutes: float, load: float, say: Callable[[str], None]
) -> SoakResult:
    """Load the sidecar and read its memory and descriptors.

    `load` is the share of what it can take. With all of it, requests are due faster than they are answered,
    checked and sent on one machine: then each connection sends its next as soon as it has its answer.

    Raises:
        BenchError: An answer was not what it should be.
        UnavailableError: There is no such transport.
    """
    commit = machine.commit()
    subject = await rig.sidecar(Variant(transport, policies=SOAKED))
    probe = await Meter(rig).round(subject, Point(transport, Scenario.NEW), _PROBED_S)
    rate, seconds = probe.rate * load, minutes * 60
    say(f"{transport} takes {probe.rate:.0f} requests a second; {rate:.0f}/s for {minutes:g} minutes")
    readings: list[Reading] = []
    reading = asyncio.create_task(_read(subject, readings, say))
    try:
        requests = await _load(subject, rate, seconds)
    finally:
        reading.cancel()
    return conclude(transport, minutes, rate, requests, readings, load, commit)


def conclude(  # noqa: PLR0913, PLR0917 (what was measured, and under what)
    transport: str,
    minutes: float,
    rate: float,
    requests: int,
    readings: list[Reading],
    load: float,
    commit: str,
) -> SoakResult:
    """Fit the lines to what was read after the warm-up."""
    warm_up_s = minutes * 60 * _WARM_UP_SHARE
    kept = [reading for reading in readings if reading.seconds >= warm_up_s]
    if len(kept) < 2:
        raise BenchError(f"{minutes:g} minutes are too short for a line; allowed: half a minute and more")
    hours = [reading.seconds / _S_PER_H for reading in kept]
    return SoakResult(
        taken=now(),
        transport=transport,
        minutes=minutes,
        rate=spread.significant(rate),
        requests=requests,
        warm_up_s=warm_up_s,
        slope_mib_per_h=spread.significant(spread.slope(hours, [reading.rss_mib for reading in kept])),
        descriptors_per_h=spread.significant(spread.slope(hours, [reading.descriptors for reading in kept])),
        readings=tuple(readings),
        load=load,
        commit=commit,
    )


async def _load(subject: Subject, rate: float, seconds: float) -> int:
    mixture = Mixture()
    async with connected(subject.url, _CONNECTIONS) as connections:
        client = PacedClient(connections, mixture.send, mixture.check)
        await client.run(rate, seconds)
        return len(client.latencies_s)


async def _read(subject: Subject, readings: list[Reading], say: Callable[[str], None]) -> None:
    """Read every other second until cancelled."""
    clock, pids = asyncio.get_running_loop().time, subject.processes[Role.PROCESSOR]
    begun = clock()
    while True:
        rss, descriptors = procfs.rss_bytes(pids) / _MIB, procfs.open_descriptors(pids)
        readings.append(Reading(round(clock() - begun, 1), round(rss, 3), descriptors))
        if len(readings) % 30 == 1:
            say(f"{readings[-1].seconds:6.0f} s  {rss:.2f} MiB  {descriptors} descriptors")
        await asyncio.sleep(_READ_EVERY_S)
