"""The workers of `serve`, when there are several: one program N times, each with its own endpoints."""

import asyncio
import contextlib
import signal
from functools import partial

import structlog

from sidecar.config.loading import Settings
from sidecar.config.watching import WatchedConfig
from sidecar.supervision.following import allow_drain, follow
from sidecar.supervision.interruption import InterruptedRunError, until_signalled
from sidecar.supervision.ports import Address
from sidecar.supervision.process import Child
from sidecar.supervision.rolling import Member, RollingRestart, refusal_of
from sidecar.supervision.supervisor import Supervisor
from sidecar.supervision.worker import production_worker, ready

ROLL = signal.SIGUSR2
RELOAD = signal.SIGHUP


async def run_workers(settings: Settings, config: WatchedConfig | None) -> None:
    """Run them until SIGTERM or SIGINT, which they get as SIGTERM and answer by draining.

    SIGUSR2 restarts them one by one. SIGHUP is passed on to each, which reloads its policies.

    Raises:
        SupervisionError: one cannot be started, or died too often.
    """
    log = structlog.get_logger("sidecar")
    supervisor = Supervisor(lambda _name, line: log.warning(line))
    path = None if config is None else config.path
    rolling = RollingRestart(partial(refusal_of, path, settings.server), supervisor.say)
    fleet = _Fleet(supervisor, rolling, settings, config)
    on = {ROLL: rolling.ask, RELOAD: fleet.reload}
    with contextlib.suppress(InterruptedRunError):
        await until_signalled(fleet.run(), hurry=supervisor.hurry, on=on)


class _Fleet:
    """The workers, and what has to be done for them while they run."""

    def __init__(
        self,
        supervisor: Supervisor,
        rolling: RollingRestart,
        settings: Settings,
        config: WatchedConfig | None,
    ) -> None:
        self._supervisor = supervisor
        self._rolling = rolling
        self._settings = settings
        self._config = config
        self._children: list[Child] = []

    def reload(self) -> None:
        """Have every worker reload its policies; one that is just starting reads the file anyway."""
        for child in self._children:
            child.signal(RELOAD)
        if self._config is not None:
            self._config.ask()

    async def run(self) -> None:
        """Start the workers and answer for them until cancelled."""
        settings, path = self._settings, None if self._config is None else self._config.path
        workers = range(settings.server.workers)
        try:
            specs = [production_worker(path, settings, index) for index in workers]
            self._children = await self._supervisor.start(specs)
            await self._attend()
        finally:
            await self._supervisor.stop()

    async def _attend(self) -> None:
        admins = [Address(admin.host, admin.port) for admin in self._settings.server.admins]
        members = [Member(child, ready(admin)) for child, admin in zip(self._children, admins, strict=True)]
        tasks: list[asyncio.Task[None]] = [asyncio.create_task(self._rolling.answer(members))]
        if self._config is not None:
            tasks.append(asyncio.create_task(follow(self._config, self._allow_drain, self._supervisor.say)))
        try:
            await self._supervisor.watch()
        finally:
            for task in tasks:
                task.cancel()

    async def _allow_drain(self, loaded: Settings) -> None:
        allow_drain(self._children, loaded)
