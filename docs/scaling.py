"""`docs/scaling.md`: from what one request was measured to cost to what a million a second need."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

RESULTS = Path(__file__).parent.parent / "bench" / "results" / "latest.json"

RATES = (1_000, 10_000, 100_000, 1_000_000)
BUSY = 0.6
"""How much of a core is planned for: the rest is for peaks, and for the loss of a neighbour."""
REQUEST_BYTES = RESPONSE_BYTES = 500
TABLES_BYTES = 335 - 296
"""What `used_memory` says of a record beyond `MEMORY USAGE`; both as measured for decision 15."""
CLIENT_ALONE_US = (79 - 29, 104 - 22)
"""How much more a request's commands cost the store's client alone, least and most (decision 15)."""
SHARD_GIB = 32
SLOTS = 16_384
TTL_S = {"1h": 3_600, "24h": 86_400}

_TRANSPORTS = ("native", "grpcio")


class ResultsError(Exception):
    """The results of the benchmark lack what the page needs."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a request cost under a load, in CPU microseconds by process, and how many there were a second."""

    sidecar: float
    envoy: float
    store: float
    rate: float


Cost: TypeAlias = Callable[[Load], float]
"""Which process's."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured, with bodies of 100 B; new keys and one worker where nothing else is said."""

    transport: str
    taken: str
    machine: str
    coalesced: Load
    """32 requests at once."""
    alone: Load
    """One request at a time."""
    two_workers: Load
    """32 requests at once, on two workers."""
    two_workers_full: Load
    """256 requests at once, on two workers."""
    replay: Load
    plain: Load
    """Envoy without the sidecar, 32 requests at once; `plain_alone` one at a time."""
    plain_alone: Load
    roundtrips_new: float
    bytes_new: float
    bytes_replay: float
    overhead: float
    """Bytes that `MEMORY USAGE` says of a record beyond the response's own."""

    @classmethod
    def read(cls, file: Path = RESULTS) -> "Costs":
        """Take them from the results, of the first transport that was measured.

        Raises:
            ResultsError: Something is missing.
        """
        if not file.exists():
            raise ResultsError(f"there is no {file}; run `make bench`")
        results = json.loads(file.read_bytes())
        points = results["points"]
        transport = next((name for name in _TRANSPORTS if _point(points, name, "new", 32)), _TRANSPORTS[0])
        store = _store(results, transport)
        return cls(
            transport=transport,
            taken=results["taken"],
            machine=f"{results['machine']['processor']}, {results['machine']['processors']} processors",
            coalesced=_load(points, transport),
            alone=_load(points, transport, at_once=1),
            two_workers=_load(points, f"{transport} x2"),
            two_workers_full=_load(points, f"{transport} x2", at_once=256),
            replay=_load(points, transport, "replay"),
            plain=_load(points, "alone"),
            plain_alone=_load(points, "alone", at_once=1),
            roundtrips_new=store["roundtrips_new"],
            bytes_new=store["bytes_new"],
            bytes_replay=store["bytes_replay"],
            overhead=store["record_overhead_bytes"],
        )

    @property
    def record(self) -> float:
        """Bytes of `used_memory` for one record of the response that the page reckons with."""
        return self.overhead + TABLES_BYTES + RESPONSE_BYTES

    @property
    def company(self) -> float:
        """Commands a second on a connection with which one has, on average, another in its turn."""
        return 1e6 / self.alone.sidecar

    def cores(self, rate: float, cpu_us: float) -> int:
        """Processes, each as busy as is planned for, that `rate` requests a second of this cost need."""
        return math.ceil(rate * cpu_us / 1e6 / BUSY)

    def per_core(self, cpu_us: float) -> float:
        """Requests a second of this cost that one process takes when it is as busy as is planned for."""
        return BUSY * 1e6 / cpu_us

    def ends(self, cost: Cost) -> tuple[float, float]:
        """What a request costs coalesced and alone: the low end and the high one."""
        return cost(self.coalesced), cost(self.alone)

    def shards_by_memory(self, rate: float, ttl_s: int) -> int:
        """Shards that hold what is remembered."""
        return math.ceil(rate * ttl_s * self.record / (SHARD_GIB << 30))

    def commands(self, rate: float, ttl_s: int) -> float:
        """Commands a second on a connection with the fewest workers and shards: at the most, that is."""
        shards = max(self.cores(rate, self.coalesced.store), self.shards_by_memory(rate, ttl_s))
        return rate * self.roundtrips_new / (self.cores(rate, self.coalesced.sidecar) * shards)

    def nearer(self, commands: float) -> str:
        """Which end holds where a connection has so many commands a second."""
        if commands >= self.company:
            return "low"
        return "between" if commands >= self.company / 10 else "high"


