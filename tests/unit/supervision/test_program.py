"""One run of a program, and what it leaves behind; each with a small program that stands in for it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from sidecar.supervision.program import RunningProgram, kill_what_is_left, run_program
from tests.stack.children import FAILS, WAITS, eventually, is_alive, python

STARTS_ANOTHER = """\
import subprocess, sys, time
another = subprocess.Popen([sys.executable, '-I', '-S', '-c', sys.argv[1]], start_new_session=%s)
print(another.pid, flush=True)
time.sleep(60)
"""
LEAVES_ANOTHER = STARTS_ANOTHER.replace("time.sleep(60)", "")


def open_files() -> int:
    """How many files this process has open; 0 where that cannot be told."""
    files = Path("/proc/self/fd")
    return len(list(files.iterdir())) if files.exists() else 0


class Printed(list[str]):
    """The lines of a program that starts another one, and first prints the pid of that."""

    async def complete(self) -> int:
        await eventually(lambda: "up" in self)
        return int(self[0])


@pytest.fixture
async def strangers() -> AsyncIterator[Callable[[int], None]]:
    """Takes the pids of those that a test leaves alive, and kills them after it."""
    pids: list[int] = []
    yield pids.append
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


async def started_another(printed: Printed, program: str, *, leaves_the_group: bool) -> RunningProgram:
    return await run_program(python(program % leaves_the_group, WAITS), take=printed.append)


async def test_it_has_ended_when_all_that_it_printed_is_passed_on() -> None:
    printed: list[str] = []
    program = await run_program(python(FAILS), take=printed.append)
    assert await program.ended() == "exit status 3"
    assert printed == ["first words", "no luck today"]
    assert not program.runs


async def test_its_output_goes_where_that_of_this_process_goes(capfd: pytest.CaptureFixture[str]) -> None:
    program = await run_program(python(FAILS))
    assert await program.ended() == "exit status 3"
    assert capfd.readouterr() == ("first words\n", "no luck today\n")


@pytest.mark.parametrize("program", [STARTS_ANOTHER, LEAVES_ANOTHER])
async def test_when_it_ends_the_rest_of_its_group_is_killed(program: str) -> None:
    printed = Printed()
    running = await started_another(printed, program, leaves_the_group=False)
    await eventually(lambda: len(printed) > 0)
    running.send(signal.SIGKILL)
    await asyncio.wait_for(running.ended(), 5)
    await eventually(lambda: not is_alive(int(printed[0])))


async def test_one_that_left_its_group_and_holds_its_output_is_waited_for_but_a_moment(
    strangers: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.supervision.program._LAST_WORDS_WAIT_S", 0.05)
    before, printed = open_files(), Printed()
    running = await started_another(printed, STARTS_ANOTHER, leaves_the_group=True)
    strangers(another := await printed.complete())
    running.send(signal.SIGKILL)
    assert await asyncio.wait_for(running.ended(), 5) == "SIGKILL"
    assert is_alive(another)
    await asyncio.sleep(0)
    assert open_files() == before


async def test_a_group_whose_number_somebody_bears_is_left_alone() -> None:
    printed = Printed()
    stranger = await run_program(python(WAITS), take=printed.append)
    await eventually(lambda: "up" in printed)
    kill_what_is_left(stranger.pid)
    await asyncio.sleep(0.05)  # were it killed, that would come by itself: there is nothing else to wait for
    assert stranger.runs
    stranger.send_all(signal.SIGTERM)
    assert await stranger.ended() == "exit status 0"


async def test_so_is_one_whose_number_is_that_of_another_user_s_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[int] = []

    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(os, "killpg", lambda group, _number: sent.append(group))
    kill_what_is_left(4711)
    assert sent == []


async def test_nothing_is_sent_to_one_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    program = await run_program(python(FAILS), take=lambda _: None)
    await program.ended()
    monkeypatch.setattr(os, "kill", pytest.fail)
    monkeypatch.setattr(os, "killpg", pytest.fail)
    program.send(signal.SIGTERM)
    program.send_all(signal.SIGKILL)


async def test_who_stops_waiting_for_its_end_does_not_keep_others_from_it() -> None:
    printed = Printed()
    program = await run_program(python(WAITS), take=printed.append)
    await eventually(lambda: "up" in printed)
    impatient, patient = asyncio.create_task(program.ended()), asyncio.create_task(program.ended())
    await asyncio.sleep(0)
    impatient.cancel()
    await asyncio.sleep(0)
    program.send(signal.SIGTERM)
    assert await patient == "exit status 0"


async def test_what_could_not_be_started_leaves_no_pipe_open() -> None:
    before = open_files()
    with pytest.raises(FileNotFoundError):
        await run_program(("/nowhere/at/all",), take=pytest.fail)
    assert open_files() == before


async def test_nor_does_one_that_has_ended() -> None:
    before = open_files()
    program = await run_program(python(FAILS), take=lambda _: None)
    await program.ended()
    await asyncio.sleep(0)
    assert open_files() == before
