"""Unary gRPC calls on each Envoy over each transport. A test's name is its row in docs/compatibility.md."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
import pytest

from tests.envoys.limits import STREAMS_A_REPLAY
from tests.envoys.stack import EnvoyStack
from tests.stack.grpc_client import GrpcClient, grpc_client
from tests.stack.grpc_upstream import Answer, GrpcUpstream, running_grpc_upstream
from tests.stack.up import running_up
from tests.stack.valkey import Server

RECEIPT = Answer(b"\x00receipt \xff", trailing=(("x-cost", "3, of 5"), ("x-proof-bin", b"\xff,;=\x00")))


@dataclass(frozen=True)
class Calls:
    """A gRPC server, a client, and between them the Envoy and the transport of a stack."""

    upstream: GrpcUpstream
    client: GrpcClient

    def path(self) -> str:
        """A method of its own."""
        return f"/unary/{uuid.uuid4().hex}"


@pytest.fixture(scope="session")
def calls(stack: EnvoyStack, valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Calls]:
    config = f"server: {{transport: {stack.pairing.transport}}}\nstore: {{timeout: 5s}}\n"
    options = ("--store", valkey.url, "--envoy", str(stack.program))
    directory = tmp_path_factory.mktemp("grpc")
    with running_grpc_upstream() as upstream:
        upstream.script = lambda _path: RECEIPT
        origin = f"h2c://127.0.0.1:{upstream.port}"
        with (
            running_up(origin, directory, *options, config=config) as up,
            grpc_client(up.url) as client,
        ):
            yield Calls(upstream, client)


def test_a_grpc_call_with_a_new_key_is_executed_once_as_attempt_1(calls: Calls, key: str) -> None:
    path = calls.path()

    first = calls.client.unary(path, key)

    assert (first.code, first.messages, first.replayed) == (grpc.StatusCode.OK, (RECEIPT.message,), False)
    assert first.bare().trailing == RECEIPT.trailing
    assert calls.upstream.last(path).metadata["idempotency-attempt"] == "1"


@STREAMS_A_REPLAY
def test_a_grpc_call_is_replayed_with_its_trailers(calls: Calls, key: str) -> None:
    path = calls.path()
    first = calls.client.unary(path, key)

    retry = calls.client.unary(path, key)

    assert retry.replayed
    assert retry.bare() == first.bare()


def test_a_grpc_call_is_executed_once_whatever_its_retry_gets(calls: Calls, key: str) -> None:
    path = calls.path()

    retries = [calls.client.unary(path, key) for _ in range(3)][1:]

    assert {retry.replayed or retry.problem == "response-not-stored" for retry in retries} == {True}
    assert calls.upstream.times(path) == 1


def test_a_grpc_call_with_another_message_is_refused(calls: Calls, key: str) -> None:
    path = calls.path()
    calls.client.unary(path, key, b"seven")

    refused = calls.client.unary(path, key, b"eight")

    assert (refused.code, refused.problem) == (grpc.StatusCode.FAILED_PRECONDITION, "key-reused")
    assert calls.upstream.times(path) == 1
