"""`python -m bench`: the full run, the short form, one figure, or the pages from the results."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from bench import bounds, plan, report, rig, soak
from bench.errors import BenchError, UnavailableError
from bench.only import Question, ask
from bench.point import Scenario
from bench.results import FULL_LOAD, HALF_LOAD, LATEST, SOAK, SOAKS, Results, load, load_soak, save, save_soak
from bench.run import carry_out
from bench.spread import Spread
from sidecar.supervision.errors import SupervisionError

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 where all is well, 1 where it is not, 2 for a bad usage."""
    options = _parser().parse_args(arguments)
    try:
        result: int = options.run(options)
    except (BenchError, UnavailableError, SupervisionError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 1
    return result


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run", help="everything; writes bench/results/latest.json and docs/performance.md"
    )
    run.add_argument(
        "--short",
        action="store_true",
        help="only what the bounds need, without peers that are missing here; writes nothing",
    )
    run.add_argument(
        "--transport", choices=plan.TRANSPORTS, default=plan.TRANSPORTS[0], help="which is bounded"
    )
    run.set_defaults(run=_run)
    soaking = commands.add_parser(
        "soak", help="load for a quarter of an hour; half and full load are kept in bench/results/"
    )
    soaking.add_argument("--minutes", type=_positive, default=15, metavar="N", help="how long")
    soaking.add_argument(
        "--transport", choices=plan.TRANSPORTS, default=plan.TRANSPORTS[0], help="of the sidecar"
    )
    soaking.add_argument(
        "--load", type=float, choices=(HALF_LOAD, FULL_LOAD), default=HALF_LOAD, help="of what it can take"
    )
    soaking.set_defaults(run=_soak)
    render = commands.add_parser("render", help="docs/performance.md and the pictures from the results")
    render.set_defaults(run=_render)
    only = commands.add_parser("only", help="one figure, quickly, next to the no-op processor")
    only.add_argument("scenario", choices=list(Scenario), metavar="|".join(Scenario))
    only.add_argument(
        "--transport", choices=plan.TRANSPORTS, default=plan.TRANSPORTS[0], help="of the sidecar"
    )
    for name, value, meaning in (
        ("rounds", 3, "measured after one to warm up"),
        ("seconds", 2, "of each burst"),
        ("size", 100, "bytes of each body"),
        ("concurrency", 32, "requests at once"),
        ("workers", 1, "sidecar processes"),
    ):
        only.add_argument(f"--{name}", type=_positive, default=value, metavar="N", help=meaning)
    only.set_defaults(run=_only)
    return parser


def _run(options: argparse.Namespace) -> int:
    others = (transport for transport in plan.TRANSPORTS if transport != options.transport)
    chosen = (plan.short if options.short else plan.full)((options.transport, *others))
    try:
        results = _with_rig(lambda running: carry_out(running, chosen, _say))
    except UnavailableError as error:
        if not options.short:
            raise
        sys.stdout.write(f"nothing was measured: {error}\n")
        return 0
    if not options.short:
        save(results)
        _write_pages()
    for verdict in results.bounds:
        sys.stdout.write(f"{bounds.line(verdict)}\n")
    for what, skip in results.failures.items():
        sys.stdout.write(f"FAIL {what}: {skip.reason}\n")
    missed = bounds.misses(results.bounds, without_peers=options.short)
    sys.stdout.write(f"{_conclusion(results, missed)}\n")
    return 1 if missed or results.failures else 0


def _render(_: argparse.Namespace) -> int:
    _write_pages()
    return 0


def _write_pages() -> None:
    """The page and the pictures, from what is kept."""
    from bench import plots  # noqa: PLC0415 - matplotlib loads slowly, and is not needed to measure

    results, soaks = load(), [load_soak(file) for file in SOAKS.values()]
    report.PAGE.write_text(report.render(results, *soaks), encoding="utf-8")
    for file in (report.PAGE, *plots.draw(results, soaks[0])):
        _say(f"written: {file}")


def _soak(options: argparse.Namespace) -> int:
    result = _with_rig(
        lambda running: soak.soak(running, options.transport, options.minutes, options.load, _say)
    )
    figures = {bounds.SOAK_SLOPE: Spread.of([result.slope_mib_per_h])}
    (verdict,) = (found for found in bounds.judge(figures, {}) if found.figure == bounds.SOAK_SLOPE)
    sys.stdout.write(f"{bounds.line(verdict)}; descriptors per hour: {result.descriptors_per_h:.3g}\n")
    if options.minutes >= soak.LEAST_KEPT_MINUTES:
        file = SOAKS[options.load]
        save_soak(result, file)
        if LATEST.exists():
            if file == SOAK:
                save(load().with_verdict(verdict))
            _write_pages()
    return 0 if verdict.passed else 1


def _conclusion(results: Results, missed: Sequence[bounds.Verdict]) -> str:
    took = f"{results.seconds} s, {results.form} form"
    wrong = []
    if missed:
        wrong.append(f"{len(missed)} bounds are missed: {', '.join(verdict.figure for verdict in missed)}")
    if results.failures:
        wrong.append(f"{len(results.failures)} failed: {', '.join(results.failures)}")
    return f"{'; '.join(wrong) or 'every bound that was measured holds'} ({took})"


def _answer(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a whole number from 1 up")
    return int(text)


def _only(options: argparse.Namespace) -> int:
    question = Question(
        scenario=Scenario(options.scenario),
        **{name: getattr(options, name) for name in Question.__slots__ if name != "scenario"},
    )
    _with_rig(lambda running: ask(running, question, _answer))
    return 0


def _with_rig(work: Callable[[rig.Rig], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        async with rig.running() as running:
            try:
                return await work(running)
            except BenchError:
                sys.stderr.write("".join(f"{line}\n" for line in running.said))
                raise

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
