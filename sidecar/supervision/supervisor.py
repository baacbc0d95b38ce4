"""An ordered set of processes: started stage by stage, stopped in the reverse order."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Never

from sidecar.supervision.errors import SupervisionError
from sidecar.supervision.logs import Sink
from sidecar.supervision.process import Child, ChildSpec


class Supervisor:
    """Runs processes and answers for them. `stop` must be called in the end, whatever happened before."""

    def __init__(self, sink: Sink, *, own_name: str = "up") -> None:
        """`sink` receives what the processes print, and under `own_name` what happens to them."""
        self._sink = sink
        self._own_name = own_name
        self._stages: list[list[Child]] = []
        self._watches: list[asyncio.Task[None]] = []
        self._failure: SupervisionError | None = None
        self._failed = asyncio.Event()

    async def start(self, specs: Sequence[ChildSpec]) -> list[Child]:
        """Start a stage: all of `specs` at once, until each is ready. From then on what dies is restarted.

        Raises:
            StartupError: one could not be started. `stop` stops what runs.
        """
        stage = [Child(spec, take=partial(self._sink, spec.name), say=self.say) for spec in specs]
        self._stages.append(stage)
        try:
            async with asyncio.TaskGroup() as group:
                for child in stage:
                    group.create_task(child.start())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        self._watches.extend(asyncio.create_task(self._watch(child)) for child in stage)
        return stage

    async def watch(self) -> Never:
        """Wait for as long as all goes well.

        Raises:
            SupervisionError: a process died too often.
        """
        await self._failed.wait()
        raise self._failure or SupervisionError("stopped")

    async def stop(self) -> None:
        """Stop every process, the last stage first, one stage at a time. Never raises."""
        for stage in reversed(self._stages):
            await asyncio.gather(*(child.stop() for child in stage))
        await asyncio.gather(*self._watches, return_exceptions=True)

    def hurry(self) -> None:
        """Make `stop` kill instead of wait; for the person who presses Ctrl-C twice."""
        for stage in self._stages:
            for child in stage:
                child.hurry()

    def say(self, line: str) -> None:
        """Tell what happens, in the stream of the processes' own lines."""
        self._sink(self._own_name, line)

    async def _watch(self, child: Child) -> None:
        try:
            await child.supervise()
        except SupervisionError as error:
            self._failure = self._failure or error
            self._failed.set()
