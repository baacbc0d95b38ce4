"""The stacks of this suite, one for each pairing of an Envoy with a transport, and what they lack."""

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.envoys.limits import SINCE
from tests.envoys.programs import find_program, minor, pinned_versions
from tests.envoys.results import FETCH_FAILURES, Pairing, pairing_of
from tests.envoys.stack import EnvoyStack, running_envoy_stack
from tests.envoys.turns import Turns
from tests.stack.valkey import Server, start_valkey

TRANSPORTS = ("grpcio", "native")
PAIRINGS = [Pairing(version, transport) for version in pinned_versions() for transport in TRANSPORTS]


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def turns(
    request: pytest.FixtureRequest, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Turns[Pairing, EnvoyStack]]:
    """The stacks of the tests that were collected, in their order, without those whose Envoy is not here."""

    def start(pairing: Pairing) -> AbstractContextManager[EnvoyStack]:
        directory = tmp_path_factory.mktemp(str(pairing))
        return running_envoy_stack(_program(pairing), pairing, valkey.url, directory)

    wanted = dict.fromkeys(pairing for item in request.session.items if (pairing := pairing_of(item)))
    with Turns([pairing for pairing in wanted if find_program(pairing.version)], start) as taking_turns:
        yield taking_turns


def _program(pairing: Pairing) -> Path:
    program = find_program(pairing.version)
    assert program is not None, f"Envoy {pairing.version} was here when the run began"
    return program


@pytest.fixture(scope="session", params=PAIRINGS, ids=str)
def stack(request: pytest.FixtureRequest, turns: Turns[Pairing, EnvoyStack]) -> Iterator[EnvoyStack]:
    """Two workers of the sidecar behind one Envoy; every test leaves them as whole as it found them."""
    pairing: Pairing = request.param
    if find_program(pairing.version) is None:
        why = request.config.stash.get(FETCH_FAILURES, {}).get(pairing.version, "`make envoys` fetches it")
        pytest.skip(f"Envoy {pairing.version} is not here: {why}")
    yield turns.take(pairing)
    turns.stop(pairing)


@pytest.fixture(autouse=True)
def _known_limits(request: pytest.FixtureRequest) -> None:
    """A test of what its Envoy is known not to do has to fail."""
    limit, pairing = request.node.get_closest_marker(SINCE), pairing_of(request.node)
    if limit is not None and pairing is not None:
        first, why = limit.args
        if minor(pairing.version) < minor(first):
            request.node.add_marker(pytest.mark.xfail(reason=why, raises=AssertionError, strict=True))


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f'"{uuid.uuid4()}"'
