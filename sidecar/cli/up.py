"""`up`: idempotency in front of any service, in one command."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from sidecar.cli.ending import misused, refused

if TYPE_CHECKING:
    from sidecar.supervision.stack import Stack, StackOptions


def up(  # noqa: PLR0913, PLR0917 - an argument is an option of the command line here
    upstream: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Your service: http://HOST:PORT, https://HOST or h2c://HOST:PORT (cleartext HTTP/2, gRPC).",
        ),
    ],
    listen: Annotated[
        str,
        typer.Option(metavar="IP:PORT", help="Where clients call it from now on; port 0 takes a free one."),
    ] = "127.0.0.1:8080",
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The policies; without it every POST and PATCH may carry a key."),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="redis://HOST:PORT/0 or rediss://… to keep the keys in; without it an embedded Valkey, "
            "forgotten at the end.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=64, help="Sidecar processes.", show_default="1")
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(
            metavar="IP:PORT",
            help="Health and metrics of the first worker, under /all of every one; the others: ports above.",
            show_default="127.0.0.1:9902",
        ),
    ] = None,
    envoy: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="An Envoy of your own, 1.36 to 1.40.", show_default="the embedded one"
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Say that it is ready as one JSON object on stdout.")
    ] = False,
) -> None:
    """Put idempotency in front of any service: Envoy, the sidecar and a store, until Ctrl-C.

    Then call it with a key, twice, and see it execute once.
    """
    from sidecar.supervision.logs import NamedLines, wants_colour  # noqa: PLC0415 - keeps `--help` fast
    from sidecar.supervision.stack import StackOptions  # noqa: PLC0415 - the same
    from sidecar.telemetry.logging import FORMAT  # noqa: PLC0415 - the same

    if sys.stderr.isatty():  # the workers write into a pipe, but a person reads along
        os.environ.setdefault(FORMAT, "readable")
    options = StackOptions(
        upstream=upstream,
        listen=listen,
        config=config,
        store=store,
        workers=workers,
        admin=admin,
        envoy=envoy,
        sink=NamedLines(sys.stderr, colour=wants_colour(sys.stderr)),
    )
    _run(options, as_json=as_json)


def _run(options: "StackOptions", *, as_json: bool) -> None:
    from sidecar.config.errors import ConfigError  # noqa: PLC0415 - keeps `--help` fast
    from sidecar.supervision.errors import SupervisionError, UsageError  # noqa: PLC0415 - the same

    try:
        asyncio.run(_up(options, as_json=as_json))
    except UsageError as error:
        raise misused(str(error)) from None
    except ConfigError as error:
        raise refused(*map(str, error.problems)) from None
    except SupervisionError as error:
        raise refused(str(error)) from None


async def _up(options: "StackOptions", *, as_json: bool) -> None:
    from sidecar.supervision.errors import StartupError  # noqa: PLC0415 - keeps `--help` fast
    from sidecar.supervision.interruption import InterruptedRunError, until_signalled  # noqa: PLC0415 - the same
    from sidecar.supervision.stack import Stack  # noqa: PLC0415 - the same

    stack = Stack(options)
    ready = asyncio.Event()

    async def work() -> NoReturn:
        async with stack:
            ready.set()
            typer.echo(_as_json(stack) if as_json else _welcome(stack))
            try:
                await stack.watch()
            except asyncio.CancelledError:
                options.sink(
                    "up", "stopping: Envoy finishes what is in flight, then the rest (Ctrl-C again: at once)"
                )
                raise

    try:
        await until_signalled(work(), hurry=stack.hurry)
    except InterruptedRunError:
        if not ready.is_set():
            raise StartupError("stopped before it was ready") from None


def _welcome(stack: "Stack") -> str:
    store = "an embedded Valkey" if stack.embedded_store else "your store"
    workers = len(stack.admin_urls)
    metrics = f"{stack.admin_urls[0]}/metrics{'/all' if workers > 1 else ''}"
    headers = """-H 'Content-Type: application/json' -H 'Idempotency-Key: "try-1"'"""
    return (
        f"Ready: {stack.url} puts idempotency in front of {stack.options.upstream} "
        f"({workers} worker{'s' if workers > 1 else ''}, {store}; metrics at {metrics}). "
        "Ctrl-C stops it all.\n"
        f"Try it, twice: curl -i {stack.url}/ {headers} -d '{{}}'"
    )


def _as_json(stack: "Stack") -> str:
    return json.dumps(
        {
            "ready": True,
            "url": stack.url,
            "upstream": stack.options.upstream,
            "admin": stack.admin_urls,
            "embedded_store": stack.embedded_store,
            "pids": {"envoy": stack.envoy_pid, "workers": stack.worker_pids},
        }
    )
