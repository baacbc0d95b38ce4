"""What a supervisor has to follow of the policies that its workers take up while they run."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Never

from sidecar.config.errors import ConfigError
from sidecar.config.loading import Settings
from sidecar.config.watching import POLL_S, WatchedConfig
from sidecar.supervision.ports import Address
from sidecar.supervision.probes import reloads_of
from sidecar.supervision.process import Child
from sidecar.supervision.worker import stop_within_s

RELOADED_WITHIN_S = 15.0
"""How long workers are waited for, in seconds."""
_PAUSE_S = 0.05
_TRIES_AGAIN_AFTER_S = POLL_S


async def follow(
    config: WatchedConfig, then: Callable[[Settings], Awaitable[None]], say: Callable[[str], None]
) -> Never:
    """Act on each configuration that can be used, until cancelled; what is wrong with others, workers say.

    Whatever else goes wrong, a full disk or a bug, is told, though not time and again, and tried again at the
    next look until it goes well: workers have the new policies by then, and what only these want passes
    unprotected.
    """
    told = ""
    while True:
        try:
            async for _ in config.changes():
                with contextlib.suppress(ConfigError):
                    await then(await asyncio.to_thread(config.load))
                told = ""
        except Exception as error:  # noqa: BLE001 (whatever it is, following must go on)
            why = getattr(error, "strerror", None) or repr(error)
            if why != told:
                say(f"new policies could not be taken up ({why}); trying again until they are")
            told = why
        await asyncio.sleep(_TRIES_AGAIN_AFTER_S)
        config.ask()


def allow_drain(workers: Sequence[Child], loaded: Settings) -> None:
    """Let workers take as long to end as the calls of these policies may, before they are killed."""
    for worker in workers:
        worker.may_take(stop_within_s(loaded))


async def reload_first(workers: Mapping[Address, Child], within_s: float = RELOADED_WITHIN_S) -> bool:
    """Have each worker (by its admin listener) reload, and wait until all have; False if one does not tell.

    One that is restarted meanwhile forgets how often it has, and reads the file when it starts.
    """
    done = await asyncio.gather(*(_reloaded(admin, child, within_s) for admin, child in workers.items()))
    return all(done)


async def _reloaded(admin: Address, child: Child, within_s: float) -> bool:
    before = await reloads_of(admin)
    child.signal(signal.SIGHUP)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while await reloads_of(admin) in (before, None):  # noqa: ASYNC110 - a worker has to be asked
                await asyncio.sleep(_PAUSE_S)
            return True
    return False
