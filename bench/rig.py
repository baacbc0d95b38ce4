"""Everything that runs during a benchmark: a Valkey, an upstream, and the subjects as they are asked for."""

import asyncio
import contextlib
import os
import sys
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import envoy
from bench.errors import BenchError, UnavailableError
from bench.noop import PLAIN
from bench.point import Scenario
from bench.subject import Role, Subject
from sidecar.config.endpoint import Endpoint
from sidecar.config.errors import ConfigError
from sidecar.config.loading import Settings, load
from sidecar.supervision.envoy import find_envoy
from sidecar.supervision.ports import Address, resolve
from sidecar.supervision.probes import accepts
from sidecar.supervision.process import Child, ChildSpec, Probe
from sidecar.supervision.stack import ADMIN, LISTEN, ORIGIN_URL, STORE_URL, WORKERS
from sidecar.supervision.supervisor import Supervisor
from sidecar.supervision.valkey import embedded_valkey
from sidecar.supervision.worker import embedded_worker
from sidecar.supervision.workspace import workspace

WAITING = """\
  - name: waiting
    match: {methods: [POST]}
    in_progress: {action: wait, wait: 10s}
"""
DETACHED = """\
  - name: detached
    match: {methods: [POST]}
    execution: detached
"""
POLICIES = {Scenario.WAITING: WAITING, Scenario.DETACHED: DETACHED}
"""What the policies are where a scenario needs other than the default one."""
TRANSPORT = "IDEMPOTENCY__SERVER__TRANSPORT"
STORE_TIMEOUT = "IDEMPOTENCY__STORE__TIMEOUT"
PATIENCE = "5s"
"""The store's time-out: one answer that a busy machine holds up must not cost a round."""
_ROOT = Path(__file__).parent.parent
_SAID = 40
ALONE = "alone"
NOOP = "noop"
CPP_NOOP = "cpp noop"


@dataclass(frozen=True, slots=True)
class Variant:
    """A sidecar as it is configured: its transport, its workers, its policies."""

    transport: str
    workers: int = 1
    policies: str = ""
    """What stands under `policies` in its configuration, as YAML; empty: the policy that `up` has."""

    @property
    def name(self) -> str:
        """How the subject is called; the policies show in the scenario."""
        return self.transport if self.workers == 1 else f"{self.transport} x{self.workers}"


