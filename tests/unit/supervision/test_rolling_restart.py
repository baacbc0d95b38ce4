"""One worker after another: the order, what stops it, and what it asks before it begins."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sidecar.config.loading import load
from sidecar.supervision.process import ChildSpec, Probe, always_ready
from sidecar.supervision.rolling import Member, RollingRestart, refusal_of
from sidecar.supervision.supervisor import Supervisor
from tests.stack.children import WAITS, eventually, python


@dataclass
class Rolled:
    """Three workers that only wait, and what was said about them."""

    said: list[str] = field(default_factory=list)
    refusal: str | None = None

    def __post_init__(self) -> None:
        self.supervisor = Supervisor(lambda _name, line: self.said.append(line))
        self.rolling = RollingRestart(lambda: self.refusal, self.said.append, settle_s=0.01)
        self.members: list[Member] = []

    async def run(self, ready: Callable[[int], Probe] = lambda _: always_ready) -> None:
        specs = [
            replace(ChildSpec(f"worker.{index}", python(WAITS)), start_within_s=1.0) for index in range(3)
        ]
        children = await self.supervisor.start(specs)
        self.members = [Member(child, ready(index)) for index, child in enumerate(children)]

    @property
    def pids(self) -> list[int | None]:
        return [member.child.pid for member in self.members]

    @contextlib.asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.rolling.answer(self.members))
        try:
            yield
        finally:
            task.cancel()

    async def heard(self, line: str, times: int = 1) -> None:
        await eventually(lambda: self.said.count(line) == times)


@pytest.fixture
async def rolled() -> AsyncIterator[Rolled]:
    rolled = Rolled()
    yield rolled
    rolled.supervisor.hurry()
    await rolled.supervisor.stop()


async def test_every_worker_is_restarted_each_ready_before_the_next_ends(rolled: Rolled) -> None:
    order: list[tuple[int, list[bool]]] = []

    def ready(index: int) -> Probe:
        async def probe() -> str | None:
            changed = [pid != old for pid, old in zip(rolled.pids, before, strict=True)]
            order.append((index, changed))
            return None

        return probe

    await rolled.run(ready)
    before = rolled.pids
    rolled.rolling.ask()
    async with rolled.answering():
        await rolled.heard("rolling restart done")
    assert order == [(0, [True, False, False]), (1, [True, True, False]), (2, [True, True, True])]
    assert "rolling restart of 3 workers, one by one" in rolled.said


async def test_a_worker_that_does_not_become_ready_ends_it_and_the_others_stay_as_they_are(
    rolled: Rolled,
) -> None:
    async def never() -> str | None:
        return "no store"

    await rolled.run(lambda index: never if index == 1 else always_ready)
    before = rolled.pids
    rolled.rolling.ask()
    async with rolled.answering():
        await rolled.heard(
            "the rolling restart ends here, for worker.1 is not ready after its restart: no store"
        )
    assert [pid == old for pid, old in zip(rolled.pids, before, strict=True)] == [False, False, True]


async def test_what_speaks_against_it_is_said_and_nothing_is_stopped(rolled: Rolled) -> None:
    await rolled.run()
    before, rolled.refusal = rolled.pids, "the configuration cannot be used"
    rolled.rolling.ask()
    async with rolled.answering():
        await rolled.heard("no rolling restart: the configuration cannot be used")
    assert rolled.pids == before


async def test_asked_again_meanwhile_it_begins_anew_when_it_is_done(rolled: Rolled) -> None:
    def ready(_: int) -> Probe:
        async def probe() -> str | None:
            if asked.count(True) < 2:
                asked.append(True)
                rolled.rolling.ask()
            return None

        return probe

    asked: list[bool] = []
    await rolled.run(ready)
    rolled.rolling.ask()
    async with rolled.answering():
        await rolled.heard("rolling restart done", times=2)
        await asyncio.sleep(0)
    assert rolled.said.count("rolling restart of 3 workers, one by one") == 2


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "sidecar.yaml"
    file.write_text("server: {workers: 2}\n")
    return file


def test_new_policies_and_limits_are_no_reason_against_it(config: Path) -> None:
    running = load(config, {}).server
    config.write_text(
        "server: {workers: 2, transport: native, socket_mode: 0660}\npolicies: [{name: x, ttl: 1h}]\n"
    )
    assert refusal_of(config, running) is None


def test_a_configuration_that_cannot_be_used_is(config: Path) -> None:
    running = load(config, {}).server
    config.write_text("server: {workers: 2}\nstore: {timeout: soon}\n")
    assert refusal_of(config, running) == (
        f'the configuration cannot be used: {config}:2: store.timeout: "soon" is not a duration; '
        "allowed: a number with ms, s, m, h or d, such as 30s"
    )


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ("{workers: 3}", "workers"),
        ("{workers: 2, admin: '127.0.0.1:9999'}", "admin"),
        ("{workers: 2, listen: 'unix:///run/other.sock'}", "listen"),
    ],
)
def test_addresses_that_envoy_and_the_supervisor_would_not_find_are(
    config: Path, changed: str, name: str
) -> None:
    running = load(config, {}).server
    config.write_text(f"server: {changed}\n")
    assert refusal_of(config, running) == (
        f"server.{name} has changed, which takes a restart of `serve` as a whole"
    )
