"""`demo`: the whole job, shown."""

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.ending import NO, refused

if TYPE_CHECKING:
    from sidecar.demo.performance import Performance


def demo(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what the processes log as well.")
    ] = False,
) -> None:
    """See it work: a payments service behind a real Envoy, and a client that does everything wrong.

    Shows what was sent, what came back and how often the service executed. Exits 1 if anything is not
    as promised. Takes some seconds, needs no network, leaves nothing behind.
    """
    from sidecar.demo.report import as_json as in_json  # noqa: PLC0415 - keeps `--help` fast
    from sidecar.demo.report import closing  # noqa: PLC0415 - the same

    performance = _perform(quiet=as_json, verbose=verbose)
    typer.echo(in_json(performance) if as_json else closing(performance))
    raise typer.Exit(0 if performance.as_promised else NO)


def _perform(*, quiet: bool, verbose: bool) -> "Performance":
    from sidecar.demo.performance import Theatre  # noqa: PLC0415 - the same
    from sidecar.demo.programme import Programme  # noqa: PLC0415 - keeps `--help` fast
    from sidecar.supervision.errors import SupervisionError  # noqa: PLC0415 - the same
    from sidecar.supervision.interruption import InterruptedRunError, until_signalled  # noqa: PLC0415 - the same
    from sidecar.supervision.logs import NamedLines, discard, wants_colour  # noqa: PLC0415 - the same

    sink = NamedLines(sys.stderr, colour=wants_colour(sys.stderr)) if verbose else discard

    async def perform() -> "Performance":
        with Programme(quiet=quiet) as programme:
            theatre = Theatre(sink, on_ready=programme.ready, on_scene=programme.played)
            return await until_signalled(theatre.perform(), hurry=theatre.hurry)

    try:
        return asyncio.run(perform())
    except SupervisionError as error:
        raise refused(f"the demo cannot start: {error}") from None
    except InterruptedRunError:
        raise refused("stopped before the end") from None
