"""Large records through a real Envoy and a real Valkey: the same bytes, little memory, nobody held up."""

import contextlib
import hashlib
import random
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias

import httpx
import pytest
import redis

from sidecar.idempotency.body import PIECE_BYTES
from tests.stack.up import Up, running_up
from tests.stack.valkey import Server

TWENTY_MB = random.Random(20).randbytes(20_000_000)
CHUNK = 65_536
MOST_GROWTH = 2.5
"""How many times the size of a response the sidecar may grow by."""
NOISY_MACHINE_MS = 50.0
"""What the bounds on times allow beyond what they are about: the machine may be busy with other tests."""
FIRST_BYTE_LIMIT_S = 10.0

CONFIG = """
server: {{transport: {transport}}}
store: {{timeout: 5s}} # nothing here is about it, and the machine may be busy
policies:
  - name: detached
    match: {{methods: [POST], paths: ["/detached/**"]}}
    execution: detached
    max_response_body: 64MiB
  - name: cookies
    match: {{methods: [POST], paths: ["/cookies/**"]}}
    exclude_response_headers: []
    max_response_body: 64MiB
  - name: small
    match: {{methods: [POST], paths: ["/small/**"]}}
    max_response_body: 1MiB
  - name: large
    match: {{methods: [POST]}}
    max_response_body: 64MiB
"""

Fields: TypeAlias = tuple[tuple[str, str], ...]


