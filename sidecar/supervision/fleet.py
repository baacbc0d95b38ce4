"""The workers of `serve`, when there are several: one program N times, each with its own endpoints."""

import asyncio
import contextlib
import signal
from functools import partial
from pathlib import Path

import structlog

from sidecar.config.loading import Settings
from sidecar.supervision.interruption import InterruptedRunError, until_signalled
from sidecar.supervision.ports import Address
from sidecar.supervision.rolling import Member, RollingRestart, refusal_of
from sidecar.supervision.supervisor import Supervisor
from sidecar.supervision.worker import production_worker, ready

ROLL = signal.SIGUSR2


async def run_workers(settings: Settings, config: Path | None) -> None:
    """Run them until SIGTERM or SIGINT, which they get as SIGTERM and answer by draining.

    SIGUSR2 restarts them one by one.

    Raises:
        SupervisionError: one cannot be started, or died too often.
    """
    log = structlog.get_logger("sidecar")
    supervisor = Supervisor(lambda _name, line: log.warning(line))
    rolling = RollingRestart(partial(refusal_of, config, settings.server), supervisor.say)
    running = _run(supervisor, rolling, settings, config)
    with contextlib.suppress(InterruptedRunError):
        await until_signalled(running, hurry=supervisor.hurry, on={ROLL: rolling.ask})


async def _run(
    supervisor: Supervisor, rolling: RollingRestart, settings: Settings, config: Path | None
) -> None:
    workers = range(settings.server.workers)
    try:
        children = await supervisor.start([production_worker(config, settings, index) for index in workers])
        admins = [Address(admin.host, admin.port) for admin in settings.server.admins]
        members = [Member(child, ready(admin)) for child, admin in zip(children, admins, strict=True)]
        answering = asyncio.create_task(rolling.answer(members))
        try:
            await supervisor.watch()
        finally:
            answering.cancel()
    finally:
        await supervisor.stop()
