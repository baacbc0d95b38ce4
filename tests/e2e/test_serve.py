"""`serve` as it runs in production, with several workers: restarts, the drain, and an orderly end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.stack.children import descendants, is_alive
from tests.stack.ports import ports_in_a_row
from tests.stack.valkey import Server


@dataclass(frozen=True)
class Serving:
    """A running `serve` with two workers."""

    process: subprocess.Popen[str]
    admin_port: int
    log: Path

    @property
    def workers(self) -> set[int]:
        return descendants(self.process.pid)

    def is_ready(self, worker: int) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.admin_port + worker}/readyz").status_code == 200
        return False


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def serving(valkey: Server, tmp_path: Path) -> Iterator[Serving]:
    ports = ports_in_a_row(4)
    environ = {
        **os.environ,
        "IDEMPOTENCY__SERVER__WORKERS": "2",
        "IDEMPOTENCY__SERVER__LISTEN": f"127.0.0.1:{ports.port}",
        "IDEMPOTENCY__SERVER__ADMIN": f"127.0.0.1:{ports.port + 2}",
        "IDEMPOTENCY__STORE__URL": valkey.url,
    }
    log = tmp_path / "serve.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "sidecar", "serve"], stderr=stderr, text=True, env=environ
        )
    running = Serving(process, ports.port + 2, log)
    try:
        wait_until(lambda: running.is_ready(0) and running.is_ready(1), "both workers are ready")
        yield running
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_every_worker_and_ends_with_exit_code_0(
    serving: Serving, stop: signal.Signals
) -> None:
    workers = serving.workers
    assert len(workers) == 2
    serving.process.send_signal(stop)
    assert serving.process.wait(30) == 0
    assert not any(map(is_alive, workers))
    assert serving.log.read_text().count('"draining"') >= 2


def test_a_worker_that_dies_is_restarted_on_its_own_endpoint(serving: Serving) -> None:
    before = serving.workers
    victim = min(before)
    time.sleep(2)  # the supervisor polls: let it see, too, that the start is over
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(serving.workers - before) == 1, "another one runs")
    wait_until(lambda: serving.is_ready(0) and serving.is_ready(1), "both workers are ready again")
    assert "died (SIGKILL); restarting it in 0.1 s" in serving.log.read_text()


def test_workers_drain_and_end_when_their_supervisor_is_killed(serving: Serving) -> None:
    workers = serving.workers
    serving.process.kill()
    wait_until(lambda: not any(map(is_alive, workers)), "every worker ended")
    assert serving.log.read_text().count('"stopped"') == 2


def test_the_log_is_json_line_by_line(serving: Serving) -> None:
    serving.process.send_signal(signal.SIGTERM)
    serving.process.wait(30)
    lines = serving.log.read_text().splitlines()
    assert lines
    assert all(line.startswith("{") and line.endswith("}") for line in lines)
