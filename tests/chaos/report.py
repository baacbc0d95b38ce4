"""How a run is told: a table, and everything about what was broken."""

import json
from collections import Counter
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from tests.chaos.history import Ending, Exchange, History
from tests.chaos.judge import cases
from tests.chaos.problems import kind_of
from tests.chaos.run import Outcome


def counts(outcome: Outcome) -> dict[str, dict[str, int]]:
    """The numbers of a run, by section."""
    history = outcome.history
    return {
        "faults injected": dict(Counter(occurrence.kind for occurrence in history.occurrences)),
        "calls with a key, by result": dict(Counter(map(_result, history.exchanges))),
        "calls without a key": dict(Counter(_ended(probe.answer.status) for probe in history.probes)),
        "keys": _keys(history),
        "executions": _executions(outcome),
        "violations": _violations(outcome),
    }


def table(outcome: Outcome) -> Table:
    """The numbers, for people."""
    shown = Table(title=f"Chaos, seed {outcome.script.seed}", box=box.ROUNDED, show_header=False)
    shown.add_column("what")
    shown.add_column("number", justify="right")
    for section, numbers in counts(outcome).items():
        shown.add_section()
        shown.add_row(f"[bold]{section}[/bold]", f"[bold]{sum(numbers.values())}[/bold]")
        for name, number in sorted(numbers.items(), key=lambda pair: -pair[1]):
            shown.add_row(f"  {name}", str(number))
    return shown


def show(outcome: Outcome, console: Console) -> None:
    """Print the table, and where promises were broken all that is known of it."""
    console.print(table(outcome))
    for violation in outcome.violations:
        whose = violation.identity or "-"
        console.print(
            f"VIOLATION {violation.rule} ({whose}): {violation.text}", markup=False, style="bold red"
        )
    for evidence in outcome.evidence:
        console.print(f"\n{evidence.identity}, in the store {evidence.record_id}", markup=False)
        for line in evidence.lines:
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(closing(outcome), markup=False)


def closing(outcome: Outcome) -> str:
    """The last line."""
    took = f"{outcome.seconds:.0f} s"
    if not outcome.violations:
        return f"No promise was broken ({took}, seed {outcome.script.seed})."
    return f"{len(outcome.violations)} violations ({took}). The same plan again: {replay(outcome)}"


def replay(outcome: Outcome) -> str:
    """The command for the same faults and calls; how they meet is up to the machine."""
    minutes = outcome.script.duration_s / 60
    return f"python -m tests.chaos --seed {outcome.script.seed} --minutes {minutes:g}"


def as_json(outcome: Outcome) -> str:
    """Everything a machine may want to read."""
    document = {
        "seed": outcome.script.seed,
        "minutes": outcome.script.duration_s / 60,
        "seconds": round(outcome.seconds, 1),
        "counts": counts(outcome),
        "violations": [
            {"rule": violation.rule, "key": str(violation.identity or ""), "text": violation.text}
            for violation in outcome.violations
        ],
        "evidence": [asdict(evidence) for evidence in outcome.evidence],
        "replay": replay(outcome),
    }
    return json.dumps(document, indent=2)


def _result(exchange: Exchange) -> str:
    answer = exchange.answer
    if answer.ending is not Ending.COMPLETE:
        return str(answer.ending)
    kind = kind_of(answer)
    if kind is not None:
        return f"{answer.status} {kind}"
    if answer.header("x-execution") is None:
        return f"{answer.status} by Envoy"
    return f"{answer.status} {'replayed' if answer.replayed else 'by the upstream'}"


def _ended(status: int | None) -> str:
    return "no response" if status is None else str(status)


def _keys(history: History) -> dict[str, int]:
    """What became of each key in the end."""
    return dict(
        Counter(
            _fate([e for e in case.exchanges if e.call.final], bool(case.executions))
            for case in cases(history)
        )
    )


def _fate(finals: list[Exchange], executed: bool) -> str:
    if not finals:
        return "not asked for in the end"
    result = _result(finals[-1])
    return result if executed else f"{result}, never executed"


def _executions(outcome: Outcome) -> dict[str, int]:
    answered = Counter(
        "refused as late" if execution.fenced else f"answered {execution.status or 'nothing'}"
        for execution in outcome.history.executions
    )
    return dict(answered)


def _violations(outcome: Outcome) -> dict[str, int]:
    return dict(Counter(violation.rule for violation in outcome.violations))
