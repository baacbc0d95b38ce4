"""Processes: small programs that stand in for Envoy, Valkey and the sidecar, and what became of any."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

WAITS = """\
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('up', flush=True)
time.sleep(60)
"""
IGNORES_SIGTERM = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(60)
"""
FAILS = """\
import sys
print('first words', flush=True)
print('no luck today', file=sys.stderr)
sys.exit(3)
"""


def python(program: str, *arguments: str) -> tuple[str, ...]:
    """The command line that runs a program given as text."""
    return (sys.executable, "-I", "-S", "-c", program, *arguments)


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie, which only waits for being reaped, does not)."""
    try:
        state = (
            Path(f"/proc/{pid}/stat")
            .read_text(encoding="ascii", errors="replace")
            .rpartition(")")[2]
            .split()[0]
        )
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def eventually(condition: Callable[[], bool], *, within_s: float = 10.0) -> None:
    """Wait until it holds.

    Raises:
        AssertionError: it does not hold within `within_s` seconds.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + within_s
    while not condition():
        assert clock() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that does nothing, and ends nothing, while the context lasts."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def stopped_in_the_end(process: subprocess.Popen[str], within_s: float) -> Iterator[None]:
    """Stop a process by SIGTERM after the context; where it does not stop, kill it and all that it started.

    Raises:
        AssertionError: It had to be killed. A failure of the context itself is raised as it is, with a note.
    """
    complaint = (
        f"{process.args!r} did not stop within {within_s:g} s: it was killed, with all that it started"
    )
    try:
        yield
    except BaseException as error:
        if not _stops(process, within_s):
            error.add_note(complaint)
        raise
    assert _stops(process, within_s), complaint


def _stops(process: subprocess.Popen[str], within_s: float) -> bool:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        for pid in (process.pid, *descendants(process.pid)):  # not its group: each of them has its own
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def descendants(pid: int) -> set[int]:
    """All processes started, directly or not, by `pid`, whatever session they moved to."""
    parents = dict(_parents())
    found: set[int] = set()
    wanted = {pid}
    while wanted:
        wanted = {child for child, parent in parents.items() if parent in wanted} - found
        found |= wanted
    return found


def _parents() -> list[tuple[int, int]]:
    pairs = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            pairs.append((int(entry.name), int(stat.rpartition(")")[2].split()[1])))
    return pairs