def _point(points: list[Any], subject: str, scenario: str, at_once: int) -> Mapping[str, Any] | None:
    wanted = {"subject": subject, "scenario": scenario, "size": 100, "concurrency": at_once, "http": 1}
    return next((point for point in points if point["point"] == wanted), None)


def _load(points: list[Any], subject: str, scenario: str = "new", at_once: int = 32) -> Load:
    point = _point(points, subject, scenario, at_once)
    if point is None:
        raise ResultsError(f"no {scenario} of {subject}, {at_once} at once, in the results; run `make bench`")
    cpu = {role: spread["median"] for role, spread in point["cpu_us"].items()}
    # Envoy alone has no processor.
    return Load(cpu.get("processor", 0), cpu["envoy"], cpu["valkey"], point["rate"]["median"])


def _store(results: Mapping[str, Any], transport: str) -> Mapping[str, float]:
    """What the store is asked does not depend on the transport: any of ours will do."""
    by_subject = {cost["subject"]: cost for cost in results["store"]}
    found = next((by_subject[name] for name in (transport, *_TRANSPORTS) if name in by_subject), None)
    if found is None:
        raise ResultsError("no costs of the store in the results; run `make bench`")
    return {name: value for name, value in found.items() if name != "subject"}


def render(costs: Costs) -> str:
    """The whole page, as Markdown."""
    template = Path(__file__).with_name("scaling.template.md").read_text(encoding="utf-8")
    tables = {"sizes": _sizes(costs), "cpu": _cpu(costs), "store": _store_table(costs)}
    for name, value in {**tables, **_scalars(costs)}.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def _scalars(costs: Costs) -> dict[str, str]:
    most, gib = RATES[-1], SHARD_GIB << 30
    slowdown = costs.alone.store / costs.coalesced.store
    hot_key = costs.per_core(costs.replay.store)
    client_alone = [costs.cores(most, costs.coalesced.sidecar + more) for more in CLIENT_ALONE_US]
    turning = [cpu_us / 1e6 / BUSY * gib / costs.record / 3_600 for cpu_us in costs.ends(_of_store)]
    return {
        "transport": costs.transport,
        "machine": costs.machine,
        "taken": costs.taken,
        "busy": f"{BUSY:.0%}".replace("%", " %"),
        "request": f"{REQUEST_BYTES}",
        "response": f"{RESPONSE_BYTES}",
        "shard_gib": f"{SHARD_GIB}",
        "slots": _count(SLOTS),
        "per_worker": _range(*(costs.per_core(cpu_us) for cpu_us in reversed(costs.ends(_of_sidecar)))),
        "per_shard": _range(*(costs.per_core(cpu_us) for cpu_us in reversed(costs.ends(_of_store)))),
        "company": _count(costs.company),
        "hardly": _count(costs.company / 10),
        "client_alone": _range(*CLIENT_ALONE_US),
        "workers_client_alone": _range(*client_alone),
        "turning": "{:.1f} h (low) to {:.1f} h (high)".format(*turning),
        "hot_key": _range(hot_key / slowdown, hot_key),
        "overhead": _count(costs.overhead),
        "tables": _count(TABLES_BYTES),
        "record": _count(costs.record),
        "replicated": _memory(costs, most, copies=2),
        "unreplicated": _memory(costs, most),
        "per_slot": _count(most * TTL_S["24h"] / SLOTS),
        "two_workers": _against_one(costs, costs.two_workers),
        "two_workers_full": _against_one(costs, costs.two_workers_full),
    }


def _sizes(costs: Costs) -> str:
    def cores(cost: Cost, times: int = 1) -> Callable[[int], str]:
        return lambda rate: _range(*(times * costs.cores(rate, cpu_us) for cpu_us in costs.ends(cost)))

    def by_ttl(show: Callable[[int, int], str]) -> Callable[[int], str]:
        return lambda rate: ", ".join(show(rate, ttl_s) for ttl_s in TTL_S.values())

    passed = REQUEST_BYTES + RESPONSE_BYTES
    ttls = ", ".join(f"`{ttl}`" for ttl in TTL_S)
    columns: list[tuple[str, Callable[[int], str]]] = [
        ("new keys a second", _count),
        ("sidecar workers", cores(_of_sidecar)),
        ("Envoy's cores", cores(_of_envoy)),
        ("shards, by CPU", cores(_of_store)),
        (f"shards, by memory: {ttls}", by_ttl(lambda *of: _count(costs.shards_by_memory(*of)))),
        (f"memory: {ttls}", lambda rate: _memory(costs, rate)),
        ("Envoy–sidecar traffic", lambda rate: f"{_bytes(rate * passed, 1000)}/s"),  # noqa: RUF001 (a dash)
        ("store traffic", lambda rate: f"{_bytes(rate * costs.bytes_new, 1000)}/s"),
        ("connections of a shard", cores(_of_sidecar, times=2)),
        (
            f"commands a second on a connection, at the most: {ttls}",
            by_ttl(lambda *of: _number(costs.commands(*of))),
        ),
        (f"nearer to: {ttls}", by_ttl(lambda *of: costs.nearer(costs.commands(*of)))),
    ]
    return _table([name for name, _ in columns], [[show(rate) for _, show in columns] for rate in RATES])