class LargeUpstream(ThreadingHTTPServer):
    """Answers every request with one large body; a slow answer waits after its first chunk until let go."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.executed: list[str] = []
        self.body = TWENTY_MB
        self.go_on = threading.Event()
        self.last_was_sent = threading.Event()


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LargeUpstream

    def do_POST(self) -> None:
        """Answer."""
        upstream = self.server
        self.rfile.read(int(self.headers.get("content-length", 0)))
        upstream.executed.append(self.path)
        self.send_response(200)
        for name, value in (("content-length", str(len(upstream.body))), *_fields(self.path)):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(upstream.body[:CHUNK])
        if self.path.startswith("/slow"):
            upstream.go_on.wait(FIRST_BYTE_LIMIT_S)
        with contextlib.suppress(ConnectionError):  # a client that leaves is what some tests are about
            for start in range(CHUNK, len(upstream.body), CHUNK):
                self.wfile.write(upstream.body[start : start + CHUNK])
        upstream.last_was_sent.set()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _fields(path: str) -> Fields:
    typed = (("content-type", "application/octet-stream"),)
    return (*typed, ("set-cookie", "a=1"), ("set-cookie", "b=2")) if path.startswith("/cookies") else typed


@dataclass(frozen=True)
class Got:
    """What a client got: times in milliseconds from the sending of the request."""

    status: int
    headers: httpx.Headers
    size: int
    sha256: str
    first_byte_ms: float

    def is_replay(self) -> bool:
        return "idempotent-replayed" in self.headers


@dataclass
class Stage:
    """The stack, an upstream with large answers behind it, and a client."""

    upstream: LargeUpstream
    up: Up
    client: httpx.Client
    valkey: redis.Redis
    transport: str

    def post(
        self,
        path: str,
        key: str | None,
        on_first: Callable[[], None] = lambda: None,
        host: str | None = None,
    ) -> Got:
        """Send a request, with a key or without, and read the response as it comes."""
        digest, size, first_byte_ms = hashlib.sha256(), 0, 0.0
        headers = {} if key is None else {"idempotency-key": key}
        headers |= {} if host is None else {"host": host}
        began = time.perf_counter()
        with self.client.stream("POST", path, content=b"x", headers=headers) as response:
            for chunk in response.iter_raw():
                if not size:
                    first_byte_ms = (time.perf_counter() - began) * 1000
                    on_first()
                digest.update(chunk)
                size += len(chunk)
        return Got(response.status_code, response.headers, size, digest.hexdigest(), first_byte_ms)

    def growth(self, act: Callable[[], object]) -> float:
        """By how many times the body's size the worker's memory grows, at its peak, while this is done."""
        process = Path(f"/proc/{self.up.worker_pids[0]}")
        (process / "clear_refs").write_text("5")  # the peak counts from here
        before = _memory(process, "VmRSS")
        act()
        return (_memory(process, "VmHWM") - before) / len(self.upstream.body)

    def pieces(self) -> list[bytes]:
        """The keys of the pieces in the store."""
        return sorted(self.valkey.scan_iter("*:{*}:*", count=1000))


def _memory(process: Path, name: str) -> int:
    (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def started(
    upstream: LargeUpstream, valkey: Server, store: redis.Redis, transport: str, directory: Path
) -> Iterator[Stage]:
    """A stack of its own, on the store that all share."""
    url, config = f"http://127.0.0.1:{upstream.server_port}", CONFIG.format(transport=transport)
    with (
        running_up(url, directory, "--store", valkey.url, config=config) as up,
        httpx.Client(base_url=up.url, timeout=30) as client,
    ):
        yield Stage(upstream, up, client, store, transport)


@pytest.fixture(scope="module", params=["native", "grpcio"])
def stage(
    request: pytest.FixtureRequest, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    upstream = LargeUpstream()
    thread = threading.Thread(target=upstream.serve_forever, daemon=True)
    thread.start()
    with (
        redis.Redis(port=valkey.port) as store,
        started(upstream, valkey, store, request.param, tmp_path_factory.mktemp("up")) as stage,
    ):
        yield stage
        store.flushdb()
    upstream.shutdown()
    upstream.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def _first_things(stage: Stage) -> None:
    stage.upstream.go_on.clear()
    stage.upstream.last_was_sent.clear()
    stage.upstream.executed.clear()
    stage.valkey.flushdb()


SHA256 = hashlib.sha256(TWENTY_MB).hexdigest()


@pytest.mark.parametrize("path", ["/orders", "/detached/orders"], ids=["inline", "detached"])
def test_twenty_megabytes_are_replayed_byte_for_byte_in_two_and_a_half_times_their_size(
    stage: Stage, key: str, path: str
) -> None:
    got: list[Got] = []

    grown = [stage.growth(lambda: got.append(stage.post(path, key))) for _ in range(3)]

    print(f"\n{path}: peak growth {', '.join(f'{times:.2f}' for times in grown)} times the size")  # noqa: T201 - measured
    assert [answer.is_replay() for answer in got] == [False, True, True]
    assert {(answer.status, answer.size, answer.sha256) for answer in got} == {(200, 20_000_000, SHA256)}
    assert {answer.headers["content-length"] for answer in got} == {"20000000"}
    assert stage.upstream.executed == [path]
    assert max(grown) < MOST_GROWTH
    assert len(stage.pieces()) == -(-len(TWENTY_MB) // PIECE_BYTES)


def test_a_sidecar_that_never_saw_the_response_replays_it_in_two_and_a_half_times_its_size(
    stage: Stage, key: str, valkey: Server, tmp_path: Path
) -> None:
    stage.post("/orders", key)
    got: list[Got] = []

    with started(stage.upstream, valkey, stage.valkey, stage.transport, tmp_path) as other:
        host = stage.client.base_url.netloc.decode()  # what the key belongs to
        grown = other.growth(lambda: got.append(other.post("/orders", key, host=host)))

    print(f"\nreplay: peak growth {grown:.2f} times the size")  # noqa: T201 - measured
    assert got[0].is_replay()
    assert got[0].sha256 == SHA256
    assert grown < MOST_GROWTH


def test_a_reply_that_cannot_be_streamed_is_replayed_byte_for_byte_as_well(stage: Stage, key: str) -> None:
    first, again = (stage.post("/cookies/orders", key) for _ in range(2))

    assert (first.sha256, again.sha256) == (SHA256, SHA256)
    assert again.is_replay()
    assert again.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert len(stage.upstream.executed) == 1


def test_the_first_byte_comes_before_the_last_was_made(stage: Stage, key: str) -> None:
    made_when_first_came: list[bool] = []

    def on_first() -> None:
        made_when_first_came.append(stage.upstream.last_was_sent.is_set())
        stage.upstream.go_on.set()

    got = stage.post("/slow/orders", key, on_first)

    assert made_when_first_came == [False]
    assert got.sha256 == SHA256
    assert stage.post("/slow/orders", key).is_replay()


def test_the_first_byte_of_a_first_execution_is_as_early_as_without_a_sidecar(stage: Stage) -> None:
    stage.upstream.go_on.set()
    plain, keyed = [], []
    for _ in range(9):
        plain.append(stage.post("/orders", None).first_byte_ms)
        keyed.append(stage.post("/orders", f'"{uuid.uuid4()}"').first_byte_ms)

    without, with_sidecar = statistics.median(plain[1:]), statistics.median(keyed[1:])
    print(f"\nfirst byte: {without:.1f} ms without a sidecar, {with_sidecar:.1f} ms with it")  # noqa: T201 - measured
    assert with_sidecar - without < NOISY_MACHINE_MS


def test_no_command_holds_the_store_up(stage: Stage, key: str) -> None:
    for option, value in (("slowlog-log-slower-than", 0), ("slowlog-max-len", 10_000)):
        stage.valkey.config_set(option, value)
    stage.valkey.slowlog_reset()

    assert stage.post("/orders", key).sha256 == stage.post("/orders", key).sha256 == SHA256

    commands = stage.valkey.slowlog_get(10_000)
    longest = max(commands, key=lambda entry: entry["duration"])
    print(f"\nlongest of {len(commands)} commands: {longest['duration']} µs, {longest['command'][:12]!r}")  # noqa: T201 - measured
    stage.valkey.config_set("slowlog-log-slower-than", 10_000)
    assert len(commands) > 2 * len(stage.pieces())
    assert longest["duration"] < NOISY_MACHINE_MS * 1000


def test_a_response_over_the_limit_passes_whole_and_is_not_given_again(stage: Stage, key: str) -> None:
    first = stage.post("/small/orders", key)
    again = stage.client.post("/small/orders", content=b"x", headers={"idempotency-key": key})

    assert (first.status, first.sha256) == (200, SHA256)
    assert again.status_code == 409
    assert again.json()["type"] == "urn:idempotency:response-not-stored"
    assert not stage.pieces()
    assert len(stage.upstream.executed) == 1


@pytest.mark.parametrize("lost", [0, 40, -1], ids=["first", "one in the middle", "last"])
def test_a_record_that_lacks_a_piece_is_refused_and_never_given_in_part(
    stage: Stage, key: str, lost: int
) -> None:
    stage.post("/orders", key)
    stage.valkey.delete(sorted(stage.pieces(), key=_number)[lost])

    again = stage.client.post("/orders", content=b"x", headers={"idempotency-key": key})

    assert again.status_code == 503
    assert again.json()["type"] == "urn:idempotency:store-unavailable"
    assert len(stage.upstream.executed) == 1


def test_a_replay_that_loses_a_piece_on_its_way_ends_as_a_broken_response(stage: Stage, key: str) -> None:
    stage.post("/orders", key)
    stage.valkey.set(max(stage.pieces(), key=_number), b"damaged")  # it is there, and is not looked into yet

    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        stage.post("/orders", key)
    assert len(stage.upstream.executed) == 1


def _number(name: bytes) -> int:
    return int(name.split(b":")[-2])
