"""`deploy/compose`, without an engine: its promises about isolation and durability, and its rendered part."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sidecar.config.loading import load
from tests.containers import composition

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose"
FILE = COMPOSE / "compose.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return content


def test_the_public_images_are_named_with_their_versions(services: dict[str, Any]) -> None:
    assert {name: service["image"] for name, service in services.items()} == {
        "envoy": "envoyproxy/envoy:v1.40.0",
        "sidecar": "idempotency-sidecar:dev",
        "redis": "redis:7-bookworm",
        "app": "python:3.11-slim-bookworm",
    }


def test_the_sidecar_is_built_from_this_repository(services: dict[str, Any]) -> None:
    context = COMPOSE / services["sidecar"]["build"]["context"]

    assert context.resolve() == ROOT
    assert (context / "Dockerfile").is_file()


def test_every_published_port_is_on_the_loopback(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", ())]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_service_has_a_health_check_and_waits_for_those_it_needs(services: dict[str, Any]) -> None:
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in services.values())
    needed = {name: service.get("depends_on", {}) for name, service in services.items()}
    assert {name: set(needs) for name, needs in needed.items()} == {
        "envoy": {"app", "sidecar"},
        "sidecar": {"redis"},
        "redis": set(),
        "app": set(),
    }
    assert all(
        need == {"condition": "service_healthy"} for needs in needed.values() for need in needs.values()
    )


def test_only_envoy_and_the_sidecar_share_the_socket_and_run_as_one_user(services: dict[str, Any]) -> None:
    mounts = {name: service.get("volumes", ()) for name, service in services.items()}
    sharing = {name for name, volumes in mounts.items() if any(v.startswith("socket:") for v in volumes)}
    [image_user] = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert sharing == {"envoy", "sidecar"}
    assert services["envoy"]["user"] == image_user
    assert "user" not in services["sidecar"]


def test_nobody_but_the_sidecar_is_on_the_network_of_redis(services: dict[str, Any]) -> None:
    networks = yaml.safe_load(FILE.read_text())["networks"]

    assert {name for name, service in services.items() if "store" in service["networks"]} == {
        "sidecar",
        "redis",
    }
    assert services["redis"]["networks"] == ["store"]
    assert networks["store"] == {"internal": True}
    assert not set(services["app"]["networks"]) & set(services["sidecar"]["networks"])


def test_redis_keeps_what_it_acknowledged(services: dict[str, Any]) -> None:
    _, *arguments = services["redis"]["command"]
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))

    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    assert f"records:{options['--dir']}" in services["redis"]["volumes"]


@pytest.mark.parametrize("name", ["envoy", "sidecar", "app"])
def test_what_can_do_without_rights_has_none(name: str, services: dict[str, Any]) -> None:
    service = services[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_grace_period_is_longer_than_the_drain(services: dict[str, Any]) -> None:
    from sidecar.config.loading import LEAST_DRAIN_S  # noqa: PLC0415 - loads the gRPC server, which the other tests do without

    assert float(services["sidecar"]["stop_grace_period"].removesuffix("s")) > LEAST_DRAIN_S


def test_the_configuration_is_valid_and_a_payment_needs_a_key(services: dict[str, Any]) -> None:
    settings = load(COMPOSE / "sidecar.yaml", {})

    payments, *_ = settings.policies.policies
    assert payments.name == "payments"
    assert payments.key.required
    assert settings.server.listen.path.startswith("/run/idempotency/")
    assert "socket:/run/idempotency" in services["sidecar"]["volumes"]


def test_envoys_side_is_what_the_readmes_command_renders() -> None:
    [command] = re.findall(r"^idempotency-sidecar (envoy-config .+)$", _readme(), re.MULTILINE)
    *arguments, redirection, target = shlex.split(command)
    assert (redirection, target) == (">", "deploy/compose/envoy.yaml")

    rendered = subprocess.run(
        [sys.executable, "-m", "sidecar", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={},
    )

    assert rendered.stdout == (ROOT / target).read_text(), f"render it again: idempotency-sidecar {command}"


def test_every_file_that_the_readme_lists_is_there() -> None:
    listed = re.findall(r"^\| `([^`]+)` \|", _readme(), re.MULTILINE)

    assert len(listed) == 4
    assert all((COMPOSE / name).is_file() for name in listed)


def test_the_container_tests_start_all_that_the_file_describes(tmp_path: Path) -> None:
    assert composition.start_order(composition.load(FILE)["services"])[-1] == "envoy"

    more = tmp_path / "compose.yaml"
    more.write_text(FILE.read_text().replace("    restart: unless-stopped\n", "    privileged: true\n", 1))
    with pytest.raises(ValueError, match="envoy uses \\['privileged'\\]"):
        composition.load(more)


def test_docker_compose_accepts_the_file() -> None:
    command = next((c for c in (["docker", "compose"], ["docker-compose"]) if _works(*c)), None)
    if command is None:
        pytest.skip("neither `docker compose` nor `docker-compose` is installed")

    checked = subprocess.run(
        [*command, "--file", FILE, "config", "--quiet"], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr


def _readme() -> str:
    return (COMPOSE / "README.md").read_text()


def _works(program: str, *arguments: str) -> bool:
    command = [program, *arguments, "version"]
    return (
        bool(shutil.which(program))
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )
