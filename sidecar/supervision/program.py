"""A program that runs in a session of its own, until nothing is left of it."""

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from sidecar.supervision.logs import forward

_LAST_WORDS_WAIT_S = 1.0


class RunningProgram:
    """One run of a program. It leads a process group, in which whatever it starts is as well.

    A wrapper script (`--envoy`) starts the program that is meant, and may end without it. So what is left of
    the group is killed in the moment that its leader has ended, however that came about.
    """

    def __init__(self, process: asyncio.subprocess.Process, reading: asyncio.Task[None] | None) -> None:
        self.pid = process.pid
        self._process = process
        self._reading = reading
        self._ending = asyncio.create_task(self._end())

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs; to itself alone, not to what it started."""
        if self.runs:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def send_all(self, number: signal.Signals) -> None:
        """Send a signal to it and what it started, if it runs: what is left after that is killed anyway."""
        # The number is its own until it is reaped, which is known here a moment later: not time enough for a
        # system that gives numbers out in turn to come round to this one again.
        if self.runs:
            _send_group(self.pid, number)

    async def exited(self) -> None:
        """Wait until it has ended itself."""
        await self._process.wait()

    async def ended(self) -> str:
        """Wait until it has ended with all it started, and all it printed is passed on; how, in words."""
        status = await asyncio.shield(self._ending)
        return f"exit status {status}" if status >= 0 else signal.Signals(-status).name

    async def _end(self) -> int:
        status = await self._process.wait()
        kill_what_is_left(self.pid)
        await self._finish_reading()
        return status

    async def _finish_reading(self) -> None:
        """Read what was still to be said; not for ever, as one that left the group may hold the pipe open."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_LAST_WORDS_WAIT_S)
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


async def run_program(
    argv: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    take: Callable[[str], None] | None = None,
) -> RunningProgram:
    """Start a program.

    Args:
        argv: The path of the program, and its arguments.
        environ: None: this process's own.
        take: Receives each line it prints; None: its output goes where this process's own goes.

    Raises:
        OSError: It cannot be started.
    """
    if take is None:
        return RunningProgram(await _execute(argv, environ, None), None)
    # Not a pipe of asyncio's: until CPython's issue 119710 is mended, `Process.wait` waits until such a pipe
    # is closed as well, and so for whatever the program started and left behind.
    reads, writes = os.pipe()
    try:
        process = await _execute(argv, environ, writes)
    except BaseException:
        os.close(reads)
        raise
    finally:
        os.close(writes)
    return RunningProgram(process, asyncio.create_task(_pass_on(reads, take)))


def kill_what_is_left(group: int) -> None:
    """Kill what is left of a process group whose leader has ended and been reaped.

    The number is that of the leader, and no new process is given it while anything is left of the group
    (POSIX, `fork`). Where nothing is left it may be given away, and whoever bears it by now may lead a group
    of that number which is none of ours: so where there is such a process, there is nothing to kill. One that
    came into being between the look and the signal would have to be given just this number, of those that a
    system gives out in turn, within microseconds.
    """
    if not _exists(group):
        _send_group(group, signal.SIGKILL)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno != errno.ESRCH
    return True


def _send_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


async def _execute(
    argv: Sequence[str], environ: Mapping[str, str] | None, output: int | None
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else asyncio.subprocess.STDOUT,
            env=environ,
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor alone
        )
    except RuntimeError as error:  # there may be no room for the thread either, in which asyncio waits for it
        raise OSError(errno.EAGAIN, str(error)) from error


async def _pass_on(pipe: int, take: Callable[[str], None]) -> None:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(pipe, "rb", buffering=0)
    )
    try:
        await forward(reader, take)
    finally:
        transport.close()
