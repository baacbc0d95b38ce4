"""The parts of the end-to-end tests: a scripted upstream, a real Valkey, a real Envoy with the sidecar."""

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from tests.e2e.policy_scene import Scene, running_scene
from tests.stack.up import Up, running_up
from tests.stack.upstream import Answer, Upstream, running_upstream
from tests.stack.valkey import Server, start_valkey

POLICIES = """
policies:
  - name: required
    match: {methods: [POST], paths: ["/required/**"]}
    key: {required: true, format: strict}
  - name: cookies
    match: {methods: [POST], paths: ["/cookies/**"]}
    exclude_response_headers: []
  - name: throttled
    match: {methods: [POST], paths: ["/throttled/**"]}
    in_progress: {status: 429, retry_after: 7s}
    outcomes: {"5xx": release, "404": release}
  - name: small
    match: {methods: [POST, HEAD, DELETE], paths: ["/small/**"]}
    max_response_body: 64KiB
  - name: brief
    match: {methods: [POST], paths: ["/brief/**"]}
    lease: 2s
  - name: waiting
    match: {methods: [POST], paths: ["/waiting/**"]}
    in_progress: {action: wait, wait: 3s}
  - name: retrying
    match: {methods: [POST], paths: ["/retrying/**"]}
    unknown: retry
  - name: detached
    match: {methods: [POST], paths: ["/detached/**"]}
    execution: detached
    max_request_body: 2MiB
    exclude_response_headers: []
  - name: hasty
    match: {methods: [POST], paths: ["/hasty/**"]}
    execution: detached
    deadline: 1s
  - name: buried
    match: {methods: [POST], paths: ["/buried/**"]}
    lease: 1s
    ttl: 2s
    tombstone: 1h
  - name: unprotected
    match: {methods: [POST], paths: ["/unprotected/**"]}
    on_unavailable: bypass
  - name: default
    match: {methods: [POST, PATCH]}
"""
CONFIG = f"store: {{timeout: 5s}}\n{POLICIES}"
"""For all that is not about the store's time-out: the machine may be busy."""


@dataclass
class Job:
    """One pairing of protocols: the upstream, the stack in front of it, and a client."""

    upstream: Upstream
    up: Up
    client: httpx.Client
    http2: bool

    def __post_init__(self) -> None:
        """The upstream answers each target as its test wants."""
        self._answers: dict[str, Callable[[], Answer]] = {}
        self.upstream.script = lambda target: self._answers.get(target.partition("?")[0], Answer)()

    def path(self, prefix: str, answer: Answer) -> str:
        """A target of its own under `prefix` that the upstream answers like this."""
        target = f"/{prefix}/{uuid.uuid4().hex}"
        self._answers[target] = lambda: answer
        return target

    @contextlib.contextmanager
    def holding_one(self, target: str) -> Iterator[None]:
        """The upstream answers the next request for a target after the context, and all others as ever."""
        usual, executed, go_on = self._answers[target], self.upstream.times(target), threading.Event()
        held = replace(usual(), wait=go_on)
        self._answers[target] = lambda: held if self.upstream.times(target) == executed else usual()
        try:
            yield
        finally:
            go_on.set()

    def post(self, target: str, key: str, content: bytes = b"x", *, timeout: float = 20) -> httpx.Response:
        """A keyed request."""
        return self.client.post(target, content=content, headers={"idempotency-key": key}, timeout=timeout)

    def raw_request(
        self, target: str, key: str, *, body: bytes, announced: int | None = None
    ) -> socket.socket:
        """A request sent by hand over HTTP/1.1, so that its connection can be closed at any moment."""
        url = httpx.URL(self.up.url)
        connection = socket.create_connection((url.host, url.port or 80))
        head = (
            f"POST {target} HTTP/1.1\r\nhost: {url.netloc.decode()}\r\nidempotency-key: {key}\r\n"
            f"content-length: {announced or len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        return connection

    def another_client(self) -> httpx.Client:
        """A client with connections of its own."""
        return new_client(self.up, http2=self.http2)

    @staticmethod
    @contextlib.contextmanager
    def in_background(call: Callable[[], httpx.Response]) -> Iterator["Future[httpx.Response]"]:
        """Make a call while the context goes on; it ends with the context."""
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(call)


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait until it holds; fail if it does not come to."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)


def new_client(up: Up, *, http2: bool) -> httpx.Client:
    return httpx.Client(base_url=up.url, http1=not http2, http2=http2, timeout=20)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with start_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session", params=["HTTP/1.1", "HTTP/2"])
def job(
    request: pytest.FixtureRequest, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Job]:
    """The main job over HTTP/1.1 end to end, and over HTTP/2 end to end."""
    http2 = request.param == "HTTP/2"
    directory = Path(tmp_path_factory.mktemp("up"))
    with running_upstream() as upstream:
        origin = f"{'h2c' if http2 else 'http'}://127.0.0.1:{upstream.port}"
        with (
            running_up(origin, directory, "--store", valkey.url, config=CONFIG) as up,
            new_client(up, http2=http2) as client,
        ):
            yield Job(upstream, up, client, http2)


@pytest.fixture(scope="session")
def scene(valkey: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Every kind of policy behind one Envoy."""
    with running_scene(valkey.url, tmp_path_factory.mktemp("certificates")) as scene:
        yield scene


@pytest.fixture
def key() -> str:
    """A key that no other test uses."""
    return f'"{uuid.uuid4()}"'
