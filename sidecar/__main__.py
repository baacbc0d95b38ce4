"""The command `idempotency-sidecar`, also `python -m sidecar`: one module per command, registered here."""

import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from sidecar.cli.check import check
from sidecar.cli.demo import demo
from sidecar.cli.envoy_config import envoy_config
from sidecar.cli.openapi import openapi
from sidecar.cli.serve import serve
from sidecar.cli.up import up

COMMAND = "idempotency-sidecar"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel="Try it")(demo)
app.command(rich_help_panel="Try it")(up)
app.command(rich_help_panel="Run it")(serve)
app.command(rich_help_panel="Run it")(check)
app.command("envoy-config", rich_help_panel="Run it")(envoy_config)
app.command(rich_help_panel="Run it")(openapi)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{COMMAND} {importlib.metadata.version(COMMAND)}")
        raise typer.Exit


@app.callback()
def idempotency_sidecar(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Make any HTTP service safe to retry.

    A request with an `Idempotency-Key` executes once; its retries get the recorded response. Envoy carries
    the traffic, this process decides, Redis or Valkey remembers.

    Begin with `demo`, then put it in front of a service of yours with `up --upstream http://127.0.0.1:3000`.
    """
    del version


def main() -> None:
    """Run the command line, under the name it was called by."""
    # gRPC's C core would say in its own words, before ours, what a `StartError` says in one line.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    called_as_module = Path(sys.argv[0]).name == "__main__.py"
    app(prog_name="python -m sidecar" if called_as_module else COMMAND)


if __name__ == "__main__":
    main()