def _cpu(costs: Costs) -> str:
    """What was measured of requests, a column for each load, with its place in the results."""
    new = [costs.coalesced, costs.alone, costs.two_workers, costs.two_workers_full]
    plain, replay = [costs.plain, costs.plain_alone, None, None], [costs.replay, None, None, None]
    name = costs.transport
    rows: list[tuple[str, Sequence[Load | None], Cost, str]] = [
        ("sidecar, new key", new, _of_sidecar, f"`{name}`, `{name} x2`: new, `processor`"),
        ("store, new key", new, _of_store, "the same, `valkey`"),
        ("Envoy with the sidecar, new key", new, _of_envoy, "the same, `envoy`"),
        ("Envoy without it", plain, _of_envoy, "`alone`: new, `envoy`"),
        ("sidecar, replay with its body compared", replay, _of_sidecar, f"`{name}`: replay, `processor`"),
        ("store, replay", replay, _of_store, "the same, `valkey`"),
        ("new keys a second", new, lambda load: load.rate, f"`{name}`, `{name} x2`: new, `rate`"),
    ]
    cells = [
        [what, *(_number(cost(load)) if load else "-" for load in loads), where]
        for what, loads, cost, where in rows
    ]
    commands = [
        _count(load.rate * costs.roundtrips_new / workers)
        for load, workers in zip(new, (1, 1, 2, 2), strict=True)
    ]
    cells.append(["commands a second on a connection", *commands, "derived: rate · round trips ÷ workers"])
    loads = [
        "32 at once: *coalesced*",
        "1 at once: *alone*",
        "two workers, 32 at once",
        "two workers, 256 at once",
    ]
    return _table(["CPU µs of a request, measured", *loads, "in the results"], cells)


def _store_table(costs: Costs) -> str:
    used_memory = "not there: [decision 15](decisions/0015-one-connection.md)"
    rows = [
        ("round trips to the store, new key", "", costs.roundtrips_new, "`roundtrips_new`"),
        ("on the store's connections, new key", " bytes", costs.bytes_new, "`bytes_new`"),
        ("on the store's connections, replay", " bytes", costs.bytes_replay, "`bytes_replay`"),
        (
            "in the store, beyond the response: `MEMORY USAGE`",
            " bytes",
            costs.overhead,
            "`record_overhead_bytes`",
        ),
        ("in the store, `used_memory` beyond that", " bytes", TABLES_BYTES, used_memory),
    ]
    cells = [[what, f"{_number(value)}{unit}", where] for what, unit, value, where in rows]
    return _table(["one request", "measured", "in the results"], cells)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _against_one(costs: Costs, load: Load) -> str:
    """What requests cost under a load, as so many times what the low end reckons with."""
    ratio = {
        name: cost(load) / cost(costs.coalesced)
        for name, cost in (("sidecar", _of_sidecar), ("store", _of_store), ("Envoy", _of_envoy))
    }
    return ", ".join(f"{name} {times:.2f}" for name, times in ratio.items())


def _of_sidecar(load: Load) -> float:
    return load.sidecar


def _of_envoy(load: Load) -> float:
    return load.envoy


def _of_store(load: Load) -> float:
    return load.store


def _memory(costs: Costs, rate: float, copies: int = 1) -> str:
    return ", ".join(_bytes(copies * rate * ttl_s * costs.record, 1024) for ttl_s in TTL_S.values())


def _range(low: float, high: float) -> str:
    shown = dict.fromkeys((_count(low), _count(high)))
    return " to ".join(shown)


def _count(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _number(value: float) -> str:
    return _count(value) if value >= 10 else f"{value:.3g}"


def _bytes(value: float, base: int) -> str:
    units = ("B", "KiB", "MiB", "GiB", "TiB") if base == 1024 else ("B", "kB", "MB", "GB", "TB")
    power = min(int(math.log(max(value, 1), base)), len(units) - 1)
    return f"{value / base**power:.3g} {units[power]}"