@dataclass
class Rig:
    """What runs, and what starts more. Made by `running`."""

    directory: Path
    supervisor: Supervisor
    said: deque[str]
    """The last lines that the processes printed."""
    store_url: str = ""
    upstream_url: str = ""
    shared: dict[Role, tuple[int, ...]] = field(default_factory=dict)
    _subjects: dict[object, Subject] = field(default_factory=dict)
    _count: int = 0

    async def start(self, spec: ChildSpec) -> int:
        """Start one process more; its pid once it is ready.

        Raises:
            BenchError: It ended as soon as it was ready.
            SupervisionError: It could not be started.
        """
        (child,) = await self.supervisor.start([spec])
        return _pid(child)

    async def alone(self) -> Subject:
        """Envoy and nothing else."""
        if ALONE not in self._subjects:
            listen, bootstrap = self._bootstrap(_settings(self._environ(Variant("grpcio"))), ("unix:/none",))
            self._subjects[ALONE] = await self._behind_envoy(ALONE, envoy.alone(bootstrap), listen)
        return self._subjects[ALONE]

    async def processor(self, name: str, argv: tuple[str, ...]) -> Subject:
        """Envoy with a no-op processor: the program `argv`, which is given the path of its socket."""
        if name not in self._subjects:
            socket = self.directory / f"{name.replace(' ', '-')}.sock"
            spec = ChildSpec(name, (*argv, str(socket)), environ=_own_environment(), probe=_listens(socket))
            running = await self.start(spec)
            settings = _settings(self._environ(Variant("grpcio")))
            listen, bootstrap = self._bootstrap(settings, (f"unix:{socket}",))
            processed = envoy.processed(bootstrap)
            self._subjects[name] = await self._behind_envoy(name, processed, listen, (running,))
        return self._subjects[name]

    async def peer(self, name: str, argv: tuple[str, ...]) -> Subject:
        """A service that does the job itself: the program `argv`, given its port and the store's URL."""
        if name not in self._subjects:
            port = resolve(Address("127.0.0.1", 0), name)
            pid = await self.start(
                ChildSpec(name, (*argv, str(port.port), self.store_url), probe=accepts(port))
            )
            processes = {Role.APP: (pid,), Role.STORE: self.shared[Role.STORE]}
            self._subjects[name] = Subject(name, f"http://{port}", processes, f"http://{port}")
        return self._subjects[name]

    async def noop(self, kind: str = PLAIN) -> Subject:
        """Envoy with the no-op processor on grpc.aio: the reference, or the one tuned to cost the least."""
        name = NOOP if kind == PLAIN else f"{NOOP} {kind}"
        return await self.processor(name, (sys.executable, "-m", "bench.noop", kind))

    async def sidecar(self, variant: Variant) -> Subject:
        """Envoy with the sidecar.

        Raises:
            UnavailableError: This build has no such transport.
        """
        if variant not in self._subjects:
            self._subjects[variant] = await self._start_sidecar(variant)
        return self._subjects[variant]

    async def _start_sidecar(self, variant: Variant) -> Subject:
        self._count += 1
        name = f"sidecar{self._count}"
        endpoint = Endpoint(path=str(self.directory / f"{name}.sock"))
        admin = resolve(Address("127.0.0.1", 0), "--admin", count=variant.workers)
        environ = self._environ(variant) | {LISTEN: str(endpoint), ADMIN: str(admin)}
        environ[ORIGIN_URL] = f"unix://{self.directory / f'{name}-origin.sock'}"
        config = self._config(name, variant)
        settings = _settings(environ, config)
        workers = range(variant.workers)
        admins = [Address(admin.host, admin.port + index) for index in workers]
        children = await self.supervisor.start(
            [embedded_worker(config, environ, settings, admins[index], index) for index in workers]
        )
        endpoints = tuple(endpoint.for_worker(index, variant.workers).address for index in workers)
        listen, bootstrap = self._bootstrap(settings, endpoints)
        pids = tuple(map(_pid, children))
        return await self._behind_envoy(variant.name, bootstrap, listen, pids)

    def _config(self, name: str, variant: Variant) -> Path | None:
        if not variant.policies:
            return None
        file = self.directory / f"{name}.yaml"
        file.write_text(f"policies:\n{variant.policies}", encoding="utf-8")
        return file

    def _environ(self, variant: Variant) -> dict[str, str]:
        """The environment of a sidecar, whatever this one says about sidecars that run in earnest."""
        neutral = {name: value for name, value in os.environ.items() if not name.startswith("IDEMPOTENCY__")}
        neutral |= {STORE_URL: self.store_url, STORE_TIMEOUT: PATIENCE}
        return neutral | {WORKERS: str(variant.workers), TRANSPORT: variant.transport}

    def _bootstrap(self, settings: Settings, endpoints: tuple[str, ...]) -> tuple[Address, envoy.Bootstrap]:
        listen = resolve(Address("127.0.0.1", 0), "--listen")
        return listen, envoy.guarded(settings, endpoints, listen, self.upstream_url)

    async def _behind_envoy(
        self, name: str, bootstrap: envoy.Bootstrap, listen: Address, processors: tuple[int, ...] = ()
    ) -> Subject:
        """Start Envoy; the subject that it makes with its processors."""
        self._count += 1
        file = self.directory / f"envoy-{self._count}.yaml"
        pid = await self.start(envoy.spec(find_envoy(None), bootstrap, file, listen))
        roles = {Role.ENVOY: (pid,), Role.PROCESSOR: processors, **self.shared}
        processes = {role: pids for role, pids in roles.items() if pids}
        return Subject(name, f"http://{listen}", processes, self.upstream_url, envoy.admin_of(file))


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Rig]:
    """A rig with its Valkey and its upstream; afterwards nothing of it is left.

    Raises:
        SupervisionError: Something cannot be started.
    """
    said: deque[str] = deque(maxlen=_SAID)
    supervisor = Supervisor(lambda name, line: said.append(f"{name}: {line}"), own_name="bench")
    async with workspace() as directory:
        try:
            yield await _basis(Rig(directory, supervisor, said))
        finally:
            await supervisor.stop()


async def _basis(rig: Rig) -> Rig:
    valkey = embedded_valkey(rig.directory)
    rig.store_url = valkey.url
    port = resolve(Address("127.0.0.1", 0), "upstream")
    serve = (sys.executable, "-m", "bench.upstream", str(port.port))
    upstream = await rig.start(ChildSpec("upstream", serve, environ=_own_environment(), probe=accepts(port)))
    rig.upstream_url = f"http://{port}"
    rig.shared = {Role.STORE: (await rig.start(valkey.spec),), Role.UPSTREAM: (upstream,)}
    return rig


def _own_environment() -> dict[str, str]:
    """This package is not installed: where a program of it is run, it is told where to find it."""
    return {**os.environ, "PYTHONPATH": str(_ROOT)}


def _settings(environ: dict[str, str], config: Path | None = None) -> Settings:
    try:
        return load(config, environ)
    except ConfigError as error:
        if any(problem.file == TRANSPORT for problem in error.problems):
            raise UnavailableError(f"this build has no transport {environ[TRANSPORT]}") from None
        raise


def _pid(child: Child) -> int:
    if child.pid is None:
        raise BenchError(f"{child.spec.name} ended as soon as it was ready")
    return child.pid


def _listens(socket: Path) -> Probe:
    async def probe() -> str | None:
        try:
            _, writer = await asyncio.open_unix_connection(socket)
        except OSError:
            return f"{socket} does not accept connections"
        writer.transport.abort()
        return None

    return probe
