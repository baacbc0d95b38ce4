"""What the tests of gRPC calls share: a real client and a real server, with the stack between."""

import contextlib
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.stack.grpc_client import Ended, GrpcClient, grpc_client
from tests.stack.grpc_upstream import Answer, GrpcUpstream, running_grpc_upstream
from tests.stack.up import Up, running_up
from tests.stack.valkey import Server

CONFIG = """
store: {timeout: 5s} # nothing here is about it, and the machine may be busy
policies:
  - name: required
    match: {paths: ["/unary/required-*"]}
    key: {required: true}
    docs_url: https://docs.example/idempotency
  - name: chosen
    match: {paths: ["/unary/chosen-*"]}
    outcomes: {"grpc:UNAVAILABLE": record, "grpc:NOT_FOUND": release, "grpc:OK": unknown}
  - name: retrying
    match: {paths: ["/*/retrying-*"]}
    unknown: retry
  - name: small
    match: {paths: ["/unary/small-*"]}
    max_response_body: 64
  - name: waiting
    match: {paths: ["/unary/waiting-*"]}
    in_progress: {action: wait, wait: 8s}
  - name: detached
    match: {paths: ["/unary/detached-*"]}
    execution: detached
  - name: default
"""


@dataclass
class Calls:
    """The upstream, the stack in front of it, and a client."""

    upstream: GrpcUpstream
    up: Up
    client: GrpcClient
    answers: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """The upstream answers each path as its test wants."""
        self.upstream.script = lambda path: self.answers[path]

    def path(self, kind: str, answer: Answer, prefix: str = "call") -> str:
        """A path of its own that the upstream answers like this."""
        path = f"/{kind}/{prefix}-{uuid.uuid4().hex}"
        self.answers[path] = answer
        return path

    def unary(self, answer: Answer, key: str, times: int, prefix: str = "call") -> tuple[str, list[Ended]]:
        """The path of a call, and how it ended each time it was made."""
        path = self.path("unary", answer, prefix)
        return path, [self.client.unary(path, key) for _ in range(times)]

    @contextlib.contextmanager
    def under_way(self, path: str, key: str) -> Iterator["Future[Ended]"]:
        """A unary call that the upstream has begun to execute; it ends with the context, at the latest."""
        answer = self.answers[path]
        answer.wait = threading.Event()
        with grpc_client(self.up.url) as client, ThreadPoolExecutor(1) as pool:
            call = pool.submit(client.unary, path, key)
            try:
                assert answer.started.wait(10)
                yield call
            finally:
                answer.wait.set()

    def let_go(self, path: str) -> None:
        """Let the upstream go on with a call under way."""
        go_on = self.answers[path].wait
        assert go_on is not None
        go_on.set()


@contextlib.contextmanager
def running_calls(valkey: Server, directory: Path) -> Iterator[Calls]:
    """The stack in front of a gRPC server while the context lasts."""
    with running_grpc_upstream() as upstream:
        origin = f"h2c://127.0.0.1:{upstream.port}"
        with (
            running_up(origin, directory, "--store", valkey.url, config=CONFIG) as up,
            grpc_client(up.url) as client,
        ):
            yield Calls(upstream, up, client)
