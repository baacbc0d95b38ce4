"""The pictures of `docs/performance.md`, as PNG beside the results."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench import plan
from bench.point import Scenario
from bench.report import in_place
from bench.results import RESULTS, PointResult, Results, SoakResult
from bench.rig import ALONE, NOOP
from bench.subject import Role

_COLOURS = {
    Role.ENVOY: "#7f8fa9",
    Role.PROCESSOR: "#d1603d",
    Role.APP: "#3d8c6f",
    Role.STORE: "#b08fc7",
    Role.UPSTREAM: "#c9c2b4",
}
_LINES = ("#7f8fa9", "#3b3b3b", "#d1603d", "#3d8c6f")
_METADATA = {"Software": None}  # no version of matplotlib in the file: the same results give the same bytes


def draw(results: Results, soak: SoakResult | None, directory: Path = RESULTS) -> list[Path]:
    """Draw what there are results for; which files were written."""
    written = [_cpu(results, directory / "cpu_per_request.png")]
    if any(result.batch == plan.SIZES for result in results.points):
        written.append(_sizes(results, directory / "bodies.png"))
    if results.paced:
        written.append(_latency(results, directory / "latency.png"))
    if soak is not None:
        written.append(_soak(soak, directory / "soak.png"))
    return written


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(9, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, file: Path) -> Path:
    figure.savefig(file, dpi=110, metadata=_METADATA)
    return file


def _cpu(results: Results, file: Path) -> Path:
    """One bar for each subject and scenario, cut into its processes."""
    rows = in_place(results.points)[::-1]
    figure, axes = _figure(0.32 * len(rows) + 1)
    labels = [f"{result.point.subject}: {result.point.scenario}" for result in rows]
    left = [0.0] * len(rows)
    for role, colour in _COLOURS.items():
        widths = [result.cpu_us[role].median if role in result.cpu_us else 0.0 for result in rows]
        axes.barh(range(len(rows)), widths, left=left, color=colour, label=role.value)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_xlabel("CPU per request, µs (100 B bodies, 32 at once)")
    axes.legend(frameon=False, loc="lower right")
    return _save(figure, file)


def _sizes(results: Results, file: Path) -> Path:
    figure, axes = _figure(4)
    for subject, colour in zip((ALONE, NOOP, *plan.TRANSPORTS), _LINES, strict=True):
        known = sorted(
            (result.point.size, total_cpu(result))
            for result in results.points
            if result.batch in {plan.CORE, plan.SIZES} and result.point.size and _is_new(result, subject)
        )
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", color=colour, label=f"{subject}: new")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("bytes of the request body and of the response body")
    axes.set_ylabel("CPU per request, all processes, µs")
    axes.legend(frameon=False)
    return _save(figure, file)


def _is_new(result: PointResult, subject: str) -> bool:
    return (result.point.subject, result.point.scenario) == (subject, Scenario.NEW)


def total_cpu(result: PointResult) -> float:
    """CPU of all processes at a point, in microseconds per request."""
    return sum(spread.median for spread in result.cpu_us.values())


def _latency(results: Results, file: Path) -> Path:
    figure, axes = _figure(0.5 * len(results.paced) + 1)
    rows = list(results.paced)[::-1]
    for offset, name, colour in ((0.2, "p50_us", "#7f8fa9"), (-0.2, "p99_us", "#d1603d")):
        widths = [getattr(row, name).median / 1000 for row in rows]
        places = [index + offset for index in range(len(rows))]
        axes.barh(places, widths, height=0.38, color=colour, label=name.removesuffix("_us"))
    axes.set_yticks(range(len(rows)), [f"{row.subject}: {row.scenario}" for row in rows])
    axes.set_xlabel(f"ms, at {rows[0].rate:g} requests a second")
    axes.legend(frameon=False)
    return _save(figure, file)


def _soak(soak: SoakResult, file: Path) -> Path:
    figure, axes = _figure(3.2)
    minutes = [reading.seconds / 60 for reading in soak.readings]
    axes.plot(minutes, _of(soak), color="#d1603d", label="resident, MiB")
    axes.axvspan(0, soak.warm_up_s / 60, color="#eeeeee", label="left out")
    axes.set_ylim(0, max(_of(soak)) * 1.2)
    axes.set_xlabel("minutes")
    axes.legend(frameon=False, loc="lower right")
    return _save(figure, file)


def _of(soak: SoakResult) -> Sequence[float]:
    return [reading.rss_mib for reading in soak.readings]
