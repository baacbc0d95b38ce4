"""What a supervisor follows: the limits of its workers, and its Envoy, but only after the workers."""

import asyncio
import contextlib
import errno
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from sidecar.config.loading import Settings, load
from sidecar.config.watching import WatchedConfig
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.idempotency.policy import Execution, Match, Policies, Policy
from sidecar.supervision.envoy_files import EnvoyFiles
from sidecar.supervision.following import allow_drain, follow, reload_first
from sidecar.supervision.ports import Address
from sidecar.supervision.process import Child, ChildSpec
from sidecar.supervision.stack import Stack, StackOptions
from tests.stack.children import WAITS, eventually, python


def child(program: str = WAITS) -> Child:
    said: list[str] = []
    return Child(ChildSpec("worker", python(program)), take=said.append, say=said.append)


async def test_what_can_be_used_is_acted_on_and_what_cannot_is_left_to_the_workers(tmp_path: Path) -> None:
    file, acted = tmp_path / "sidecar.yaml", list[str]()
    texts = iter(["policies: [{name: one}]", "policies: [{nam: bad}]", "policies: [{name: two}]"])

    async def next_text(_asked: asyncio.Event, _seconds: float) -> bool:
        text = next(texts, None)
        if text is None:
            raise asyncio.CancelledError
        file.write_text(text)
        return True

    async def act(loaded: Settings) -> None:
        acted.extend(policy.name for policy in loaded.policies.policies)

    file.write_text("{}")
    with pytest.raises(asyncio.CancelledError):
        await follow(WatchedConfig(file, {}, wait=next_text), act, pytest.fail)
    assert acted == ["one", "two"]


FULL = OSError(errno.ENOSPC, "No space left on device")


