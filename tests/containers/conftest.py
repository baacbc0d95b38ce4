"""The image, and the whole of `deploy/compose` from it, on a real engine."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import docker.errors
import pytest
from testcontainers.core.image import DockerImage

from tests.containers.bank import Bank
from tests.containers.composition import Composition, load

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "deploy" / "compose" / "compose.yaml"

# testcontainers' reaper is one more image to pull, with nothing to do: every fixture removes what it started.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A Docker engine that answers; where there is none, the test is skipped."""
    try:
        client = docker.from_env()
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    with contextlib.closing(client):
        yield client


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> Iterator[str]:
    """The project's image, built from this tree."""
    _have(engine, "python:3.11-slim-bookworm")
    built = DockerImage(ROOT, tag=f"idempotency-sidecar:test-{uuid.uuid4().hex[:12]}")
    try:
        built.build()
    except docker.errors.BuildError as error:
        error.add_note("".join(step.get("stream", "") for step in error.build_log)[-4000:])
        raise
    yield str(built)
    built.remove()  # the stages it was copied from stay, as the next build's cache


@pytest.fixture(scope="session")
def composition(engine: docker.DockerClient, image: str) -> Iterator[Composition]:
    """Envoy, the sidecar, Redis and the example service, as `compose.yaml` describes them."""
    for service in load(COMPOSE)["services"].values():
        if "build" not in service:
            _have(engine, service["image"])
    with Composition(COMPOSE, built={"sidecar": image}) as composition:
        yield composition


@pytest.fixture
def bank(composition: Composition) -> Iterator[Bank]:
    """The payments service as a client on the host sees it: through Envoy."""
    with contextlib.closing(Bank(composition.url("envoy", 8080))) as bank:
        yield bank


def _have(engine: docker.DockerClient, image: str) -> None:
    """Pull an image that is not there; skip the test where no registry gives it."""
    try:
        engine.images.get(image)
    except docker.errors.ImageNotFound:
        try:
            engine.images.pull(image)
        except docker.errors.APIError as error:
            pytest.skip(f"the image {image} is not here and cannot be pulled: {error.explanation or error}")
