"""A reload puts all of a right file's policies in force at once, and nothing of a wrong one."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from sidecar.config.errors import ConfigError
from sidecar.config.loading import Settings
from sidecar.config.watching import WatchedConfig
from sidecar.reloading import Following, PoliciesInForce, Reloading

SERVER = "server: {transport: grpcio}\n"
BEFORE = SERVER + "policies: [{name: a}, {name: b}]\n"


@dataclass
class Worker:
    """The part of a worker that reloads, and what it said and counted."""

    file: Path
    envoy_follows: bool = False
    counted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config = WatchedConfig(self.file, {})
        self.in_force = PoliciesInForce(self.config.load())
        following = Following(self.config, self.envoy_follows)
        self.reloading = Reloading(following, self.in_force, self.counted.append, structlog.get_logger())

    async def reload(self, text: str) -> list[Any]:
        """Reload with this as the file's text; the log."""
        self.file.write_text(text)
        with capture_logs() as lines:
            await self.reloading.reload()
        return lines

    @property
    def names(self) -> list[str]:
        return [policy.name for policy in self.in_force.policies.policies]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "sidecar.yaml"
    file.write_text(BEFORE)
    return file


@pytest.fixture
def worker(file: Path) -> Worker:
    return Worker(file)


def events(lines: list[Any]) -> list[str]:
    return [line["event"] for line in lines]


async def test_a_good_file_is_applied_and_what_it_changes_is_told_by_name(worker: Worker) -> None:
    lines = await worker.reload(SERVER + "policies: [{name: c}, {name: b, ttl: 1h}]\n")
    assert worker.names == ["c", "b"]
    assert worker.counted == ["applied"]
    assert lines == [
        {
            "event": "configuration applied",
            "log_level": "info",
            "added": ("c",),
            "removed": ("a",),
            "changed": ("b",),
            "reordered": False,
        }
    ]


async def test_a_bad_file_leaves_what_is_in_force_and_every_problem_is_told(worker: Worker) -> None:
    before = worker.in_force.policies
    lines = await worker.reload("policies:\n  - name: a\n    ttl: soon\n    leas: 1s\n")
    assert worker.in_force.policies is before
    assert worker.counted == ["rejected"]
    assert [line["log_level"] for line in lines] == ["error", "error"]
    said = [line["problem"] for line in lines]
    assert said[0].startswith(f"{worker.file}:3: policies[0].ttl: ")
    assert said[1].startswith(f"{worker.file}:4: policies[0].leas: ")
    assert all("; allowed: " in problem for problem in said)


async def test_a_file_that_is_gone_is_a_bad_one(worker: Worker) -> None:
    worker.file.unlink()
    with capture_logs() as lines:
        await worker.reloading.reload()
    assert worker.names == ["a", "b"]
    assert lines[0]["problem"].startswith(f"{worker.file}: the file cannot be read: ")


async def test_a_snapshot_that_an_exchange_has_taken_stays_as_it_was(worker: Worker) -> None:
    taken = worker.in_force.policies
    await worker.reload(SERVER + "policies: [{name: c}]\n")
    assert [policy.name for policy in taken.policies] == ["a", "b"]
    assert worker.names == ["c"]


async def test_what_stands_outside_the_policies_is_told_to_take_a_restart_and_policies_are_applied(
    worker: Worker,
) -> None:
    lines = await worker.reload(
        "server: {transport: grpcio, workers: 2}\nstore: {timeout: 1s}\npolicies: [{name: c}]\n"
    )
    assert worker.names == ["c"]
    assert lines[1] == {
        "event": "part of the configuration takes a restart",
        "log_level": "warning",
        "needs_restart": ("server.workers", "store.timeout"),
    }


DETACHED = "policies: [{name: slow, execution: detached, deadline: 2m}]\n"


async def test_a_detached_policy_is_rejected_where_the_worker_has_no_origin(worker: Worker) -> None:
    lines = await worker.reload(f"{SERVER}origin: {{url: 'unix:///run/origin.sock'}}\n{DETACHED}")
    assert worker.names == ["a", "b"]
    assert worker.counted == ["rejected"]
    assert lines[0]["problem"] == (
        f"{worker.file}: policies[0].execution: the policy slow is detached, and this worker was started "
        "without origin.url; allowed: inline, or a restart of the sidecar, which then reads origin.url"
    )


async def test_a_detached_policy_that_is_off_makes_no_calls(worker: Worker) -> None:
    off = DETACHED.replace("detached", "detached, mode: 'off'")
    await worker.reload(f"{SERVER}origin: {{url: 'unix:///run/origin.sock'}}\n{off}")
    assert worker.names == ["slow"]


ORIGIN = SERVER + "origin: {url: 'unix:///run/origin.sock'}\n"


@pytest.fixture
def calling_worker(file: Path) -> Worker:
    file.write_text(ORIGIN)
    return Worker(file)


async def test_the_longest_drain_that_was_ever_needed_is_kept(calling_worker: Worker) -> None:
    worker = calling_worker
    assert worker.in_force.drain_s == 30
    await worker.reload(ORIGIN + DETACHED)
    assert worker.in_force.drain_s == 125
    await worker.reload(ORIGIN)
    assert worker.in_force.drain_s == 125, "a call of the policy that is gone may still be under way"


WIDER = SERVER + "policies: [{name: a}, {name: b, match: {methods: [PUT]}}]\n"


async def test_where_envoy_skips_requests_that_new_policies_want_there_is_a_warning(worker: Worker) -> None:
    lines = await worker.reload(WIDER)
    assert worker.names == ["a", "b"]
    assert lines[-1]["log_level"] == "warning"
    assert lines[-1]["event"].startswith("Envoy's configuration has to be rendered again")


async def test_where_somebody_renders_it_anyway_there_is_none(file: Path) -> None:
    worker = Worker(file, envoy_follows=True)
    assert events(await worker.reload(WIDER)) == ["configuration applied"]


async def test_the_same_file_again_is_applied_and_changes_nothing(worker: Worker) -> None:
    lines = await worker.reload(BEFORE)
    assert events(lines) == ["configuration applied"]
    assert lines[0]["added"] == lines[0]["removed"] == lines[0]["changed"] == ()


async def test_while_it_loads_exchanges_get_their_turn_sooner_and_afterwards_as_usual(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual, meanwhile, load = sys.getswitchinterval(), list[float](), worker.config.load

    def noting() -> Settings:
        meanwhile.append(sys.getswitchinterval())
        return load()

    monkeypatch.setattr(worker.config, "load", noting)
    await worker.reload(BEFORE)
    await worker.reload("policies: 1")
    assert [interval < usual for interval in meanwhile] == [True, True]
    assert sys.getswitchinterval() == usual


def test_a_configuration_that_cannot_be_put_in_force_raises_and_changes_nothing(file: Path) -> None:
    worker = Worker(file)
    file.write_text(f"{SERVER}origin: {{url: 'unix:///run/origin.sock'}}\n{DETACHED}")
    with pytest.raises(ConfigError):
        worker.in_force.replace(worker.config.load(), file)
    assert worker.names == ["a", "b"]
