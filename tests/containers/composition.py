"""`compose.yaml`, started with testcontainers: the file itself is under test, not a copy of it in Python.

Only the part of the Compose specification that the file uses is understood. Any other key is an error, so the
file cannot come to rely on something that no test has started.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import docker
import yaml
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HealthcheckWaitStrategy

START_LIMIT_S = 60
_NANOSECOND = 1_000_000_000
_PASSED_ON = ("user", "read_only", "cap_drop", "security_opt")
_HANDLED = {
    *("image", "build", "command", "environment", "networks", "ports", "volumes", "healthcheck"),
    *("depends_on", "restart", "stop_grace_period"),
}


def load(file: Path) -> dict[str, Any]:
    """The content of a Compose file.

    Raises:
        ValueError: It uses a key of a service that is not understood here.
    """
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    for name, service in content["services"].items():
        if unknown := service.keys() - _HANDLED - set(_PASSED_ON):
            raise ValueError(
                f"{file.name}: {name} uses {sorted(unknown)}, which the container tests do not start"
            )
    return content


def start_order(services: Mapping[str, Any]) -> list[str]:
    """The services' names, each after those it depends on."""
    ordered: list[str] = []

    def visit(name: str) -> None:
        for needed in services[name].get("depends_on", {}):
            visit(needed)
        if name not in ordered:
            ordered.append(name)

    for name in services:
        visit(name)
    return ordered


class Composition:
    """The containers, networks and volumes of a Compose file, while the context lasts.

    Every name but that of a service on its networks is made up, and published ports are free ones of the
    loopback, so that it meets neither a running `docker compose` nor another test run.

    Args:
        file: The Compose file; paths in it are relative to its directory.
        built: The image that stands for each service that has a `build`.
    """

    def __init__(self, file: Path, built: Mapping[str, str]) -> None:
        self._directory = file.parent
        self._content = load(file)
        self._built = built
        self._prefix = f"idempotency-test-{uuid.uuid4().hex[:12]}"
        self._cleanup = contextlib.ExitStack()
        self._networks: dict[str, Network] = {}
        self.containers: dict[str, DockerContainer] = {}

    def __enter__(self) -> Self:
        with self._cleanup:  # a failed start leaves nothing behind
            for name, options in self._content["networks"].items():
                self._networks[name] = self._cleanup.enter_context(Network(docker_network_kw=dict(options)))
            for name in self._content["volumes"]:
                self._cleanup.enter_context(_volume(self._volume_name(name)))
            for name in start_order(self._content["services"]):
                self._start(name, self._content["services"][name])
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.__exit__(kind, error, trace)

    def url(self, service: str, port: int) -> str:
        """Where a published port is reached from outside, at this moment: a restart gives another one."""
        return f"http://127.0.0.1:{self.containers[service].get_exposed_port(port)}"

    def logs(self, service: str) -> str:
        """Everything a service has written."""
        return b"".join(self.containers[service].get_logs()).decode(errors="replace")

    def wait_until_healthy(self, service: str) -> None:
        """Return when the service's health check passes; fail with its logs where it does not."""
        check = HealthcheckWaitStrategy().with_startup_timeout(START_LIMIT_S).with_poll_interval(0.1)
        try:
            check.wait_until_ready(self.containers[service])
        except (RuntimeError, TimeoutError) as error:
            error.add_note(f"{service} wrote:\n{self.logs(service)}")
            raise

    def _start(self, name: str, service: Mapping[str, Any]) -> None:
        first, *others = (self._networks[network] for network in service["networks"])
        image = self._built[name] if "build" in service else service["image"]
        container = DockerContainer(
            image, network=first, network_aliases=[name], env=service.get("environment")
        )
        if "command" in service:
            container.with_command(service["command"])
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            container.with_volume_mapping(self._source(source), target, *(mode or ["rw"]))
        _publish_on_loopback(container, service.get("ports", ()))
        passed_on = {key: service[key] for key in _PASSED_ON if key in service}
        container.with_kwargs(healthcheck=_healthcheck(service["healthcheck"]), **passed_on)
        self.containers[name] = self._cleanup.enter_context(container)
        for network in others:
            network.connect(container.get_container_id(), [name])
        self.wait_until_healthy(name)

    def _source(self, source: str) -> str:
        if source.startswith("."):
            return str((self._directory / source).resolve())
        return self._volume_name(source)

    def _volume_name(self, name: str) -> str:
        return f"{self._prefix}-{name}"


@contextlib.contextmanager
def _volume(name: str) -> Iterator[None]:
    with contextlib.closing(docker.from_env()) as client:
        volume = client.volumes.create(name)
        try:
            yield
        finally:
            volume.remove()


def _publish_on_loopback(container: DockerContainer, ports: list[str]) -> None:
    # testcontainers would publish on every address of the machine; docker-py, below it, takes an address too.
    published = cast("dict[str, Any]", container.ports)
    for port in ports:
        published[port.rpartition(":")[2]] = ("127.0.0.1", None)


def _healthcheck(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "test": settings["test"],
        "interval": _nanoseconds(settings["interval"]) // 4,
        "timeout": _nanoseconds(settings["timeout"]),
        "retries": settings["retries"] * 4,
    }


def _nanoseconds(duration: str) -> int:
    return int(duration.removesuffix("s")) * _NANOSECOND
