"""`check FILE`: validates a configuration offline (CONTRACT §2)."""

import dataclasses
import json as json_text
import os
from pathlib import Path
from typing import Annotated

import typer

from sidecar.config.errors import ConfigError, ConfigProblem
from sidecar.config.loading import load


def check(
    file: Annotated[Path, typer.Argument(help="The configuration file.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")] = False,
) -> None:
    """Say everything that is wrong with a configuration: file, line, field, and what is allowed.

    The environment counts as it would for `serve`. Exits 1 if anything is wrong.
    """
    problems: tuple[ConfigProblem, ...] = ()
    names: list[str] = []
    try:
        names = [policy.name for policy in load(file, os.environ).policies.policies]
    except ConfigError as error:
        problems = error.problems
    _print_json(file, problems, names) if json else _print_lines(file, problems, names)
    raise typer.Exit(1 if problems else 0)


def _print_json(file: Path, problems: tuple[ConfigProblem, ...], names: list[str]) -> None:
    listed = [dataclasses.asdict(problem) for problem in problems]
    answer = {"ok": not problems, "file": str(file), "policies": names, "problems": listed}
    typer.echo(json_text.dumps(answer, indent=2))


def _print_lines(file: Path, problems: tuple[ConfigProblem, ...], names: list[str]) -> None:
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        typer.echo(f"{file}: {_counted(len(problems), 'problem', 'problems')}", err=True)
    else:
        typer.echo(f"{file}: ok ({_counted(len(names), 'policy', 'policies')}: {', '.join(names)})")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