@dataclass
class Followed:
    """A file whose only policy is of each name in turn, and whoever acts on that, but for some failures."""

    config: WatchedConfig
    names: list[str]
    failures: list[Exception | None] = field(default_factory=list)
    """What comes of each attempt; None, as after the last of them: it goes well."""
    acted: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    async def act(self, loaded: Settings) -> None:
        if self.failures and (failure := self.failures.pop(0)) is not None:
            raise failure
        self.acted.extend(policy.name for policy in loaded.policies.policies)

    async def until_all_is_read(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await follow(self.config, self.act, self.said.append)


@pytest.fixture
def followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Followed:
    monkeypatch.setattr("sidecar.supervision.following._TRIES_AGAIN_AFTER_S", 0)
    file, names = tmp_path / "sidecar.yaml", ["one", "two"]

    async def asked_or_changed(asked: asyncio.Event, _seconds: float) -> bool:
        if not asked.is_set():
            if not names:
                raise asyncio.CancelledError
            file.write_text(f"policies: [{{name: {names.pop(0)}}}]")
        return True

    file.write_text("{}")
    return Followed(WatchedConfig(file, {}, wait=asked_or_changed), names)


@pytest.mark.parametrize(
    ("failure", "why"), [(FULL, "No space left on device"), (KeyError("a bug"), "KeyError('a bug')")]
)
async def test_what_could_not_be_taken_up_is_told_once_and_tried_until_it_is(
    followed: Followed, failure: Exception, why: str
) -> None:
    followed.failures += [failure] * 3
    await followed.until_all_is_read()
    assert followed.acted == ["one", "two"]
    assert followed.said == [f"new policies could not be taken up ({why}); trying again until they are"]


async def test_a_failure_of_another_kind_or_of_another_time_is_told_as_well(followed: Followed) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    followed.failures += [FULL, denied, denied, None, denied]
    await followed.until_all_is_read()
    assert [line.partition("(")[2].partition(")")[0] for line in followed.said] == [
        "No space left on device",
        "Permission denied",
        "Permission denied",
    ]
    assert followed.acted == ["one", "two"]


async def test_a_failure_to_look_is_not_the_end_either(followed: Followed) -> None:
    wait, failures = followed.config._wait, [FULL]

    async def fails_once(asked: asyncio.Event, seconds: float) -> bool:
        if failures:
            raise failures.pop()
        return await wait(asked, seconds)

    followed.config._wait = fails_once
    await followed.until_all_is_read()
    assert followed.acted[-2:] == ["one", "two"]
    assert len(followed.said) == 1


DETACHED = {
    "IDEMPOTENCY__POLICIES__0__EXECUTION": "detached",
    "IDEMPOTENCY__POLICIES__0__DEADLINE": "5m",
    "IDEMPOTENCY__ORIGIN__URL": "http://127.0.0.1:1",
}


def test_a_worker_may_take_as_long_as_any_of_its_policies_ever_did() -> None:
    worker = child()
    allow_drain([worker], load(None, DETACHED))
    assert worker.stop_within_s == 300 + 5 + 10
    allow_drain([worker], load(None, {}))
    assert worker.stop_within_s == 300 + 5 + 10


COUNTS_HANGUPS = """\
import signal, sys, time
signal.signal(signal.SIGHUP, lambda *_: print('reload', flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print('up', flush=True)
while True: time.sleep(60)
"""


@contextlib.asynccontextmanager
async def metrics(printed: list[str]) -> AsyncIterator[Address]:
    """The admin listener of a worker that has reloaded as often as it has printed so."""

    async def answer(_: web.Request) -> web.Response:
        count = printed.count("reload")
        return web.Response(text=f'idempotency_config_reloads_total{{result="applied"}} {count}.0\n')

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield Address("127.0.0.1", runner.addresses[0][1])
    await runner.cleanup()


async def test_a_worker_is_told_to_reload_and_waited_for() -> None:
    printed: list[str] = []
    spec = ChildSpec("worker", python(COUNTS_HANGUPS))
    worker = Child(spec, take=printed.append, say=printed.append)
    await worker.start()
    await eventually(lambda: "up" in printed)
    async with metrics(printed) as admin:
        assert await reload_first({admin: worker})
    assert printed == ["up", "reload"]
    await worker.stop()


async def test_a_worker_that_does_not_tell_is_not_waited_for_for_ever() -> None:
    assert not await reload_first({Address("127.0.0.1", 1): child()}, within_s=0.01)


def test_a_signal_to_a_process_that_does_not_run_goes_nowhere() -> None:
    worker = child()
    worker.signal(signal.SIGHUP)
    assert worker.pid is None


async def test_a_process_that_has_not_come_to_handle_it_survives_sighup() -> None:
    printed: list[str] = []
    worker = Child(ChildSpec("worker", python(WAITS)), take=printed.append, say=printed.append)
    await worker.start()
    await eventually(lambda: "up" in printed)
    pid = worker.pid
    worker.signal(signal.SIGHUP)
    await asyncio.sleep(0.05)  # were it to die, it would do so by itself: there is nothing else to wait for
    assert (worker.pid, pid is None) == (pid, False)
    await worker.stop()


def listeners(directory: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((directory / "envoy_listeners.yaml").read_text())[
        "resources"
    ]
    return found


def files(directory: Path) -> EnvoyFiles:
    inputs = EnvoyInputs(
        Policies((Policy("default"),)),
        ("unix:/run/a.sock",),
        upstream=Upstream.parse("http://u:1"),
        origin=f"unix://{directory}/o.sock",
    )
    return EnvoyFiles(directory, inputs)


def test_envoy_s_bootstrap_names_the_listeners_and_has_none(tmp_path: Path) -> None:
    made = files(tmp_path)
    made.write()
    bootstrap = yaml.safe_load(made.bootstrap.read_text())
    assert bootstrap["dynamic_resources"]["lds_config"]["path_config_source"] == {
        "path": f"{tmp_path}/envoy_listeners.yaml"
    }
    assert "listeners" not in bootstrap["static_resources"]
    assert [listener["name"] for listener in listeners(tmp_path)] == ["ingress"]
    assert listeners(tmp_path)[0]["@type"] == "type.googleapis.com/envoy.config.listener.v3.Listener"


def test_the_listeners_follow_the_policies_and_an_equal_file_is_not_written_again(tmp_path: Path) -> None:
    made = files(tmp_path)
    made.write()
    file = tmp_path / "envoy_listeners.yaml"
    before = file.stat().st_ino
    assert not made.follow(Policies((Policy("renamed"),)))
    assert file.stat().st_ino == before
    assert made.follow(Policies((Policy("puts", match=Match(frozenset({"PUT"}))),)))
    assert file.stat().st_ino != before, "another file is renamed over it, which Envoy looks for"
    assert "PUT" in file.read_text()


def test_the_first_detached_policy_brings_the_origin_listener(tmp_path: Path) -> None:
    made = files(tmp_path)
    made.write()
    assert made.follow(Policies((Policy("slow", execution=Execution.DETACHED),)))
    assert [listener["name"] for listener in listeners(tmp_path)] == ["ingress", "idempotency_origin"]


class FullOnce(EnvoyFiles):
    """On a disk that is full when they are to follow for the first time."""

    full = True

    def follow(self, policies: Policies) -> bool:
        if self.full:
            self.full = False
            raise FULL
        return super().follow(policies)


async def test_envoy_follows_once_there_is_room_and_the_workers_are_not_asked_again(
    followed: Followed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Mapping[Address, Child]] = []

    async def reload(workers: Mapping[Address, Child]) -> bool:
        asked.append(workers)
        return True

    monkeypatch.setattr("sidecar.supervision.stack.reload_first", reload)
    followed.names.remove("two")
    stack = Stack(StackOptions("http://u:1", sink=lambda _, line: followed.said.append(line)))
    stack._follow(followed.config, {}, FullOnce(tmp_path, files(tmp_path)._inputs))
    await eventually(lambda: len(followed.said) == 2)
    await stack._cleanup.aclose()
    assert followed.said == [
        "new policies could not be taken up (No space left on device); trying again until they are",
        "new policies: Envoy takes its new listeners",
    ]
    assert len(asked) == 1
