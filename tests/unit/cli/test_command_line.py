"""The command as a person meets it: names, help, exit codes, and no traceback for what can be expected."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sidecar.__main__ import app
from sidecar.cli import serve as serve_command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("IDEMPOTENCY__")]:
        monkeypatch.delenv(name)


def test_help_names_every_command() -> None:
    help_text = run("--help").output
    for command in ("demo", "up", "serve", "check", "envoy-config", "openapi"):
        assert command in help_text


def test_without_a_command_it_explains_itself() -> None:
    assert "Make any HTTP service safe to retry." in run().output


@pytest.mark.parametrize("command", ["demo", "up", "serve", "check", "envoy-config", "openapi"])
def test_every_command_has_help(command: str) -> None:
    result = run(command, "-h")
    assert result.exit_code == 0
    assert command in result.output


def test_hidden_options_stay_hidden() -> None:
    assert "--worker " not in run("serve", "--help").output


def test_the_version_is_the_distribution_s() -> None:
    result = run("--version")
    assert (result.exit_code, result.output) == (0, "idempotency-sidecar 0.1.0\n")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ((sys.executable, "-m", "sidecar"), "python -m sidecar"),
        ((str(Path(sys.executable).parent / "idempotency-sidecar"),), "idempotency-sidecar"),
    ],
)
def test_it_calls_itself_what_it_was_called(command: tuple[str, ...], name: str) -> None:
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert f"Usage: {name} [OPTIONS] COMMAND" in done.stdout


def test_help_loads_neither_grpc_nor_envoy_s_types_nor_a_web_framework() -> None:
    slow = {"grpc", "envoy_data_plane", "aiohttp", "redis"}
    program = f"import sys, sidecar.__main__; print(*({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "arguments", [("up",), ("nonsense",), ("up", "--upstream", "http://a", "--workers", "0")]
)
def test_a_wrong_call_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2


def test_serve_tells_every_problem_of_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "bad.yaml"
    config.write_text("policies:\n  - name: a\n    leas: 1s\n    ttl: soon\n")
    result = run("serve", "--config", str(config))
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert [line.split(" ")[0] for line in lines] == [f"{config}:3:", f"{config}:4:"]


def test_serve_knows_how_many_workers_there_are() -> None:
    result = run("serve", "--worker", "1")
    assert result.exit_code == 2
    assert result.stderr == "--worker 1: there is no such worker; allowed: 0 to 0 (server.workers)\n"


def test_serve_says_in_one_line_why_it_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    from sidecar import app as composition  # noqa: PLC0415 - loads grpc, which the other tests do without

    async def cannot(*_: object) -> None:
        raise composition.StartError("cannot listen on 127.0.0.1:80")

    monkeypatch.setattr(composition, "run_worker", cannot)
    result = run("serve")
    assert (result.exit_code, result.stderr) == (1, "cannot listen on 127.0.0.1:80\n")


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGHUP])
def test_a_worker_does_not_end_at_a_signal_that_asks_for_something_else(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sidecar import app as composition  # noqa: PLC0415 - the same

    answers: list[object] = []
    before = {each: signal.signal(each, signal.SIG_DFL) for each in (signal.SIGUSR2, signal.SIGHUP)}
    try:
        monkeypatch.setattr(composition, "serve_worker", lambda *_: answers.append(signal.getsignal(number)))
        assert run("serve").exit_code == 0
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert answers == [signal.SIG_IGN]


@pytest.mark.parametrize(("workers", "supervised"), [("1", False), ("3", True)])
def test_serve_supervises_where_there_are_several_workers(
    workers: str, supervised: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setenv("IDEMPOTENCY__SERVER__WORKERS", workers)
    monkeypatch.setattr(serve_command, "_supervise", lambda *_: calls.append("supervise"))
    monkeypatch.setattr(serve_command, "_run", lambda *_, **__: calls.append("run"))
    assert run("serve").exit_code == 0
    assert run("serve", "--worker", "0").exit_code == 0
    assert calls == ["supervise" if supervised else "run", "run"]
