"""One Envoy and one transport: `up` with two workers before a scripted upstream, and how it looks inside."""

import contextlib
import functools
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.envoys.results import Pairing
from tests.stack.children import descendants
from tests.stack.up import Up, running_up
from tests.stack.upstream import Answer, Upstream, running_upstream

TYPED = [("content-type", "text/plain")]
"""Header fields with which a replay takes its plain form, one ImmediateResponse."""

WORKERS = 2
PARALLEL = 16
WITHIN_S = 15.0
"""How long anything may take to come true."""

_CONFIG = """
server: {{transport: {transport}}}
store: {{timeout: 5s}}
policies:
  - name: waiting
    match: {{methods: [POST], paths: ["/waiting/**"]}}
    in_progress: {{action: wait, wait: 10s}}
  - name: detached
    match: {{methods: [POST], paths: ["/detached/**"]}}
    execution: detached
  - name: large
    match: {{methods: [POST], paths: ["/large/**"]}}
    max_response_body: 4MiB
  - name: meaning
    match: {{methods: [POST], paths: ["/meaning/**"]}}
    fingerprint: {{body: json}}
  - name: shadow
    match: {{methods: [POST], paths: ["/shadow/**"]}}
    mode: shadow
{more}  - name: default
    match: {{methods: [POST]}}
"""
"""The store may take its time: these tests are not about that, and the machine may be busy."""


@dataclass(frozen=True)
class Execution:
    """A request that the upstream has, and does not answer yet; or that ended before it got there."""

    target: str
    go_on: threading.Event
    call: "Future[httpx.Response]"

    def finish(self) -> httpx.Response:
        """Let the upstream answer; the response."""
        self.go_on.set()
        return self.call.result()


@dataclass(frozen=True)
class WorkerByEnvoy:
    """A worker as Envoy sees it: the exchanges it has there, and whether its health checks pass."""

    active: int
    healthy: bool


