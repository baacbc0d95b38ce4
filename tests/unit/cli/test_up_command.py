"""`up` with a stand-in for the stack: what it says, and with which exit code it ends."""

import asyncio
import json
import os
import signal
from types import TracebackType
from typing import Never, Self

import pytest
from typer.testing import CliRunner, Result

from sidecar.__main__ import app
from sidecar.config.errors import ConfigError, ConfigProblem
from sidecar.supervision import stack as stack_module
from sidecar.supervision.errors import GaveUpError, StartupError, SupervisionError, UsageError
from sidecar.supervision.stack import StackOptions


class FakeStack:
    """A stack that starts nothing. `starting` and `running` are what happens to it, None for a Ctrl-C."""

    starting: Exception | None = None
    running: SupervisionError | None = None
    last: StackOptions

    url = "http://127.0.0.1:8080"
    admin_urls = ("http://127.0.0.1:9902", "http://127.0.0.1:9903")
    embedded_store = True
    envoy_pid = 42
    worker_pids = (43, 44)

    def __init__(self, options: StackOptions) -> None:
        self.options = type(self).last = options

    async def __aenter__(self) -> Self:
        if self.starting is not None:
            raise self.starting
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    async def watch(self) -> Never:
        if self.running is not None:
            raise self.running
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(60)
        raise AssertionError

    def hurry(self) -> None:
        raise AssertionError


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> type[FakeStack]:
    class Fresh(FakeStack):
        pass

    monkeypatch.setattr(stack_module, "Stack", Fresh)
    return Fresh


def up(*arguments: str) -> Result:
    return CliRunner().invoke(app, ("up", "--upstream", "http://127.0.0.1:3000", *arguments))


def test_ready_it_names_both_sides_and_how_to_try_it_and_ctrl_c_ends_it_well() -> None:
    result = up()
    assert result.exit_code == 0
    ready, try_it = result.stdout.splitlines()
    assert ready == (
        "Ready: http://127.0.0.1:8080 puts idempotency in front of http://127.0.0.1:3000 "
        "(2 workers, an embedded Valkey; metrics at http://127.0.0.1:9902/metrics/all). Ctrl-C stops it all."
    )
    assert try_it.startswith("Try it, twice: curl -i http://127.0.0.1:8080/ -H ")
    assert """-H 'Idempotency-Key: "try-1"'""" in try_it
    assert result.stderr.startswith("up       | stopping: ")


def test_machines_get_one_object() -> None:
    assert json.loads(up("--json").stdout) == {
        "ready": True,
        "url": "http://127.0.0.1:8080",
        "upstream": "http://127.0.0.1:3000",
        "admin": ["http://127.0.0.1:9902", "http://127.0.0.1:9903"],
        "embedded_store": True,
        "pids": {"envoy": 42, "workers": [43, 44]},
    }


def test_what_is_not_given_is_left_to_the_configuration(stack: type[FakeStack]) -> None:
    up()
    given = stack.last
    assert (given.listen, given.config, given.store, given.workers, given.admin, given.envoy) == (
        *("127.0.0.1:8080", None, None, None, None, None),
    )


def test_what_is_given_reaches_the_stack(stack: type[FakeStack]) -> None:
    up("--listen", "[::1]:80", "--store", "redis://h", "--workers", "3", "--admin", "127.0.0.1:1")
    given = stack.last
    assert (given.listen, given.store, given.workers, given.admin) == (
        *("[::1]:80", "redis://h", 3, "127.0.0.1:1"),
    )


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("--listen: no; allowed: yes"), 2, "--listen: no; allowed: yes"),
        (StartupError("127.0.0.1:8080 is taken"), 1, "127.0.0.1:8080 is taken"),
        (ConfigError([ConfigProblem("a.yaml", 3, "f", "bad", "good")]), 1, "a.yaml:3: f: bad; allowed: good"),
    ],
)
def test_a_start_that_fails_is_one_line_and_an_exit_code(
    error: Exception, code: int, line: str, stack: type[FakeStack]
) -> None:
    stack.starting = error
    result = up()
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"{line}\n")


def test_something_that_dies_too_often_is_one_line_and_exit_code_1(stack: type[FakeStack]) -> None:
    stack.running = GaveUpError("envoy died 5 times within 30 s")
    result = up()
    assert (result.exit_code, result.stderr) == (1, "envoy died 5 times within 30 s\n")
