"""A process under supervision, with small programs as children."""

import asyncio
import errno
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sidecar.supervision.errors import GaveUpError, StartupError
from sidecar.supervision.process import Child, ChildSpec, always_ready
from sidecar.supervision.restart import RestartPolicy
from tests.stack.children import FAILS, IGNORES_SIGTERM, WAITS, eventually, is_alive, python

SOON = RestartPolicy(deaths=3, within_s=30, first_delay_s=0.01)


class Watched:
    """A child, what it printed, and what was said about it."""

    def __init__(self, spec: ChildSpec) -> None:
        self.printed: list[str] = []
        self.said: list[str] = []
        self.child = Child(spec, take=self.printed.append, say=self.said.append)

    @property
    def pid(self) -> int:
        pid = self.child.pid
        assert pid is not None
        return pid

    async def up(self) -> None:
        await eventually(lambda: "up" in self.printed)


def spec(program: str, *arguments: str) -> ChildSpec:
    return ChildSpec("fake", python(program, *arguments), restarts=SOON)


async def test_what_it_prints_is_passed_on_line_by_line() -> None:
    watched = Watched(spec(WAITS.replace("'up'", "'one\\ntwo\\nup'")))
    await watched.child.start()
    await watched.up()
    await watched.child.stop()
    assert watched.printed == ["one", "two", "up"]


async def test_lines_that_mean_nothing_are_dropped() -> None:
    watched = Watched(replace(spec(WAITS.replace("'up'", "'noise\\nup'")), hush=re.compile("noi")))
    await watched.child.start()
    await watched.up()
    await watched.child.stop()
    assert watched.printed == ["up"]


async def test_it_leads_a_session_of_its_own_so_that_the_terminal_s_ctrl_c_spares_it() -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    assert os.getsid(watched.pid) == watched.pid
    await watched.child.stop()


async def test_starting_waits_until_the_probe_is_content() -> None:
    answers = ["not yet", "not yet", None]

    async def probe() -> str | None:
        return answers.pop(0)

    watched = Watched(replace(spec(WAITS), probe=probe))
    await watched.child.start()
    assert not answers
    await watched.child.stop()


async def test_a_process_that_ends_before_it_is_ready_says_why_in_its_last_words() -> None:
    watched = Watched(replace(spec(FAILS), probe=_never))
    with pytest.raises(StartupError) as failed:
        await watched.child.start()
    assert str(failed.value) == "fake could not start (exit status 3): no luck today"


async def test_a_process_that_ended_is_not_ready_even_if_somebody_else_answers_its_probe() -> None:
    async def probe() -> str | None:
        await eventually(lambda: watched.child.pid is None)
        return None

    watched = Watched(replace(spec(FAILS), probe=probe))
    with pytest.raises(StartupError, match="could not start"):
        await watched.child.start()


async def test_a_process_that_is_never_ready_is_given_up_with_the_reason() -> None:
    watched = Watched(replace(spec(WAITS), probe=_never, start_within_s=0.2))
    with pytest.raises(StartupError, match=r"fake is not ready after 0\.2 s: never"):
        await watched.child.start()
    await watched.child.stop()
    assert watched.child.pid is None


async def test_a_program_that_is_not_there_is_a_start_that_failed() -> None:
    watched = Watched(replace(ChildSpec("fake", ("/nowhere/at/all",)), probe=_never))
    with pytest.raises(StartupError, match="cannot run /nowhere/at/all: No such file or directory"):
        await watched.child.start()


async def test_one_that_dies_is_restarted_and_it_is_said() -> None:
    watched = Watched(replace(spec(WAITS), loss="it forgets everything"))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    first = watched.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: watched.child.pid not in (None, first))
    await eventually(lambda: len(watched.said) == 2)
    second = watched.pid
    await watched.child.stop()
    await supervision
    assert watched.said == [
        "fake died (SIGKILL); restarting it in 0.01 s (it forgets everything)",
        f"fake is back (pid {second})",
    ]


