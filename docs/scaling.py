"""`docs/scaling.md`: from what one request was measured to cost to what a million a second need."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "bench" / "results" / "latest.json"

RATES = (1_000, 10_000, 100_000, 1_000_000)
BUSY = 0.6
"""How much of a core is planned for: the rest is for peaks, and for the loss of a neighbour."""
RESPONSE_BYTES = 500
SHARD_GIB = 32
SLOTS = 16_384
HOUR_S, DAY_S = 3_600, 86_400

_TRANSPORTS = ("native", "grpcio")


class ResultsError(Exception):
    """The results of the benchmark lack what the page needs."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was measured. CPU in microseconds per request with bodies of 100 B, by process."""

    transport: str
    taken: str
    machine: str
    sidecar_new: float
    sidecar_replay: float
    envoy_new: float
    envoy_alone: float
    store_new: float
    store_replay: float
    roundtrips_new: float
    bytes_new: float
    bytes_replay: float
    overhead: float

    @classmethod
    def read(cls, file: Path = RESULTS) -> "Costs":
        """Take them from the results, of the first transport that was measured.

        Raises:
            ResultsError: Something is missing.
        """
        if not file.exists():
            raise ResultsError(f"there is no {file}; run `make bench`")
        results = json.loads(file.read_bytes())
        transport = next((name for name in _TRANSPORTS if _point(results, name, "new")), _TRANSPORTS[0])
        new, replay = _cpu(results, transport, "new"), _cpu(results, transport, "replay")
        store = _store(results, transport)
        return cls(
            transport=transport,
            taken=results["taken"],
            machine=f"{results['machine']['processor']}, {results['machine']['processors']} processors",
            sidecar_new=new["processor"],
            sidecar_replay=replay["processor"],
            envoy_new=new["envoy"],
            envoy_alone=_cpu(results, "alone", "new")["envoy"],
            store_new=new["valkey"],
            store_replay=replay["valkey"],
            roundtrips_new=store["roundtrips_new"],
            bytes_new=store["bytes_new"],
            bytes_replay=store["bytes_replay"],
            overhead=store["record_overhead_bytes"],
        )

    @property
    def record(self) -> float:
        """Bytes in the store of one record of the response that the page reckons with."""
        return self.overhead + RESPONSE_BYTES

    def cores(self, rate: float, cpu_us: float) -> int:
        """Processes, each as busy as is planned for, that `rate` requests a second of this cost need."""
        return math.ceil(rate * cpu_us / 1e6 / BUSY)

    def per_core(self, cpu_us: float) -> float:
        """Requests a second of this cost that one process takes when it is as busy as is planned for."""
        return BUSY * 1e6 / cpu_us


def _point(results: Mapping[str, Any], subject: str, scenario: str) -> Mapping[str, Any] | None:
    wanted = {"subject": subject, "scenario": scenario, "size": 100, "concurrency": 32, "http": 1}
    return next((point for point in results["points"] if point["point"] == wanted), None)


def _cpu(results: Mapping[str, Any], subject: str, scenario: str) -> dict[str, float]:
    point = _point(results, subject, scenario)
    if point is None:
        raise ResultsError(f"no {scenario} of {subject} in the results; run `make bench`")
    return {role: spread["median"] for role, spread in point["cpu_us"].items()}


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
    values = {"measured": _measured(costs), "sizes": _sizes(costs), **_scalars(costs)}
    for name, value in values.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def _scalars(costs: Costs) -> dict[str, str]:
    per_shard = costs.per_core(costs.store_new)
    return {
        "transport": costs.transport,
        "machine": costs.machine,
        "taken": costs.taken,
        "busy": f"{BUSY:.0%}".replace("%", " %"),
        "response": f"{RESPONSE_BYTES}",
        "shard_gib": f"{SHARD_GIB}",
        "slots": _count(SLOTS),
        "per_worker": _count(costs.per_core(costs.sidecar_new)),
        "per_shard": _count(per_shard),
        "hot_key": _count(costs.per_core(costs.store_replay)),
        "record": _count(costs.record),
        "per_slot": _count(RATES[-1] * DAY_S / SLOTS),
    }


def _measured(costs: Costs) -> str:
    rows = [
        ("sidecar, new key", "CPU µs", costs.sidecar_new, f"`{costs.transport}` new"),
        ("sidecar, replay with its body compared", "CPU µs", costs.sidecar_replay, "replay"),
        ("Envoy with the sidecar, new key", "CPU µs", costs.envoy_new, "new"),
        ("Envoy alone", "CPU µs", costs.envoy_alone, "alone"),
        ("store, new key", "CPU µs", costs.store_new, "new"),
        ("store, replay", "CPU µs", costs.store_replay, "replay"),
        ("round trips to the store, new key", "", costs.roundtrips_new, "`roundtrips_new`"),
        ("on the store's connections, new key", "bytes", costs.bytes_new, "store"),
        ("on the store's connections, replay", "bytes", costs.bytes_replay, "store"),
        ("in the store, beyond the response's own bytes", "bytes", costs.overhead, "`record_overhead_bytes`"),
    ]
    lines = [
        f"| {what} | {f'{_number(value)} {unit}'.strip()} | {where} |" for what, unit, value, where in rows
    ]
    return "\n".join(["| per request | measured | in the results |", "|---|---|---|", *lines])


def _sizes(costs: Costs) -> str:
    columns: list[tuple[str, Callable[[int], str]]] = [
        ("new keys a second", _count),
        ("sidecar workers", lambda rate: _count(_workers(costs, rate))),
        ("Envoy's cores", lambda rate: _count(costs.cores(rate, costs.envoy_new))),
        ("shards, by CPU", lambda rate: _count(costs.cores(rate, costs.store_new))),
        ("store traffic", lambda rate: f"{_bytes(rate * costs.bytes_new, 1000)}/s"),
        ("memory, `ttl: 1h`", lambda rate: _bytes(rate * HOUR_S * costs.record, 1024)),
        ("memory, `ttl: 24h`", lambda rate: _bytes(rate * DAY_S * costs.record, 1024)),
        ("shards, by memory, `1h` and `24h`", lambda rate: _by_memory(costs, rate)),
        ("connections of a shard", lambda rate: _count(2 * _workers(costs, rate))),
    ]
    head = f"| {' | '.join(name for name, _ in columns)} |"
    rows = [f"| {' | '.join(show(rate) for _, show in columns)} |" for rate in RATES]
    return "\n".join([head, "|" + "---|" * len(columns), *rows])


def _workers(costs: Costs, rate: int) -> int:
    return costs.cores(rate, costs.sidecar_new)


def _by_memory(costs: Costs, rate: int) -> str:
    shards = (math.ceil(rate * ttl * costs.record / (SHARD_GIB << 30)) for ttl in (HOUR_S, DAY_S))
    return ", ".join(map(_count, shards))


def _count(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _number(value: float) -> str:
    return _count(value) if value >= 10 else f"{value:.3g}"


def _bytes(value: float, base: int) -> str:
    units = ("B", "KiB", "MiB", "GiB", "TiB") if base == 1024 else ("B", "kB", "MB", "GB", "TB")
    power = min(int(math.log(max(value, 1), base)), len(units) - 1)
    return f"{value / base**power:.3g} {units[power]}"
