"""One process under supervision: started, watched, restarted when it dies, stopped in the end."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.supervision import launcher
from sidecar.supervision.errors import GaveUpError, StartupError
from sidecar.supervision.program import RunningProgram, run_program
from sidecar.supervision.restart import DeathRecord, RestartPolicy

Probe = Callable[[], Awaitable[str | None]]
"""Asks whether a process is ready: None when it is, else why not. Never raises, never takes long."""

_PROBE_PAUSE_S = 0.05
_LAST_WORDS = 20


async def always_ready() -> str | None:
    """The probe of a process that is ready when it runs."""
    return None


def last_line(lines: list[str]) -> str:
    """What a process said last: its own account of why it ended."""
    return lines[-1] if lines else "it printed nothing"


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run and how to treat it. Times in seconds."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] | None = None
    """None: this process's own."""
    probe: Probe = always_ready
    explain: Callable[[list[str]], str] = last_line
    """Finds, in the last lines it printed, why it could not start."""
    before_stop: Callable[[], Awaitable[None]] | None = None
    """A drain, awaited before the SIGTERM."""
    start_within_s: float = 30.0
    stop_within_s: float = 10.0
    """How long the drain may take, and then how long the end after SIGTERM may, before SIGKILL."""
    when_orphaned: signal.Signals = signal.SIGKILL
    """What the kernel sends it should this process be killed (Linux)."""
    restarts: RestartPolicy = field(default_factory=RestartPolicy)
    hush: re.Pattern[str] | None = None
    """Lines that mean nothing to whoever reads along, found by `search`: dropped."""
    loss: str = ""
    """What a restart loses, to be said when it happens."""
    captured: bool = True
    """Whether its output goes to the sink; False: straight to this process's own stdout and stderr."""


