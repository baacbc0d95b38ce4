"""What a stack makes of its options, and what it refuses before anything runs."""

import tempfile
from pathlib import Path

import pytest

from sidecar.config.errors import ConfigError
from sidecar.supervision.errors import StartupError, UsageError
from sidecar.supervision.stack import ORIGIN_URL, TLS, Stack, StackOptions
from sidecar.supervision.workspace import PREFIX

UPSTREAM = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _nothing_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def workspaces() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"))


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (StackOptions("127.0.0.1:80"), "--upstream"),
        (StackOptions(UPSTREAM, listen="here"), "--listen"),
        (StackOptions(UPSTREAM, admin="there"), "--admin"),
    ],
)
def test_an_address_that_is_none_is_refused_under_the_name_of_its_option(
    options: StackOptions, option: str
) -> None:
    with pytest.raises(UsageError, match=f"^{option}: .*; allowed: "):
        Stack(options)


async def refusal(options: StackOptions) -> Exception:
    with pytest.raises((StartupError, UsageError, ConfigError)) as refused:
        async with Stack(options):
            pytest.fail("it must not start")
    assert workspaces() == []
    return refused.value


async def test_a_store_s_url_that_is_none_is_refused_under_the_name_of_its_option() -> None:
    error = await refusal(StackOptions(UPSTREAM, store="mysql://x", environ={}))
    assert isinstance(error, UsageError)
    assert str(error).startswith("--store: ")


async def test_a_store_s_url_from_the_environment_is_a_problem_of_the_environment() -> None:
    error = await refusal(StackOptions(UPSTREAM, environ={"IDEMPOTENCY__STORE__URL": "mysql://x"}))
    assert isinstance(error, ConfigError)
    assert error.problems[0].file == "IDEMPOTENCY__STORE__URL"


async def test_memory_is_no_store_for_several_workers() -> None:
    error = await refusal(StackOptions(UPSTREAM, store="memory:", workers=2, environ={}))
    assert str(error).startswith("--store: memory: is not shared by 2 workers")


async def test_problems_of_a_configuration_are_reported_as_they_are() -> None:
    error = await refusal(StackOptions(UPSTREAM, config_text="policies: [{nam: x}]", environ={}))
    assert isinstance(error, ConfigError)


async def test_a_store_in_the_configuration_is_used_rather_than_an_embedded_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sidecar.supervision.external_store._ANSWERS_WITHIN_S", 0.1)
    text = "store: {url: 'redis://127.0.0.1:1/7'}"
    error = await refusal(StackOptions(UPSTREAM, config_text=text, environ={}))
    assert str(error).startswith("the store redis://127.0.0.1:1/7 cannot be used: ")


async def test_a_detached_policy_finds_the_stack_s_own_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.supervision.external_store._ANSWERS_WITHIN_S", 0.1)
    text = "store: {url: 'redis://127.0.0.1:1/7'}\npolicies: [{name: x, execution: detached}]"
    error = await refusal(StackOptions(UPSTREAM, config_text=text, environ={}))
    assert str(error).startswith("the store "), "the configuration is right"


def test_the_origin_of_a_stack_is_in_its_workspace_whatever_else_is_said() -> None:
    stack = Stack(StackOptions(UPSTREAM, environ={ORIGIN_URL: "http://127.0.0.1:1", "KEPT": "1"}))
    environ = stack._environ(Path("/run/x"))
    assert environ == {ORIGIN_URL: "unix:///run/x/origin.sock", TLS: "null", "KEPT": "1"}


async def test_the_tls_of_a_configuration_made_for_production_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sidecar.supervision.external_store._ANSWERS_WITHIN_S", 0.1)
    text = "server: {listen: '0.0.0.0:9000', tls: {certificate: /nowhere}}\nstore: {url: 'redis://127.0.0.1:1/7'}"
    error = await refusal(StackOptions(UPSTREAM, config_text=text, environ={f"{TLS}__KEY": "/nowhere"}))
    assert str(error).startswith("the store "), "the configuration is right"


async def test_without_an_envoy_nothing_starts() -> None:
    error = await refusal(StackOptions(UPSTREAM, envoy=Path("/nowhere/envoy")))
    assert str(error).startswith("--envoy /nowhere/envoy: ")


async def test_before_it_runs_it_has_no_processes() -> None:
    stack = Stack(StackOptions(UPSTREAM))
    assert (stack.envoy_pid, stack.worker_pids, stack.admin_urls) == (None, (), ())
