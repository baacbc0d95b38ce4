"""`docs/performance.md` from the results: the same results give the same page."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench import plan, prose
from bench.bounds import BOUNDS, Bound, Verdict
from bench.memory import IN_FLIGHT, UPLOAD_MB
from bench.peers.starting import PEERS
from bench.point import Point, Scenario
from bench.results import HALF_LOAD, PacedResult, PointResult, Results, SoakResult
from bench.rig import ALONE, CPP_NOOP, NOOP
from bench.spread import Spread
from bench.subject import Role

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
_CPU_ROLES = (Role.ENVOY, Role.PROCESSOR, Role.APP, Role.STORE, Role.UPSTREAM)
_ONE_LOAD = {plan.CORE, plan.BESIDE, plan.KEYLESS}
_PEERS = [name for name in PEERS if name != CPP_NOOP]


def render(results: Results, *soaks: SoakResult | None) -> str:
    """The whole page."""
    taken = [soak for soak in soaks if soak is not None]
    bounded = next((soak for soak in taken if soak.load == HALF_LOAD), None)
    sections = (
        prose.opening(results),
        _section("What must hold", prose.bounds(bounded), _bounds(results)),
        _section("What a request costs", prose.CORE, _points(results, _of_sidecar)),
        _section("Next to libraries in the service", prose.PEERS, _points(results, _of_peers)),
        _section("What a new key adds", prose.ADDED, _points(results, _in(plan.ADDED))),
        _section("Larger bodies", prose.SIZES, _points(results, _in(plan.SIZES))),
        _section(
            "One request at a time, and 256", prose.CONCURRENCY, _points(results, _in(plan.CONCURRENCY))
        ),
        _section("Two workers", prose.WORKERS, _points(results, _in(plan.WORKERS))),
        _section("Waiting and detached", prose.SPECIAL, _points(results, _in(plan.SPECIAL))),
        _section("HTTP/2", prose.HTTP2, _points(results, _in(plan.HTTP2))),
        _section("Latency where nothing is busy", prose.PACED, _paced(results), _next_to_noop(results)),
        _section("The store", prose.STORE, _store(results)),
        _section("Memory", prose.MEMORY, _memory(results)),
        _section("Soak", prose.SOAK, _soaks(taken)),
        prose.METHOD,
        _skipped(results),
    )
    return "\n".join(section.strip() + "\n" for section in sections if section)


def _section(title: str, text: str, table: str, conclusion: str = "") -> str:
    parts = (f"## {title}", text.strip(), table, conclusion)
    return "\n\n".join(part for part in parts if part) if table else ""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """A Markdown table, the first `words` columns to the left; nothing where there are no rows."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return ""
    rules = ["---" if column < words else "---:" for column in range(len(headers))]
    return "\n".join([f"| {' | '.join(headers)} |", f"| {' | '.join(rules)} |", *lines])


def number(value: float) -> str:
    """A value with as many digits as mean something."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 100 else f"{value:.0f}"


def spread(found: Spread | None) -> str:
    """A median with its extremes; a hyphen for none."""
    if found is None:
        return "-"
    if found.least == found.most:
        return number(found.median)
    return f"{number(found.median)} ({number(found.least)} to {number(found.most)})"


def _bounds(results: Results) -> str:
    meanings = {bound.figure: bound for bound in BOUNDS}
    rows = [_bound(verdict, meanings[verdict.figure]) for verdict in results.bounds]
    return table(("figure", "what it is", "bound", "aim", "measured", ""), rows, words=2)


def _bound(verdict: Verdict, bound: Bound) -> tuple[str, ...]:
    if verdict.value is None or verdict.least is None or verdict.most is None:
        measured, outcome = f"not measured: {verdict.reason}", "miss" if verdict.binding else ""
    else:
        measured = spread(Spread(verdict.value, verdict.least, verdict.most, 0))
        outcome = "holds" if verdict.passed else "**missed**" if verdict.binding else "told only"
    limit = verdict.limit if verdict.binding else ""
    aim = bound.aim if verdict.binding else bound.limit
    return (
        f"`{verdict.figure}`",
        bound.meaning,
        limit,
        "" if aim is None else f"{bound.side} {aim:g}",
        measured,
        outcome,
    )


Chosen = Callable[[PointResult], bool]


def _of_sidecar(result: PointResult) -> bool:
    return result.batch in _ONE_LOAD and result.point.subject not in _PEERS


def _of_peers(result: PointResult) -> bool:
    """The peers' rows, and those of the sidecar to compare with."""
    ours = result.point.subject in {ALONE, plan.TRANSPORTS[0]}
    compared = result.point.scenario in {Scenario.NEW, Scenario.REPLAY}
    return result.batch in _ONE_LOAD and (result.point.subject in _PEERS or (ours and compared))


def in_place(results: Iterable[PointResult]) -> list[PointResult]:
    """The points of the usual load, all subjects of one kind together, whichever batch measured them."""
    return sorted(
        (result for result in results if result.batch in _ONE_LOAD),
        key=lambda result: plan.place(result.point),
    )


def _in(batch: str) -> Chosen:
    return lambda result: result.batch == batch


def _points(results: Results, chosen: Chosen) -> str:
    others = [result for result in results.points if result.batch not in _ONE_LOAD]
    found = [result for result in (*in_place(results.points), *others) if chosen(result)]
    roles = [role for role in _CPU_ROLES if any(role in result.cpu_us for result in found)]
    headers = ("", *(f"{role} µs" for role in roles), "all µs", "requests/s", "p50 ms", "p99 ms")
    return table(headers, [_point(result, roles, plain=_varies(found)) for result in found])