class Child:
    """A running `ChildSpec`. `start`, then `supervise` for as long as it shall live, then `stop`."""

    def __init__(self, spec: ChildSpec, *, take: Callable[[str], None], say: Callable[[str], None]) -> None:
        """`take` receives each line it prints, `say` what happens to it."""
        self.spec = spec
        self.stop_within_s = spec.stop_within_s
        self._take = take
        self._say = say
        self._program: RunningProgram | None = None
        self._last_lines: deque[str] = deque(maxlen=_LAST_WORDS)
        self._deaths = DeathRecord(spec.restarts)
        self._spawning = asyncio.Lock()
        self._ended_by_restart = False
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the process that runs now; None while there is none."""
        return self._program.pid if self._program and self._program.runs else None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs; to itself alone, not to what it started."""
        if self._program is not None:
            self._program.send(number)

    def may_take(self, stop_within_s: float) -> None:
        """Raise how long its end may take, in seconds; never lower it: what began before may be under way."""
        self.stop_within_s = max(self.stop_within_s, stop_within_s)

    async def start(self) -> None:
        """Run it until it is ready.

        Raises:
            StartupError: it ended before that, or was not ready in time; it may still run and wants `stop`.
        """
        await self._spawn()
        await self._until_ready()

    async def supervise(self) -> None:
        """Run it again whenever it dies, or `restart` ended it, until `stop`.

        Raises:
            GaveUpError: it died too often.
        """
        while not self._stopping.is_set():
            ending = await self._ended()
            if self._stopping.is_set():
                return
            if not self._ended_by_restart:
                last = f"with {ending}: {self.spec.explain(list(self._last_lines))}"
                await self._pause_after(f"died ({ending})", last)
            self._ended_by_restart = False
            await self._spawn_again()
            await self._say_when_back()

    async def restart(self, ready: Probe) -> None:
        """End it in order and wait until what `supervise` runs in its place is ready. That is no death.

        Raises:
            StartupError: the new one is not ready in time; supervision goes on with it as with any other.
        """
        before = self._program
        if before is not None and before.runs:
            self._ended_by_restart = True
            await self._end(before)
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.spec.start_within_s
        reason: str | None = "it does not run"
        while self._program is before or (reason := await ready()) is not None:
            if self._stopping.is_set():
                return
            if clock() > deadline:
                raise StartupError(f"{self.spec.name} is not ready after its restart: {reason}")
            await asyncio.sleep(_PROBE_PAUSE_S)

    async def stop(self) -> None:
        """End it: the drain, SIGTERM, and SIGKILL to what is left after the limit. Never raises."""
        self._stopping.set()
        async with self._spawning:  # one that is being spawned right now is stopped as well
            program = self._program
        if program is not None:
            await self._end(program)

    async def _end(self, program: RunningProgram) -> None:
        await self._drain(program)
        program.send_all(signal.SIGTERM)
        if not await self._within_limit(program.exited()) and not self._hurrying.is_set():
            self._say(f"{self.spec.name} did not stop within {self.stop_within_s:g} s; killing it")
        program.send_all(signal.SIGKILL)
        await program.ended()

    def hurry(self) -> None:
        """Make a `stop`, now or later, skip all waiting."""
        self._hurrying.set()

    async def _spawn(self) -> None:
        async with self._spawning:
            if self._stopping.is_set():
                return
            self._last_lines.clear()
            take = self._heard if self.spec.captured else None
            argv = _dying_with_this_process(self.spec)
            try:
                self._program = await run_program(argv, environ=self.spec.environ, take=take)
            except OSError as error:
                raise StartupError(f"cannot run {self.spec.argv[0]}: {error.strerror}") from error

    async def _spawn_again(self) -> None:
        """Run it again. Where not even that can be done, for want of processes or memory, it is a death."""
        while (failure := await self._failure_to_spawn()) is not None:
            await self._pause_after(f"could not be started again ({failure})", f"before it ran: {failure}")

    async def _failure_to_spawn(self) -> str | None:
        try:
            await self._spawn()
        except StartupError as error:
            return str(error)
        return None

    def _heard(self, line: str) -> None:
        if self.spec.hush and self.spec.hush.search(line):
            return
        self._last_lines.append(line)
        self._take(line)

    async def _until_ready(self) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + self.spec.start_within_s
        while (reason := await self.spec.probe()) is not None or self.pid is None:
            if self._stopping.is_set():
                return
            if self.pid is None:
                ending = await self._ended()
                why = self.spec.explain(list(self._last_lines))
                raise StartupError(f"{self.spec.name} could not start ({ending}): {why}")
            if clock() > deadline:
                limit = f"{self.spec.start_within_s:g} s"
                raise StartupError(f"{self.spec.name} is not ready after {limit}: {reason}")
            await asyncio.sleep(_PROBE_PAUSE_S)

    async def _ended(self) -> str:
        """Wait for the end of the process; how it ended, in words."""
        return "not started" if self._program is None else await self._program.ended()

    async def _pause_after(self, death: str, last: str) -> None:
        """Count a death and wait as long as is due; `last` is what to say of it should it be one too many."""
        delay = self._deaths.add(asyncio.get_running_loop().time())
        if delay is None:
            limit = self.spec.restarts
            times = f"{limit.deaths} times within {limit.within_s:g} s"
            raise GaveUpError(f"{self.spec.name} died {times}, the last time {last}")
        loss = f" ({self.spec.loss})" if self.spec.loss else ""
        self._say(f"{self.spec.name} {death}; restarting it in {delay:g} s{loss}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)

    async def _say_when_back(self) -> None:
        """Wait until it is ready again. Should it die first, the next round of `supervise` counts that."""
        try:
            await self._until_ready()
        except StartupError as error:
            if self.pid is not None:
                self._say(f"{error}; waiting on")
            return
        if not self._stopping.is_set():
            self._say(f"{self.spec.name} is back (pid {self.pid})")

    async def _drain(self, program: RunningProgram) -> None:
        if self.spec.before_stop is None or self._hurrying.is_set() or not program.runs:
            return
        draining = asyncio.ensure_future(self.spec.before_stop())
        ended = asyncio.ensure_future(program.exited())
        await self._within_limit(asyncio.wait({draining, ended}, return_when=asyncio.FIRST_COMPLETED))
        draining.cancel()
        ended.cancel()
        await asyncio.gather(draining, ended, return_exceptions=True)

    async def _within_limit(self, waiting_for: Awaitable[object]) -> bool:
        """Whether it completed before the limit and before `hurry`."""
        wanted = asyncio.ensure_future(waiting_for)
        hurried = asyncio.ensure_future(self._hurrying.wait())
        both: set[asyncio.Future[Any]] = {wanted, hurried}
        await asyncio.wait(both, timeout=self.stop_within_s, return_when=asyncio.FIRST_COMPLETED)
        done = wanted.done()
        for future in both:
            future.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        return done


def _dying_with_this_process(spec: ChildSpec) -> tuple[str, ...]:
    if sys.platform != "linux":
        return spec.argv
    death = str(int(spec.when_orphaned))
    return (sys.executable, "-I", "-S", launcher.__file__, str(os.getpid()), death, *spec.argv)