async def test_one_that_dies_again_and_again_is_given_up() -> None:
    watched = Watched(replace(spec(FAILS), probe=_never))
    with pytest.raises(StartupError):
        await watched.child.start()
    with pytest.raises(GaveUpError) as gave_up:
        await watched.child.supervise()
    assert str(gave_up.value) == (
        "fake died 3 times within 30 s, the last time with exit status 3: no luck today"
    )
    assert len([line for line in watched.said if "restarting" in line]) == 2


async def test_a_restart_ends_it_in_order_and_waits_for_the_next_one() -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    await watched.up()
    first = watched.pid
    asked: list[int] = []

    async def ready() -> str | None:
        asked.append(watched.pid)
        return None if len(asked) == 3 else "not yet"

    await watched.child.restart(ready)
    assert asked == [watched.pid] * 3
    assert first not in asked
    assert not is_alive(first)
    await watched.child.stop()
    await supervision
    assert not any("died" in line for line in watched.said)


async def test_restarts_are_no_deaths_however_many() -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    await watched.up()
    for _ in range(SOON.deaths + 1):
        watched.printed.clear()
        await watched.child.restart(always_ready)
        await watched.up()
    assert not supervision.done()
    assert not any("died" in line for line in watched.said), "what ends the old one spares the new one"
    await watched.child.stop()
    await supervision


async def test_a_death_after_a_restart_is_a_death() -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    await watched.child.restart(always_ready)
    os.kill(watched.pid, signal.SIGKILL)
    await eventually(lambda: any("fake died (SIGKILL)" in line for line in watched.said))
    await watched.child.stop()
    await supervision


async def test_one_that_is_dead_when_its_restart_is_asked_for_is_waited_for() -> None:
    watched = Watched(replace(spec(WAITS), restarts=RestartPolicy(first_delay_s=0.2)))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    first = watched.pid
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: len(watched.said) == 1)
    await watched.child.restart(always_ready)
    assert watched.pid != first
    await watched.child.stop()
    await supervision


async def test_one_that_is_not_ready_again_in_time_ends_the_waiting_and_lives_on() -> None:
    watched = Watched(replace(spec(WAITS), start_within_s=0.3))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    with pytest.raises(StartupError, match="fake is not ready after its restart: never"):
        await watched.child.restart(_never)
    assert is_alive(watched.pid)
    await watched.child.stop()
    await supervision


async def test_stopping_ends_the_waiting_for_a_restart() -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    restarting = asyncio.create_task(watched.child.restart(_never))
    first = watched.pid
    await eventually(lambda: watched.child.pid not in (None, first))
    await watched.child.stop()
    await asyncio.wait_for(restarting, 5)
    await supervision
    assert watched.child.pid is None


async def test_stopping_sends_sigterm_and_waits() -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    await watched.up()
    pid = watched.pid
    await watched.child.stop()
    assert not is_alive(pid)
    assert watched.said == []


async def test_the_drain_comes_before_sigterm() -> None:
    alive_in_drain = []

    async def drain() -> None:
        alive_in_drain.append(watched.child.pid)

    watched = Watched(replace(spec(WAITS), before_stop=drain))
    await watched.child.start()
    pid = watched.pid
    await watched.child.stop()
    assert alive_in_drain == [pid]


async def test_one_that_has_died_is_not_drained() -> None:
    watched = Watched(replace(spec(FAILS), before_stop=pytest.fail))
    await watched.child.start()
    await eventually(lambda: watched.child.pid is None)
    await watched.child.stop()


async def test_a_drain_that_never_ends_does_not_keep_it_alive() -> None:
    watched = Watched(replace(spec(WAITS), before_stop=asyncio.Event().wait, stop_within_s=0.2))  # type: ignore[arg-type] # its result is ignored
    await watched.child.start()
    await watched.up()
    pid = watched.pid
    await watched.child.stop()
    assert not is_alive(pid)


