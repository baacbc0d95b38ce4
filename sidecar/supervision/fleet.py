"""The workers of `serve`, when there are several: one program N times, each with its own endpoints."""

import contextlib
from pathlib import Path

import structlog

from sidecar.config.loading import Settings
from sidecar.supervision.interruption import InterruptedRunError, until_signalled
from sidecar.supervision.ports import Address
from sidecar.supervision.supervisor import Supervisor
from sidecar.supervision.worker import production_worker


async def run_workers(settings: Settings, config: Path | None) -> None:
    """Run them until SIGTERM or SIGINT, which they get as SIGTERM and answer by draining.

    Raises:
        SupervisionError: one cannot be started, or died too often.
    """
    log = structlog.get_logger("sidecar")
    supervisor = Supervisor(lambda _name, line: log.warning(line))
    with contextlib.suppress(InterruptedRunError):
        await until_signalled(_run(supervisor, settings, config), hurry=supervisor.hurry)


async def _run(supervisor: Supervisor, settings: Settings, config: Path | None) -> None:
    workers = settings.server.workers
    try:
        admins = [settings.server.admin.for_worker(index, workers) for index in range(workers)]
        await supervisor.start(
            [
                production_worker(config, Address(admin.host, admin.port), index, workers)
                for index, admin in enumerate(admins)
            ]
        )
        await supervisor.watch()
    finally:
        await supervisor.stop()
