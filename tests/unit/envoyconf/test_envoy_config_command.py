from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from sidecar.cli.envoy_config import endpoints, envoy_config
from sidecar.config.loading import load
from tests.stack.certificates import Authority

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


def test_an_envoyfilter_is_for_the_workload_that_the_options_name(config: str) -> None:
    placed = ("--name", "idem", "--namespace", "shop", "--workload", "app=pay", "--workload", "tier=api")
    code, out, err = run("--config", config, "--format", "istio", *placed, "--gateway")

    assert (code, err) == (0, "")
    resource = yaml.safe_load(out)
    assert resource["metadata"] == {"name": "idem", "namespace": "shop"}
    assert resource["spec"]["workloadSelector"]["labels"] == {"app": "pay", "tier": "api"}
    assert resource["spec"]["configPatches"][0]["match"] == {"context": "GATEWAY"}


def test_envoy_gateway_s_resources_are_for_the_listener_and_the_service_that_the_options_name(
    config: str,
) -> None:
    placed = ("--namespace", "shop", "--target", "edge/https", "--sidecar-host", "idem.shop.svc")
    code, out, err = run("--config", config, "--format", "envoy-gateway", *placed)

    assert (code, err) == (0, "")
    extension, patch, proxy = yaml.safe_load_all(out)
    assert extension["spec"]["targetRefs"][0]["sectionName"] == "https"
    assert [each["port"] for each in extension["spec"]["extProc"][0]["backendRefs"]] == [9000, 9001]
    assert patch["spec"]["targetRef"]["name"] == "edge"
    assert proxy["kind"] == "EnvoyProxy"


def test_a_host_of_the_sidecar_is_for_ports(tmp_path: Path) -> None:
    file = tmp_path / "sockets.yaml"
    file.write_text("server: {listen: 'unix:///run/s.sock'}\n")

    code, _, err = run("--config", str(file), "--format", "filter", "--sidecar-host", "a.b.svc")

    assert code == 2
    assert "--sidecar-host is given and server.listen is a socket; allowed: server.listen at HOST:PORT" in err


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--format", "kuma"], "allowed: bootstrap, filter, istio or envoy-gateway"),
        (["--format", "istio", "--workload", "app"], "allowed: KEY=VALUE, such as app=payments"),
        (["--format", "istio", "--name", "Not_One"], "allowed: a-z, 0-9, - and . between them"),
        (["--format", "istio", "--namespace", "a.b"], "allowed: a-z, 0-9 and - inside, up to 63"),
        (["--format", "envoy-gateway", "--target", "eg"], "allowed: GATEWAY/LISTENER, such as eg/http"),
        (["--format", "envoy-gateway"], "allowed: --sidecar-host NAME.NAMESPACE.svc"),
        (["--format", "filter", "--sidecar-host", "no host"], "allowed: HOST:PORT"),
        (["--format", "filter", "--envoy-version", "1.35"], "allowed: 1.36, 1.37, 1.38, 1.39 or 1.40"),
        (["--format", "filter", "--envoy-version", "newest"], "allowed: 1.36, 1.37, 1.38, 1.39 or 1.40"),
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


TLS = {
    "--sidecar-ca": "/etc/envoy/ca.pem",
    "--sidecar-cert": "/etc/envoy/client.pem",
    "--sidecar-key": "/etc/envoy/client.key",
    "--sidecar-name": "sidecar.example",
}


def options(given: dict[str, str]) -> list[str]:
    return [part for option in given.items() for part in option]


@pytest.fixture
def tls_config(tmp_path: Path) -> str:
    authority = Authority(tmp_path)
    files = authority.server_tls(authority.sign("server"))
    file = tmp_path / "tls.yaml"
    file.write_text(
        f"server: {{listen: 'sidecar:9000', tls: {{certificate: {files.certificate}, key: {files.key}, "
        f"client_ca: {files.client_ca}}}}}\n"
    )
    return str(file)


@pytest.mark.parametrize(
    "output", [["--format", "filter"], ["--format", "bootstrap", "--upstream", "http://127.0.0.1:3000"]]
)
def test_envoy_s_side_of_tls_is_rendered_with_its_own_paths(tls_config: str, output: list[str]) -> None:
    code, out, err = run("--config", tls_config, *output, *options(TLS))

    assert (code, err) == (0, "")
    rendered = yaml.safe_load(out)
    cluster = rendered.get("static_resources", rendered)["clusters"][0]
    (certificate,) = cluster["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificates"]
    assert certificate["certificate_chain"] == {"filename": "/etc/envoy/client.pem"}


@pytest.mark.parametrize("left_out", TLS)
def test_with_tls_all_of_envoy_s_side_is_needed(tls_config: str, left_out: str) -> None:
    given = {option: value for option, value in TLS.items() if option != left_out}

    code, out, err = run("--config", tls_config, "--format", "filter", *options(given))

    assert (code, out) == (2, "")
    assert err == (
        f"server.tls is set, without {left_out}; "
        "allowed: --sidecar-ca, --sidecar-cert, --sidecar-key and --sidecar-name\n"
    )


def test_with_tls_and_nothing_about_envoy_s_side_everything_is_asked_for(tls_config: str) -> None:
    code, _, err = run("--config", tls_config, "--format", "filter")

    assert code == 2
    assert err.startswith("server.tls is set, without --sidecar-ca, --sidecar-cert, --sidecar-key and ")


def test_where_the_sidecar_s_files_are_elsewhere_tls_can_be_rendered_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tls.yaml"
    file.write_text("server: {listen: 'sidecar:9000', tls: {certificate: /n, key: /n, client_ca: /n}}\n")
    monkeypatch.setenv("IDEMPOTENCY__SERVER__TLS", "null")

    code, out, _ = run("--config", str(file), "--format", "filter", *options(TLS))

    assert code == 0
    assert yaml.safe_load(out)["clusters"][0]["transport_socket"]


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--sidecar-ca", "ca.pem", "allowed: an absolute path, as Envoy sees it"),
        ("--sidecar-key", "/a\nb", "allowed: an absolute path, as Envoy sees it"),
        ("--sidecar-name", "not a name", "allowed: a DNS name, an IP address or a URI"),
    ],
)
def test_what_is_no_path_or_no_name_is_refused(
    tls_config: str, option: str, value: str, allowed: str
) -> None:
    code, _, err = run("--config", tls_config, "--format", "filter", *options({**TLS, option: value}))

    assert code == 2
    assert allowed in err


def test_tls_is_not_for_unix_sockets(tmp_path: Path) -> None:
    file = tmp_path / "sockets.yaml"
    file.write_text("server: {listen: 'unix:///run/s.sock'}\n")

    code, _, err = run("--config", str(file), "--format", "filter", *options(TLS))

    assert code == 2
    assert "TLS is for HOST:PORT endpoints" in err


def test_a_patch_release_of_the_version_is_the_version(config: str) -> None:
    for version in ("1.40", "1.36"):
        minor, patch = (
            run("--config", config, "--format", "filter", "--envoy-version", each)
            for each in (version, f"{version}.3")
        )
        assert minor == patch
        assert f"for Envoy {version}, to be pasted" in minor[1]


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