def _varies(found: Sequence[PointResult]) -> set[str]:
    """Which of a point's coordinates have to stand in its row."""
    points = [result.point for result in found]
    return {name for name in ("size", "concurrency") if len({getattr(point, name) for point in points}) > 1}


def _point(result: PointResult, roles: Sequence[Role], *, plain: set[str]) -> tuple[str, ...]:
    cpu = [result.cpu_us.get(role) for role in roles]
    medians = sum(found.median for found in cpu if found is not None)
    return (
        _label(result.point, plain),
        *(spread(found) for found in cpu),
        number(medians),
        spread(result.rate),
        _milliseconds(result.p50_us),
        _milliseconds(result.p99_us),
    )


def _label(point: Point, varying: set[str]) -> str:
    name = f"{point.subject}: {point.scenario}"
    if "size" in varying:
        name += f", {_size(point.size)}"
    if "concurrency" in varying:
        name += f", {point.concurrency} at once"
    return name


def _size(size: int) -> str:
    for unit, least in (("MB", 1_000_000), ("kB", 1000)):
        if size >= least:
            return f"{size // least} {unit}"
    return f"{size} B" if size else "no body"


def _milliseconds(found: Spread | None) -> str:
    return "-" if found is None else number(found.median / 1000)


def _paced(results: Results) -> str:
    rows = [
        (
            f"{result.subject}: {result.scenario}",
            *map(_spread_ms, (result.p50_us, result.p99_us, result.added_p50_us, result.added_p99_us)),
        )
        for result in results.paced
    ]
    return table(("", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms"), rows)


def _spread_ms(found: Spread | None) -> str:
    """Microseconds as milliseconds."""
    if found is None:
        return "-"
    median, least, most = (value / 1000 for value in (found.median, found.least, found.most))
    return spread(Spread(median, least, most, found.rounds))


def _next_to_noop(results: Results) -> str:
    """Which of the sidecar and the no-op processor adds less to a new key, as far as the rounds tell."""
    ours, noop = (_added_to_new(results.paced, subject) for subject in (plan.TRANSPORTS[0], NOOP))
    if ours is None or noop is None:
        return ""
    if ours.least > noop.most:
        outcome = "more in every round"
    elif ours.most < noop.least:
        outcome = "less in every round"
    else:
        outcome = "and as their rounds overlap, neither is shown to add less"
    return (
        f"To the median of a new key `{plan.TRANSPORTS[0]}` adds {_spread_ms(ours)} ms, "
        f"`{NOOP}` {_spread_ms(noop)} ms: {outcome}."
    )


def _added_to_new(paced: Iterable[PacedResult], subject: str) -> Spread | None:
    new = (result for result in paced if (result.subject, result.scenario) == (subject, Scenario.NEW))
    return next((result.added_p50_us for result in new), None)


def _store(results: Results) -> str:
    rows = [
        (
            cost.subject,
            number(cost.roundtrips_new),
            number(cost.roundtrips_replay),
            number(cost.bytes_new),
            number(cost.bytes_replay),
            number(cost.record_overhead_bytes),
        )
        for cost in results.store
    ]
    titles = (
        "trips, new",
        "trips, replay",
        "bytes, new",
        "bytes, replay",
        "bytes per record beyond the response",
    )
    return table(("", *titles), rows)


def _memory(results: Results) -> str:
    rows = [
        (
            use.subject,
            number(use.rss_idle_mib),
            number(use.rss_in_flight_mib),
            number((use.rss_in_flight_mib - use.rss_idle_mib) * 1024 / IN_FLIGHT),
            number(use.upload_rss_mib),
        )
        for use in results.memory
    ]
    titles = ("idle, warm MiB", "1,000 in flight MiB", "KiB per exchange", f"{UPLOAD_MB} MB upload adds MiB")
    return table(("", *titles), rows)


def _soaks(soaks: Sequence[SoakResult]) -> str:
    """A column for each."""
    if not soaks:
        return ""
    columns = [_soak(soak) for soak in soaks]
    rows = [(title, *(column[title] for column in columns)) for title in columns[0]]
    return table(("load", *(f"{soak.load:.0%}" for soak in soaks)), rows)


def _soak(soak: SoakResult) -> dict[str, str]:
    first, last = soak.readings[0], soak.readings[-1]
    return {
        "taken": prose.when(soak),
        "transport": soak.transport,
        "minutes, of which left out to warm up": f"{soak.minutes:g}, {soak.warm_up_s / 60:.1f}",
        "requests/s, requests": f"{number(soak.requests / soak.readings[-1].seconds)}, {soak.requests:,}",
        "resident at the beginning and the end, MiB": f"{first.rss_mib:.2f}, {last.rss_mib:.2f}",
        "slope of the fitted line, MiB/h": f"{soak.slope_mib_per_h:.3f}",
        "descriptors at the beginning and the end": f"{first.descriptors}, {last.descriptors}",
        "slope of their line, per hour": f"{soak.descriptors_per_h:.3f}",
    }


def _skipped(results: Results) -> str:
    if not results.skipped:
        return ""
    reasons = "\n".join(
        f"- {what}: {'failed: ' if skip.failed else ''}{skip.reason}"
        for what, skip in results.skipped.items()
    )
    return f"## Left out of this run\n\n{reasons}\n"
