"""What a supervisor follows: the limits of its workers, and its Envoy, but only after the workers."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
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
            raise EOFError
        file.write_text(text)
        return True

    async def act(loaded: Settings) -> None:
        acted.extend(policy.name for policy in loaded.policies.policies)

    file.write_text("{}")
    with pytest.raises(EOFError):
        await follow(WatchedConfig(file, {}, wait=next_text), act)
    assert acted == ["one", "two"]


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
