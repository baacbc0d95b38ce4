"""`check FILE`: validates a configuration offline, and tells what it would do (CONTRACT §2)."""

import json as json_text
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sidecar.cli import explanation_report
from sidecar.cli.ending import misused, refused
from sidecar.cli.envoy_config import read_version
from sidecar.cli.explanation import explain as explained
from sidecar.cli.explanation import read_request
from sidecar.cli.findings import Findings
from sidecar.config.errors import ConfigError
from sidecar.config.json_schema import json_schema
from sidecar.config.loading import load
from sidecar.idempotency.request import Request


def check(  # noqa: PLR0913, PLR0917 - an argument is an option of the command line here
    file: Annotated[Path | None, typer.Argument(help="The configuration file.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where there are warnings.")] = False,
    envoy_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="Say also what this Envoy cannot do: 1.36 to 1.40.", show_default=False
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="'METHOD URL'",
            help="Say which policy this request meets and why, and what becomes of it.",
            show_default=False,
        ),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'NAME: VALUE'", help="With --explain: a header of it; repeatable.", show_default=False
        ),
    ] = None,
    route: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="With --explain: the Envoy route that it takes.", show_default=False
        ),
    ] = None,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print a JSON Schema of the file, for editors; no FILE then.")
    ] = False,
) -> None:
    """Say everything that is wrong with a configuration: file, line, field, and what is allowed.

    What is allowed and dangerous is a warning, and what is worth knowing a note. The environment counts as it
    would for `serve`. Exits 1 if anything is wrong, or if a policy is of no use with the Envoy that is asked
    about; what that does only in part is a warning.
    """
    version = None if envoy_version is None else read_version(envoy_version)
    if schema:
        _print_schema(file, explain)
        return
    if file is None:
        raise misused("there is no FILE to check; allowed: one, or --schema without any")
    if explain is not None:
        _print_explanation(file, _request(explain, header or [], route or ""), json=json)
        return
    if header or route:
        raise misused("--header and --route describe a request; allowed: with --explain 'METHOD URL'")
    findings = Findings.of(file, os.environ, version)
    _print_json(findings) if json else _print_lines(findings)
    raise typer.Exit(1 if findings.problems or (strict and findings.warned) else 0)


def _print_schema(file: Path | None, explain: str | None) -> None:
    if file is not None or explain is not None:
        raise misused("--schema is the same for every file; allowed: without FILE and --explain")
    typer.echo(json_text.dumps(json_schema(), indent=2))


def _request(text: str, headers: list[str], route: str) -> Request:
    try:
        return read_request(text, headers, route)
    except ValueError as error:
        raise misused(str(error)) from None


def _print_explanation(file: Path, request: Request, *, json: bool) -> None:
    try:
        explanation = explained(load(file, os.environ).policies, request)
    except ConfigError as error:
        raise refused(*map(str, error.problems)) from None
    if json:
        typer.echo(json_text.dumps(explanation_report.as_object(explanation), indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    for line in explanation_report.lines(explanation):
        console.print(line)


def _print_json(findings: Findings) -> None:
    typer.echo(json_text.dumps(findings.as_object(), indent=2))


def _print_lines(findings: Findings) -> None:
    file, names, problems = findings.file, findings.names, findings.problems
    for danger in findings.dangers:
        typer.echo(danger, err=True)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        typer.echo(f"{file}: {_counted(len(problems), 'problem', 'problems')}", err=True)
        return
    warned = findings.warned
    warnings = f", {_counted(warned, 'warning', 'warnings')}" if warned else ""
    typer.echo(f"{file}: ok ({_counted(len(names), 'policy', 'policies')}: {', '.join(names)}){warnings}")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
