"""Several processes: the order of starting and stopping, and what one failure means for the others."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest

from sidecar.supervision.errors import GaveUpError, StartupError
from sidecar.supervision.process import ChildSpec
from sidecar.supervision.restart import RestartPolicy
from sidecar.supervision.supervisor import Supervisor
from tests.stack.children import FAILS, IGNORES_SIGTERM, WAITS, eventually, is_alive, python

ENDS_LOUDLY = "import os\n" + WAITS.replace("sys.exit(0)", "(os.write(1, b'ending\\n'), sys.exit(0))")


class Recorded:
    """A supervisor and the stream of lines that came out of it."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []
        self.supervisor = Supervisor(lambda name, line: self.lines.append((name, line)))

    def saw(self, name: str, line: str) -> bool:
        return (name, line) in self.lines


@pytest.fixture
async def recorded() -> AsyncIterator[Recorded]:
    recorded = Recorded()
    yield recorded
    await recorded.supervisor.stop()


def fake(name: str, program: str = WAITS) -> ChildSpec:
    return ChildSpec(name, python(program))


async def never_ready() -> str | None:
    return "not ready"


async def test_the_lines_of_each_process_come_under_its_name(recorded: Recorded) -> None:
    await recorded.supervisor.start([fake("one"), fake("two")])
    await eventually(lambda: recorded.saw("one", "up") and recorded.saw("two", "up"))


async def test_stages_stop_in_the_reverse_order_of_their_start(recorded: Recorded) -> None:
    for name in ("store", "sidecar", "envoy"):
        await recorded.supervisor.start([fake(name, ENDS_LOUDLY)])
        await eventually(partial(recorded.saw, name, "up"))
    await recorded.supervisor.stop()
    ends = [name for name, line in recorded.lines if line == "ending"]
    assert ends == ["envoy", "sidecar", "store"]


async def test_the_processes_of_a_stage_start_and_stop_together(recorded: Recorded) -> None:
    meeting = asyncio.Barrier(2)

    async def meet() -> str | None:
        await meeting.wait()
        return None

    await recorded.supervisor.start([replace(fake("one"), probe=meet), replace(fake("two"), probe=meet)])


async def test_one_that_cannot_start_stops_the_waiting_for_its_stage(recorded: Recorded) -> None:
    patient = replace(fake("patient"), probe=never_ready, start_within_s=60)
    failing = replace(fake("failing", FAILS), probe=never_ready)
    with pytest.raises(StartupError, match=r"failing could not start \(exit status 3\): no luck today"):
        await recorded.supervisor.start([patient, failing])


async def test_after_a_failed_start_stop_ends_everything_that_ran(recorded: Recorded) -> None:
    (first,) = await recorded.supervisor.start([fake("first")])
    pid = first.pid
    assert pid is not None
    with pytest.raises(StartupError):
        await recorded.supervisor.start([replace(fake("failing", FAILS), probe=never_ready)])
    await recorded.supervisor.stop()
    assert not is_alive(pid)


async def test_watching_lasts_until_one_died_too_often(recorded: Recorded) -> None:
    impatient = RestartPolicy(deaths=2, first_delay_s=0.01)
    await recorded.supervisor.start([replace(fake("failing", FAILS), restarts=impatient)])
    with pytest.raises(GaveUpError, match="failing died 2 times within 30 s"):
        await asyncio.wait_for(recorded.supervisor.watch(), 10)


async def test_hurried_it_kills_all_of_them_at_once(recorded: Recorded) -> None:
    children = await recorded.supervisor.start([fake("one", IGNORES_SIGTERM), fake("two", IGNORES_SIGTERM)])
    await eventually(lambda: recorded.saw("one", "up") and recorded.saw("two", "up"))
    recorded.supervisor.hurry()
    await asyncio.wait_for(recorded.supervisor.stop(), 5)
    assert [child.pid for child in children] == [None, None]


async def test_stopping_nothing_is_nothing(recorded: Recorded) -> None:
    await recorded.supervisor.stop()
    assert recorded.lines == []