async def test_one_that_ignores_sigterm_is_killed_after_the_limit() -> None:
    watched = Watched(replace(spec(IGNORES_SIGTERM), stop_within_s=0.2))
    await watched.child.start()
    await watched.up()
    pid = watched.pid
    await watched.child.stop()
    assert not is_alive(pid)
    assert watched.said == ["fake did not stop within 0.2 s; killing it"]


async def test_one_that_is_hurried_is_killed_at_once() -> None:
    watched = Watched(replace(spec(IGNORES_SIGTERM), stop_within_s=60))
    await watched.child.start()
    await watched.up()
    pid = watched.pid
    stopping = asyncio.create_task(watched.child.stop())
    await asyncio.sleep(0)
    watched.child.hurry()
    await asyncio.wait_for(stopping, 5)
    assert not is_alive(pid)


INNER = f"import os\nprint(os.getpid(), flush=True)\n{IGNORES_SIGTERM}"
"""Prints its pid, and `up` once it ignores SIGTERM."""
WRAPPER = f"""\
import subprocess, sys, time
subprocess.Popen([sys.executable, '-I', '-S', '-c', {INNER!r}])
time.sleep(60)
"""


async def test_what_a_wrapper_script_started_ends_with_it() -> None:
    watched = Watched(spec(WRAPPER))
    await watched.child.start()
    await watched.up()
    await watched.child.stop()
    await eventually(lambda: not is_alive(int(watched.printed[0])))
    assert watched.said == [], "it is the wrapper that is waited for"


async def test_a_wrapper_script_that_is_killed_is_a_death_and_what_it_started_ends_with_it() -> None:
    watched = Watched(spec(WRAPPER))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    await watched.up()
    os.kill(watched.pid, signal.SIGKILL)
    await eventually(lambda: len(watched.said) == 2)
    assert watched.said[0] == "fake died (SIGKILL); restarting it in 0.01 s"
    await eventually(lambda: not is_alive(int(watched.printed[0])))
    await watched.child.stop()
    await asyncio.wait_for(supervision, 5)


async def test_stopping_ends_what_a_wrapper_script_started_that_was_killed_meanwhile() -> None:
    watched = Watched(spec(WRAPPER))
    await watched.child.start()
    await watched.up()
    os.kill(watched.pid, signal.SIGKILL)
    await eventually(lambda: watched.child.pid is None)
    await watched.child.stop()
    await eventually(lambda: not is_alive(int(watched.printed[0])))


async def test_a_drain_is_not_waited_for_when_a_wrapper_script_is_killed() -> None:
    draining = asyncio.Event()

    async def drain() -> None:
        draining.set()
        await asyncio.Event().wait()

    watched = Watched(replace(spec(WRAPPER), before_stop=drain, stop_within_s=60))
    await watched.child.start()
    await watched.up()
    stopping = asyncio.create_task(watched.child.stop())
    await draining.wait()
    os.kill(watched.pid, signal.SIGKILL)
    await asyncio.wait_for(stopping, 5)
    await eventually(lambda: not is_alive(int(watched.printed[0])))


