"""`openapi`: what a service's OpenAPI description should say of its policies."""

import json as json_text
import os
from pathlib import Path
from typing import Annotated

import typer
import yaml

from sidecar.cli.ending import refused
from sidecar.config.errors import ConfigError
from sidecar.config.loading import load
from sidecar.openapi.overlay import overlay
from sidecar.openapi.specification import Specification


def openapi(
    spec: Annotated[
        Path, typer.Argument(help="The service's OpenAPI 3 description, YAML or JSON.", show_default=False)
    ],
    config: Annotated[Path, typer.Option(metavar="FILE", help="The sidecar's configuration.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
) -> None:
    """Print an OpenAPI Overlay (1.0.0) that adds the key and the refusals to the operations with a policy.

    What the description says already stays as it is. Exits 1 if no operation has a policy that enforces.
    """
    try:
        policies = load(config, os.environ).policies
        found = overlay(Specification.read(spec), policies)
    except ConfigError as error:
        raise refused(*map(str, error.problems)) from None
    if found is None:
        raise refused(f"{spec}: no policy of {config} that enforces covers an operation")
    typer.echo(
        json_text.dumps(found, indent=2)
        if json
        else yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=110).rstrip()
    )
