"""`python -m tests.chaos`: break everything for a while, and see whether the promises hold."""

import asyncio
import random
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sidecar.supervision.errors import SupervisionError
from sidecar.supervision.interruption import InterruptedRunError, until_signalled
from tests.chaos.report import as_json, show
from tests.chaos.run import Outcome, Script, perform


def main(
    seed: Annotated[
        int | None, typer.Option(min=0, help="Makes the same plan and workload again.", show_default="random")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.1, max=600, help="How long things are broken.")] = 2.0,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to write everything as JSON.")
    ] = None,
) -> None:
    """Two stacks over one store, clients that repeat themselves, faults everywhere; exit 1 on a violation.

    The seed decides which faults strike when and what is asked when. How they meet on a real machine is up
    to the machine: the same seed may show a violation in one run and not in the next.
    """
    console = Console(soft_wrap=False)
    chosen = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    console.print(f"seed {chosen}, {minutes:g} minutes", highlight=False)
    try:
        outcome = asyncio.run(_run(Script(chosen, minutes * 60), console))
    except (SupervisionError, RuntimeError) as error:
        console.print(f"the run broke off: {error} (seed {chosen})", markup=False, style="bold red")
        raise typer.Exit(1) from None
    except InterruptedRunError:
        console.print("stopped; nothing was judged")
        raise typer.Exit(1) from None
    show(outcome, console)
    if report is not None:
        report.write_text(as_json(outcome), encoding="utf-8")
    sys.exit(1 if outcome.violations else 0)


async def _run(script: Script, console: Console) -> Outcome:
    def say(phase: str) -> None:
        console.print(phase, highlight=False, markup=False)

    return await until_signalled(perform(script, say), hurry=lambda: None)


if __name__ == "__main__":
    typer.run(main)
