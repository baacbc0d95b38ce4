"""`serve`: the ext_proc server and its admin endpoint alone, as it runs in production."""

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sidecar.cli.ending import misused, refused

if TYPE_CHECKING:
    from sidecar.config.loading import Settings
    from sidecar.config.watching import WatchedConfig


def serve(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The configuration; without it, everything comes from IDEMPOTENCY__… in the environment.",
        ),
    ] = None,
    worker: Annotated[
        int | None, typer.Option(hidden=True, help="Run this worker only, in this process.")
    ] = None,
    envoy_follows: Annotated[
        bool, typer.Option("--envoy-follows", hidden=True, help="Envoy's configuration is rendered by `up`.")
    ] = False,
) -> None:
    """Run the ext_proc server and its admin endpoint. SIGTERM drains: what is in flight ends, then exit 0.

    A change to the file's policies is picked up within two seconds, at SIGHUP at once; a file that cannot be
    used changes nothing. With `server.workers` above 1 this process supervises that many workers, and starts
    again one that dies; SIGUSR2 restarts them one by one, each with the configuration as it is by then.
    """
    from sidecar.config.watching import WatchedConfig  # noqa: PLC0415 - keeps `--help` fast

    watched = None if config is None else WatchedConfig(config, os.environ)
    settings = _settings(config)
    workers = settings.server.workers
    if worker is not None and not 0 <= worker < workers:
        raise misused(
            f"--worker {worker}: there is no such worker; allowed: 0 to {workers - 1} (server.workers)"
        )
    if worker is None and workers > 1:
        _supervise(settings, watched)
    else:
        _run(settings, worker or 0, watched, envoy_follows=envoy_follows)


def _settings(config: Path | None) -> "Settings":
    from sidecar.config.loading import ConfigError, load  # noqa: PLC0415 - keeps `--help` fast

    try:
        return load(config, os.environ)
    except ConfigError as error:
        raise refused(*map(str, error.problems)) from None


def _run(settings: "Settings", worker: int, config: "WatchedConfig | None", *, envoy_follows: bool) -> None:
    from sidecar.app import StartError, serve_worker  # noqa: PLC0415 - keeps `--help` fast
    from sidecar.reloading import Following  # noqa: PLC0415 - keeps `--help` fast

    following = None if config is None else Following(config, envoy_follows=envoy_follows)
    # For the supervisor alone. Whoever signals every process of this name must not end the workers at once.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    # A reload that is asked for before the worker serves is no reason to end: it has just read the file.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        serve_worker(settings, worker, following)
    except StartError as error:
        raise refused(str(error)) from None


def _supervise(settings: "Settings", config: "WatchedConfig | None") -> None:
    from sidecar.supervision.errors import SupervisionError  # noqa: PLC0415 - keeps `--help` fast
    from sidecar.supervision.fleet import run_workers  # noqa: PLC0415 - keeps `--help` fast
    from sidecar.telemetry import logging  # noqa: PLC0415 - keeps `--help` fast

    logging.configure()
    try:
        asyncio.run(run_workers(settings, config))
    except SupervisionError as error:
        raise refused(str(error)) from None
