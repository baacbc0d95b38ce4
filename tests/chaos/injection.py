"""Carries out the plan: strikes at the planned moment, heals when its time is over, writes down both."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence

from tests.chaos.history import Occurrence
from tests.chaos.plan import OF_ENVOY, OF_WORKERS, Fault, Kind
from tests.chaos.rig import Rig
from tests.chaos.upstream import Mood

COMES_BACK_WITHIN_S = 30.0
_PAUSE_S = 0.02

_MOODS = {
    Kind.UPSTREAM_SLOW: Mood.SLOW,
    Kind.UPSTREAM_503: Mood.REFUSES,
    Kind.UPSTREAM_502: Mood.BAD_GATEWAY,
    Kind.UPSTREAM_CUT: Mood.CUTS,
    Kind.UPSTREAM_DROP: Mood.DROPS,
    Kind.UPSTREAM_REFUSES: Mood.REFUSES_STREAMS,
}
_SIGNALS = {
    Kind.WORKER_KILLED: signal.SIGKILL,
    Kind.WORKER_ENDED: signal.SIGTERM,
    Kind.WORKER_STOPPED: signal.SIGSTOP,
    Kind.ENVOY_KILLED: signal.SIGKILL,
    Kind.ENVOY_STOPPED: signal.SIGSTOP,
}


class Injector:
    """Strikes the parts of a rig. A fault whose process is not there just then misses, and is not counted."""

    def __init__(self, rig: Rig, occurrences: list[Occurrence]) -> None:
        self._rig = rig
        self._occurrences = occurrences
        self._clock: Callable[[], float] = asyncio.get_running_loop().time
        self._stopped: set[int] = set()

    async def run(self, faults: Sequence[Fault]) -> None:
        """Carry out the whole plan, counted from now; return when the last fault is healed."""
        began = self._clock()
        try:
            async with asyncio.TaskGroup() as group:
                for fault in faults:
                    group.create_task(self._strike_at(began + fault.at_s, fault))
        finally:
            self._continue_all()

    async def _strike_at(self, moment: float, fault: Fault) -> None:
        await asyncio.sleep(max(0.0, moment - self._clock()))
        occurrence = Occurrence(fault.kind, fault.target, self._clock(), float("inf"))
        self._occurrences.append(occurrence)
        if not await self._strike(fault):
            self._occurrences.remove(occurrence)
        occurrence.ended = self._clock()

    async def _strike(self, fault: Fault) -> bool:
        """Do it and undo it; False where there was nothing to strike."""
        if fault.kind in _MOODS:
            await self._in_a_mood(_MOODS[fault.kind], fault.for_s)
            return True
        if fault.kind in OF_WORKERS | OF_ENVOY:
            return await self._strike_process(fault)
        match fault.kind:
            case Kind.UPSTREAM_DOWN:
                await self._rig.upstream.close()
                await asyncio.sleep(fault.for_s)
                await self._rig.upstream.open()
            case Kind.STORE_STOPPED:
                await self._freeze_store(fault.for_s)
            case _:
                await self._rig.store.kill()
                await asyncio.sleep(fault.for_s)
                await self._rig.store.start()
        return True

    async def _in_a_mood(self, mood: Mood, for_s: float) -> None:
        self._rig.upstream.mood = mood
        try:
            await asyncio.sleep(for_s)
        finally:
            self._rig.upstream.mood = Mood.GOOD

    async def _freeze_store(self, for_s: float) -> None:
        self._rig.store.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(for_s)
        finally:
            self._rig.store.signal(signal.SIGCONT)

    async def _strike_process(self, fault: Fault) -> bool:
        pid = self._pid(fault)
        if pid is None or not _send(pid, _SIGNALS[fault.kind]):
            return False
        if fault.kind in (Kind.WORKER_STOPPED, Kind.ENVOY_STOPPED):
            self._stopped.add(pid)
            try:
                await asyncio.sleep(fault.for_s)
            finally:
                _send(pid, signal.SIGCONT)
                self._stopped.discard(pid)
        else:
            if pid in self._stopped:  # what is told to end must be able to hear it
                _send(pid, signal.SIGCONT)
            await self._back(fault, pid)
        return True

    async def _back(self, fault: Fault, pid: int) -> None:
        """Wait until another process stands in its place, and Envoy's port is open."""
        with contextlib.suppress(TimeoutError):  # that it never came back is found when the run ends
            async with asyncio.timeout(COMES_BACK_WITHIN_S):
                while self._pid(fault) in (None, pid) or not await self._accepts(fault):  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(_PAUSE_S)

    async def _accepts(self, fault: Fault) -> bool:
        if fault.kind not in OF_ENVOY:
            return True
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._rig.port(fault.stack))
        except OSError:
            return False
        writer.transport.abort()
        return True

    def _pid(self, fault: Fault) -> int | None:
        stack = self._rig.stacks[fault.stack]
        return stack.envoy_pid if fault.kind in OF_ENVOY else stack._workers[fault.worker].pid

    def _continue_all(self) -> None:
        """Nothing stays paused, however the run ended."""
        for pid in self._stopped:
            _send(pid, signal.SIGCONT)
        self._rig.store.signal(signal.SIGCONT)


def _send(pid: int, number: signal.Signals) -> bool:
    """Send a signal; whether the process was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
