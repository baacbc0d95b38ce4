from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from sidecar.cli.envoy_config import endpoints, envoy_config
from sidecar.config.loading import load

CONFIG = """
server: {listen: "0.0.0.0:9000", workers: 2}
policies:
  - name: payments
    match: {paths: ["/v1/payments/**"]}
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "sidecar.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    return str(file)


def run(*arguments: str) -> tuple[int, str, str]:
    app = typer.Typer()
    app.command()(envoy_config)
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.stdout, result.stderr


def test_a_bootstrap_is_printed_for_an_upstream(config: str) -> None:
    code, out, err = run(
        "--config", config, "--upstream", "http://127.0.0.1:3000", "--listen", "127.0.0.1:8081"
    )

    assert (code, err) == (0, "")
    (listener,) = yaml.safe_load(out)["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 8081}


def test_a_detached_policy_has_its_origin_listener_in_the_bootstrap(tmp_path: Path) -> None:
    file = tmp_path / "detached.yaml"
    file.write_text(
        "origin: {url: unix:///run/idempotency/origin.sock}\npolicies: [{name: slow, execution: detached}]\n"
    )

    code, out, err = run("--config", str(file), "--upstream", "http://127.0.0.1:3000")

    assert (code, err) == (0, "")
    addresses = [listener["address"] for listener in yaml.safe_load(out)["static_resources"]["listeners"]]
    assert {"pipe": {"path": "/run/idempotency/origin.sock", "mode": 0o600}} in addresses


def test_a_filter_needs_no_upstream(config: str) -> None:
    code, out, _ = run("--config", config, "--format", "filter")

    assert code == 0
    assert set(yaml.safe_load(out)) == {"http_filters", "clusters"}


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--format", "istio"], "allowed: bootstrap or filter"),
        (["--format", "envoy-gateway"], "allowed: bootstrap or filter"),
        (["--format", "filter", "--envoy-version", "1.39"], "allowed: 1.40"),
        (["--format", "bootstrap"], "needs --upstream; allowed: a URL such as http://"),
        (["--upstream", "127.0.0.1:3000"], "allowed: http://HOST:PORT"),
        (["--upstream", "http://127.0.0.1:3000", "--listen", "everywhere"], "allowed: HOST:PORT"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(config: str, arguments: list[str], allowed: str) -> None:
    code, out, err = run("--config", config, *arguments)

    assert (code, out) == (2, "")
    assert allowed in err
    assert err.count("\n") == 1


def test_a_patch_release_of_the_version_is_the_version(config: str) -> None:
    assert run("--config", config, "--format", "filter", "--envoy-version", "1.40.3")[0] == 0


def test_a_bad_configuration_is_told_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("server: {worker: 2}\nstore: {timeout: soon}\n", encoding="utf-8")

    code, out, err = run("--config", str(file), "--format", "filter")

    assert (code, out) == (1, "")
    assert f"{file}:1:" in err
    assert f"{file}:2:" in err


@pytest.mark.parametrize(
    ("listen", "reached"),
    [
        ("0.0.0.0:9000", ("127.0.0.1:9000", "127.0.0.1:9001")),
        ("'[::]:9000'", ("[::1]:9000", "[::1]:9001")),
        ("sidecar:9000", ("sidecar:9000", "sidecar:9001")),
        ("unix:///run/s.sock", ("unix:/run/s.sock.0", "unix:/run/s.sock.1")),
    ],
)
def test_envoy_is_sent_to_an_address_that_it_can_reach(
    tmp_path: Path, listen: str, reached: tuple[str, ...]
) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text(f"server: {{listen: {listen}, workers: 2}}\n", encoding="utf-8")

    assert endpoints(load(file, {})) == reached
