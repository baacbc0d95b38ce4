"""What somebody who broke into the example service, or shares the host, can reach: nothing."""

import pytest
from testcontainers.core.container import ExecConfig

from tests.containers.composition import Composition

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

CONNECT = "import socket; socket.socket(socket.AF_UNIX).connect('/run/idempotency/ext_proc.sock')"


@pytest.mark.parametrize("name", ["redis", "sidecar"])
def test_the_service_cannot_even_look_up(name: str, composition: Composition) -> None:
    app = composition.containers["app"]

    assert app.exec(["python", "-c", "import socket; socket.gethostbyname('envoy')"]).exit_code == 0
    assert app.exec(["python", "-c", f"import socket; socket.gethostbyname('{name}')"]).exit_code != 0


def test_only_the_user_of_envoy_and_the_sidecar_can_open_the_socket(composition: Composition) -> None:
    sidecar, command = composition.containers["sidecar"], ["python", "-c", CONNECT]

    as_itself = sidecar.exec(ExecConfig(command, user="10001"))
    as_another = sidecar.exec(ExecConfig(command, user="65534"))

    assert as_itself.exit_code == 0
    assert as_another.exit_code != 0
    assert b"PermissionError" in as_another.output


@pytest.mark.parametrize(("service", "user"), [("envoy", "10001"), ("sidecar", "10001"), ("app", "65534")])
def test_no_container_runs_as_root(service: str, user: str, composition: Composition) -> None:
    container = composition.containers[service]

    running_as = container.exec(
        ["sh", "-c", "while read -r name uid _; do [ $name = Uid: ] && echo $uid; done < /proc/1/status"]
    )

    assert running_as.output.decode().strip() == user