@dataclass
class EnvoyStack:
    """What runs, and what is asked of it. Requests are HTTP/1.1 at both ends."""

    program: Path
    pairing: Pairing
    up: Up
    upstream: Upstream
    client: httpx.Client
    _answers: dict[str, Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.upstream.script = lambda target: self._answers.get(target, Answer())

    def path(self, answer: Answer, prefix: str = "orders") -> str:
        """A target of its own that the upstream answers like this."""
        target = f"/{prefix}/{uuid.uuid4().hex}"
        self._answers[target] = answer
        return target

    def post(self, target: str, key: str, body: bytes = b"") -> httpx.Response:
        """A request with a key, on a kept connection."""
        return self.client.post(target, content=body, headers={"idempotency-key": key})

    def post_json(self, target: str, key: str, body: bytes) -> httpx.Response:
        """The same with a body of JSON."""
        headers = {"idempotency-key": key, "content-type": "application/json"}
        return self.client.post(target, content=body, headers=headers)

    def posted_at_once(self, calls: Sequence[tuple[str, str]]) -> list[httpx.Response]:
        """The responses to (target, key), `PARALLEL` at a time on as many kept connections."""
        with ThreadPoolExecutor(PARALLEL) as pool:
            return list(pool.map(lambda call: self.post(*call), calls))

    @contextlib.contextmanager
    def executing(self, key: str, body: bytes = b"", *, prefix: str = "orders") -> Iterator[Execution]:
        """Have a request executed by the upstream, which holds its answer back until `Execution.finish`."""
        go_on = threading.Event()
        target = self.path(Answer(201, TYPED, [b"receipt"], wait=go_on), prefix)
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(self.post, target, key, body)
            try:
                eventually(lambda: call.done() or self.upstream.times(target) > 0, "the upstream is asked")
                yield Execution(target, go_on, call)
            finally:
                go_on.set()

    @contextlib.contextmanager
    def sent_raw(self, target: str, key: str, *fields: str) -> Iterator[socket.socket]:
        """The connection of a request without a body, written by hand; closed at the end of the context."""
        url = httpx.URL(self.up.url)
        lines = [
            f"POST {target} HTTP/1.1",
            f"host: {url.netloc.decode()}",
            f"idempotency-key: {key}",
            *fields,
        ]
        with socket.create_connection((url.host, url.port or 80), timeout=WITHIN_S) as connection:
            connection.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
            yield connection

    def exchanged_raw(self, target: str, key: str, *fields: str) -> bytes:
        """The whole response to such a request, byte for byte."""
        with self.sent_raw(target, key, "content-length: 0", "connection: close", *fields) as connection:
            return b"".join(iter(lambda: connection.recv(65536), b""))

    # --- the processes

    def envoy_pid(self) -> int:
        """Envoy's, at this moment; 0 while there is none."""
        return self._pids()[0]

    def worker_pid(self, number: int) -> int:
        """That of a worker; 0 while there is none."""
        return self._pids()[1 + number]

    def is_whole(self, *, without: int) -> bool:
        """Whether Envoy and every worker run and take requests, this process none of them."""
        if {0, without} & set(self._pids()):
            return False
        with contextlib.suppress(httpx.TransportError):
            probes = [
                self.admin("/ready"),
                *(httpx.get(f"{admin}/readyz") for admin in self._worker_admins()),
            ]
            return all(probe.is_success for probe in probes)
        return False

    def _pids(self) -> list[int]:
        """Envoy's and those of the workers, by their command lines; 0 for what does not run."""
        lines = {pid: _arguments(pid) for pid in descendants(self.up.process.pid)}
        wanted = [{"--config-path"}, *({"serve", "--worker", str(number)} for number in range(WORKERS))]
        return [next((pid for pid, line in lines.items() if words <= set(line)), 0) for words in wanted]

    def _worker_admins(self) -> list[str]:
        first = httpx.URL(self.up.admin)
        return [str(first.copy_with(port=(first.port or 80) + number)) for number in range(WORKERS)]

    # --- Envoy's own view

    def admin(self, path: str) -> httpx.Response:
        """Envoy's admin interface."""
        transport = httpx.HTTPTransport(uds=str(self._admin_socket))
        with httpx.Client(transport=transport, base_url="http://envoy") as client:
            return client.get(path)

    @functools.cached_property
    def _admin_socket(self) -> Path:
        """In the directory of this `up`, which an Envoy that is restarted shares with the one before."""
        arguments = _arguments(self.envoy_pid())
        return Path(arguments[arguments.index("--config-path") + 1]).with_name("envoy_admin.sock")

    def stat(self, name: str) -> int:
        """One of Envoy's counters or gauges, all threads together; 0 where it is not there."""
        stats = self.admin(f"/stats?format=json&filter=^{re.escape(name)}$").json()["stats"]
        return int(stats[0]["value"]) if stats else 0

    def sidecar_stat(self, name: str) -> int:
        """One of those of the sidecar's cluster."""
        return self.stat(f"cluster.idempotency_sidecar.{name}")

    def active_exchanges(self) -> int:
        """How many exchanges Envoy has with the sidecar at this moment."""
        return sum(worker.active for worker in self.workers_by_envoy())

    def workers_by_envoy(self) -> list[WorkerByEnvoy]:
        """What Envoy knows of each worker, by the workers' numbers."""
        clusters = self.admin("/clusters?format=json").json()["cluster_statuses"]
        hosts = next(each["host_statuses"] for each in clusters if each["name"] == "idempotency_sidecar")
        by_number = sorted(hosts, key=lambda host: str(host["address"]["pipe"]["path"]))
        return [_worker_by_envoy(host) for host in by_number]


def _worker_by_envoy(host: dict[str, Any]) -> WorkerByEnvoy:
    active = [int(stat.get("value", 0)) for stat in host["stats"] if stat["name"] == "rq_active"]
    return WorkerByEnvoy(sum(active), not host["health_status"].get("failed_active_health_check", False))


def kind(response: httpx.Response) -> tuple[int, str]:
    """The status, and what it stands for: replayed, the problem's type, or passed, whoever answered."""
    if response.headers.get("content-type") == "application/problem+json":
        return response.status_code, response.json()["type"].removeprefix("urn:idempotency:")
    replayed = response.headers.get("idempotent-replayed") == "true"
    return response.status_code, "replayed" if replayed else "passed"


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait until it holds; Envoy and the supervisor offer nothing to wait for.

    Raises:
        AssertionError: It does not come to hold within `WITHIN_S`.
    """
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def running_envoy_stack(
    program: Path, pairing: Pairing, store: str, directory: Path, *, more: str = ""
) -> Iterator[EnvoyStack]:
    """Run it while the context lasts; `more` is the text of policies beside the usual ones."""
    options = ("--store", store, "--workers", str(WORKERS), "--envoy", str(program))
    config = _CONFIG.format(transport=pairing.transport, more=more)
    with (
        running_upstream() as upstream,
        running_up(f"http://127.0.0.1:{upstream.port}", directory, *options, config=config) as up,
        httpx.Client(base_url=up.url, timeout=20) as client,
    ):
        yield EnvoyStack(program, pairing, up, upstream, client)


def _arguments(pid: int) -> list[str]:
    """The command line of a process; empty where it has ended."""
    try:
        return [os.fsdecode(part) for part in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    except (FileNotFoundError, ProcessLookupError):
        return []
