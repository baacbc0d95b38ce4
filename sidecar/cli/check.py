"""`check FILE`: validates a configuration offline (CONTRACT §2)."""

import dataclasses
import json as json_text
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.envoy_config import read_version
from sidecar.config.errors import ConfigError, ConfigProblem
from sidecar.config.loading import load
from sidecar.envoyconf.shortcomings import shortcoming
from sidecar.envoyconf.version import EnvoyVersion
from sidecar.idempotency.policy import Policies


@dataclass
class _Findings:
    """What was found: policies by name, what makes the file useless, and what does not."""

    names: list[str] = field(default_factory=list)
    problems: list[ConfigProblem] = field(default_factory=list)
    warnings: list[ConfigProblem] = field(default_factory=list)


def check(
    file: Annotated[Path, typer.Argument(help="The configuration file.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Answer with one JSON object on stdout.")] = False,
    envoy_version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="Say also what this Envoy cannot do: 1.36 to 1.40.", show_default=False
        ),
    ] = None,
) -> None:
    """Say everything that is wrong with a configuration: file, line, field, and what is allowed.

    The environment counts as it would for `serve`. Exits 1 if anything is wrong, or if a policy is of no use
    with the Envoy that is asked about; what that does only in part is a warning.
    """
    version = None if envoy_version is None else read_version(envoy_version)
    findings = _Findings()
    try:
        policies = load(file, os.environ).policies
        findings.names = [policy.name for policy in policies.policies]
        if version is not None:
            _compare(file, policies, version, findings)
    except ConfigError as error:
        findings.problems += error.problems
    _print_json(file, findings) if json else _print_lines(file, findings)
    raise typer.Exit(1 if findings.problems else 0)


def _compare(file: Path, policies: Policies, version: EnvoyVersion, findings: _Findings) -> None:
    """What each policy asks for that this Envoy cannot do."""
    for number, policy in enumerate(policies.policies):
        lacks = shortcoming(policy, version)
        if lacks is not None:
            kind = findings.problems if lacks.defeats else findings.warnings
            where = f"policies[{number}]"
            kind.append(
                ConfigProblem(str(file), None, where, f"{policy.name}: {lacks.message}", lacks.allowed)
            )


def _print_json(file: Path, findings: _Findings) -> None:
    answer = {
        "ok": not findings.problems,
        "file": str(file),
        "policies": findings.names,
        "problems": [dataclasses.asdict(problem) for problem in findings.problems],
        "warnings": [dataclasses.asdict(warning) for warning in findings.warnings],
    }
    typer.echo(json_text.dumps(answer, indent=2))


def _print_lines(file: Path, findings: _Findings) -> None:
    names, problems = findings.names, findings.problems
    for warning in findings.warnings:
        typer.echo(f"warning: {warning}", err=True)
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        typer.echo(f"{file}: {_counted(len(problems), 'problem', 'problems')}", err=True)
    else:
        typer.echo(f"{file}: ok ({_counted(len(names), 'policy', 'policies')}: {', '.join(names)})")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
