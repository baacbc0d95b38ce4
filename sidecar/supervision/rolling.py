"""A rolling restart: every worker in turn drains, ends, runs again and is ready, before the next one does."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Never

from sidecar.config.loading import ConfigError, load
from sidecar.config.server_schema import ServerSection
from sidecar.supervision.errors import StartupError
from sidecar.supervision.process import Child, Probe

SETTLE_S = 3.0
"""Seconds from a worker's readiness to the drain of the next one.

Envoy finds out by a health check every second (`envoyconf`), and sends nothing to a worker before that: with
the next one gone earlier, for a moment it would know of none.
"""

_FIXED = ("listen", "workers", "admin")


@dataclass(frozen=True, slots=True)
class Member:
    """A worker that runs, and how to ask it whether it is ready to take requests."""

    child: Child
    ready: Probe


class RollingRestart:
    """Restarts workers one after another, each time `ask` is called.

    Args:
        refusal: Says why there cannot be one now, None if there can; asked before anything is stopped.
        say: Is told what happens.
        settle_s: Seconds between a worker's readiness and the drain of the next.
    """

    def __init__(
        self, refusal: Callable[[], str | None], say: Callable[[str], None], *, settle_s: float = SETTLE_S
    ) -> None:
        self._refusal = refusal
        self._say = say
        self._settle_s = settle_s
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Ask for one, now or after the one under way, which may have read an older configuration."""
        self._asked.set()

    async def answer(self, members: Sequence[Member]) -> Never:
        """Do what is asked for, for as long as the members run."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._roll(members)

    async def _roll(self, members: Sequence[Member]) -> None:
        refusal = self._refusal()
        if refusal is not None:
            self._say(f"no rolling restart: {refusal}")
            return
        self._say(f"rolling restart of {len(members)} workers, one by one")
        try:
            await self._restart_each(members)
        except StartupError as error:
            self._say(f"the rolling restart ends here, for {error}")
        else:
            self._say("rolling restart done")

    async def _restart_each(self, members: Sequence[Member]) -> None:
        for position, member in enumerate(members):
            if position:
                await asyncio.sleep(self._settle_s)
            await member.child.restart(member.ready)


def refusal_of(config: Path | None, running: ServerSection) -> str | None:
    """Why workers would not start with the configuration as it is by now, or not where Envoy looks for them.

    A worker reads the configuration itself when it starts, so a bad one would stop the first worker, and
    then, death by death, the whole of `serve`.
    """
    try:
        server = load(config, os.environ).server
    except ConfigError as error:
        return f"the configuration cannot be used: {error.problems[0]}"
    changed = [name for name in _FIXED if getattr(server, name) != getattr(running, name)]
    if changed:
        return f"server.{changed[0]} has changed, which takes a restart of `serve` as a whole"
    return None