class Spawning:
    """The system's way to start a process, which fails as often as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures: list[Exception] = []
        self._really = asyncio.create_subprocess_exec
        monkeypatch.setattr(asyncio, "create_subprocess_exec", self._start)

    async def _start(self, *argv: str, **options: Any) -> asyncio.subprocess.Process:
        if self.failures:
            raise self.failures.pop()
        return await self._really(*argv, **options)


@pytest.fixture
def spawning(monkeypatch: pytest.MonkeyPatch) -> Spawning:
    return Spawning(monkeypatch)


NO_ROOM = [
    OSError(errno.EAGAIN, "Resource temporarily unavailable"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    RuntimeError("can't start new thread"),
]


@pytest.mark.parametrize("failure", NO_ROOM)
async def test_one_that_cannot_even_be_started_again_has_died_once_more(
    failure: Exception, spawning: Spawning
) -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    spawning.failures.append(failure)
    os.kill(watched.pid, signal.SIGKILL)
    await eventually(lambda: len(watched.said) == 3 or supervision.done())
    pid = watched.pid
    await watched.child.stop()
    await supervision
    why = f"cannot run {sys.executable}: {getattr(failure, 'strerror', failure)}"
    assert watched.said == [
        "fake died (SIGKILL); restarting it in 0.01 s",
        f"fake could not be started again ({why}); restarting it in 0.02 s",
        f"fake is back (pid {pid})",
    ]


async def test_one_that_cannot_be_started_again_and_again_is_given_up(spawning: Spawning) -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    spawning.failures += NO_ROOM
    os.kill(watched.pid, signal.SIGKILL)
    with pytest.raises(GaveUpError) as gave_up:
        await watched.child.supervise()
    assert str(gave_up.value) == (
        "fake died 3 times within 30 s, the last time before it ran: "
        f"cannot run {sys.executable}: Cannot allocate memory"
    )


async def test_a_restart_waits_for_one_that_cannot_be_started_at_once(spawning: Spawning) -> None:
    watched = Watched(spec(WAITS))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    first = watched.pid
    spawning.failures += NO_ROOM[:2]
    await watched.child.restart(always_ready)
    assert watched.pid != first
    await watched.child.stop()
    await supervision


async def test_stopping_while_it_cannot_be_started_again_starts_nothing_more(spawning: Spawning) -> None:
    slow = RestartPolicy(first_delay_s=0.01, max_delay_s=60)
    watched = Watched(replace(spec(WAITS), restarts=replace(slow, deaths=100)))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    spawning.failures += NO_ROOM * 30
    os.kill(watched.pid, signal.SIGKILL)
    await eventually(lambda: len(watched.said) > 3)
    await watched.child.stop()
    await asyncio.wait_for(supervision, 5)
    assert watched.child.pid is None


@pytest.mark.parametrize("failure", NO_ROOM)
async def test_one_that_cannot_be_started_at_first_is_a_start_that_failed(
    failure: Exception, spawning: Spawning
) -> None:
    spawning.failures.append(failure)
    with pytest.raises(StartupError, match=f"^cannot run {re.escape(sys.executable)}: "):
        await Watched(spec(WAITS)).child.start()


async def test_stopping_while_it_waits_for_its_restart_starts_nothing_more() -> None:
    slow = RestartPolicy(first_delay_s=60, max_delay_s=60)
    watched = Watched(replace(spec(WAITS), restarts=slow))
    await watched.child.start()
    supervision = asyncio.create_task(watched.child.supervise())
    os.kill(watched.pid, signal.SIGKILL)
    await eventually(lambda: len(watched.said) == 1)
    await watched.child.stop()
    await asyncio.wait_for(supervision, 5)
    assert watched.child.pid is None


async def test_stopping_what_was_never_started_is_nothing() -> None:
    await Watched(spec(WAITS)).child.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death is Linux's")
@pytest.mark.parametrize("program", [WAITS, IGNORES_SIGTERM])
async def test_a_supervisor_that_is_killed_takes_its_children_along(program: str, tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    supervisor = (
        "import asyncio, sys\n"
        "from sidecar.supervision.process import Child, ChildSpec\n"
        "async def main():\n"
        "    child = Child(ChildSpec('fake', tuple(sys.argv[2:])), take=print, say=print)\n"
        "    await child.start()\n"
        "    open(sys.argv[1] + '.new', 'w').write(str(child.pid))\n"
        "    import os; os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", supervisor, str(pidfile), *python(program), stdout=asyncio.subprocess.DEVNULL
    )
    await eventually(pidfile.exists)
    pid = int(pidfile.read_text())
    assert is_alive(pid)
    process.kill()
    await process.wait()
    await eventually(lambda: not is_alive(pid))


async def _never() -> str | None:
    return "never"
