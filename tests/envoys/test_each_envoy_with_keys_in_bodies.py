"""Keys that stand in the body, or are made of it, on each Envoy: the body is read before anything is decided.

On a stack of their own: with such a policy every request it matches goes to the sidecar.
"""

import hashlib
from collections.abc import Iterator

import pytest

from tests.envoys.programs import Version, find_program, pinned_versions
from tests.envoys.results import Pairing
from tests.envoys.stack import TYPED, EnvoyStack, kind, running_envoy_stack
from tests.stack.upstream import Answer
from tests.stack.valkey import Server

POLICIES = """\
  - name: json
    match: {methods: [POST], paths: ["/json/**"]}
    key: {from: json, name: /key}
  - name: derived
    match: {methods: [POST], paths: ["/derived/**"]}
    key: {from: derived}
  - name: detached-derived
    match: {methods: [POST], paths: ["/detached-derived/**"]}
    key: {from: derived}
    execution: detached
"""


@pytest.fixture(scope="module", params=pinned_versions())
def envoy(
    request: pytest.FixtureRequest, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EnvoyStack]:
    version: Version = request.param
    program = find_program(version)
    if program is None:
        pytest.skip(f"Envoy {version} is not here: `make envoys` fetches it")
    directory = tmp_path_factory.mktemp(f"bodies-{version}")
    with running_envoy_stack(
        program, Pairing(version, "native"), valkey.url, directory, more=POLICIES
    ) as stack:
        yield stack


def post(envoy: EnvoyStack, target: str, body: bytes) -> tuple[int, str]:
    """What a request without any key in its head comes to."""
    headers = {"content-type": "application/json", "idempotency-attempt": "9"}
    return kind(envoy.client.post(target, content=body, headers=headers))


def test_a_key_in_the_body_counts_and_the_body_arrives_as_it_was_sent(envoy: EnvoyStack) -> None:
    target, body = envoy.path(Answer(201, TYPED), "json"), b'{"key": "k1", "pad": "' + b"x" * 150_000 + b'"}'

    assert [post(envoy, target, body) for _ in range(2)] == [(201, "passed"), (201, "replayed")]
    assert post(envoy, target, b'{"key": "k1"}') == (422, "key-reused")
    seen = envoy.upstream.last(target)
    assert (seen.sha256, seen.header("idempotency-attempt")) == (hashlib.sha256(body).hexdigest(), ["1"])
    assert seen.header("content-length") == [str(len(body))]


def test_a_body_without_the_key_passes_as_it_was_sent(envoy: EnvoyStack) -> None:
    target, body = envoy.path(Answer(201, TYPED, [b"receipt"]), "json"), b'{"pad": "' + b"x" * 150_000 + b'"}'

    assert [post(envoy, target, body) for _ in range(2)] == [(201, "passed")] * 2
    seen = envoy.upstream.last(target)
    assert (seen.sha256, seen.header("idempotency-attempt")) == (hashlib.sha256(body).hexdigest(), [])
    assert envoy.upstream.times(target) == 2


@pytest.mark.parametrize("prefix", ["derived", "detached-derived"])
def test_equal_requests_without_any_key_are_one(envoy: EnvoyStack, prefix: str) -> None:
    target = envoy.path(Answer(201, TYPED), prefix)

    assert [post(envoy, target, b"{}") for _ in range(2)] == [(201, "passed"), (201, "replayed")]
    assert [post(envoy, target, b"") for _ in range(2)] == [(201, "passed"), (201, "replayed")]
    assert envoy.upstream.times(target) == 2
