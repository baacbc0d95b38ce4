"""The composition root: one worker, put together, run, drained."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import structlog
import uvloop

from sidecar import memory
from sidecar.admin.server import AdminServer
from sidecar.config.loading import KEEPING_S, Settings
from sidecar.exchange.effects import AwaitOwner, Execute
from sidecar.exchange.events import OriginEvent, StoreEvent
from sidecar.extproc.server import ExchangeServer
from sidecar.extproc.transport.opening import open_transport
from sidecar.origin.client import OriginClient
from sidecar.origin.performing import OriginPerformer
from sidecar.reloading import Following, PoliciesInForce, Reloading
from sidecar.store.breaker import Breaker
from sidecar.store.opening import open_store
from sidecar.store.performing import StorePerformer
from sidecar.store.port import Store, StoreError
from sidecar.store.repeating import RepeatedWrites
from sidecar.telemetry import logging
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.observer import Telemetry

_PROBE_EVERY_S = 1.0


class StartError(Exception):
    """The worker cannot start; the message is the one line an operator needs."""


def serve_worker(settings: Settings, index: int = 0, following: Following | None = None) -> None:
    """Run one worker in this process until SIGTERM or SIGINT, on uvloop; see `run_worker`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_worker(settings, index, following))


async def run_worker(settings: Settings, index: int = 0, following: Following | None = None) -> None:
    """Serve ext_proc until SIGTERM or SIGINT, then drain and return.

    Args:
        settings: The whole configuration.
        index: Which of `server.workers` this is; each has an endpoint and an admin port of its own.
        following: The file that the policies follow, at SIGHUP at once; None: they stay as they are.

    Raises:
        StartError: An address cannot be had, or the store's URL means nothing.
    """
    logging.configure()
    async with Worker(settings, index, following).running() as worker:
        await _signalled()
        await worker.drain()


class Worker:
    """One worker process's parts."""

    def __init__(self, settings: Settings, index: int, following: Following | None = None) -> None:
        self._log = structlog.get_logger("sidecar").bind(worker=index)
        self._telemetry = Telemetry(Metrics())
        try:
            store = open_store(
                settings.store.url.get_secret_value(),
                prefix=settings.store.prefix,
                timeout_ms=settings.store.timeout_ms,
            )
        except ValueError as error:
            raise StartError(str(error)) from error
        telemetry = self._telemetry
        self._store: Store = Breaker(store, time.monotonic, on_change=telemetry.circuit)
        self._repeats = RepeatedWrites(self._store, telemetry.stored, telemetry.repeated, time.perf_counter)
        self._origin = _origin(settings)
        self._in_force = in_force = PoliciesInForce(settings)
        self._reloading = (
            None if following is None else Reloading(following, in_force, telemetry.reloaded, self._log)
        )
        exchanges = ExchangeServer(lambda: in_force.policies, self._performer(), self._telemetry)
        workers = settings.server.workers
        self._endpoint = settings.server.listen.for_worker(index, workers)
        try:
            self._transport = open_transport(settings.server, index, exchanges.accept)
        except OSError as error:
            raise StartError(f"server.tls: {error}") from error
        admins = settings.server.admins
        admin = admins[index]
        siblings = {other: at for other, at in enumerate(admins) if other != index}
        self._admin = AdminServer(
            admin.host,
            admin.port,
            unready=lambda: self._unready,
            metrics=self._telemetry.metrics.render,
            worker=index,
            siblings=siblings,
        )
        self._admin_address = f"{admin.host}:{admin.port}"
        self._unready: str | None = "the store has not answered yet"
        self._draining = False

    def _performer(self) -> "_Performer":
        return _Performer(
            StorePerformer(self._store, self._telemetry.stored, time.perf_counter, self._repeats),
            OriginPerformer(self._origin, self._telemetry.called, time.perf_counter),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        """Start everything, keep readiness true to the store, and let go of everything at the end."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._store.close)
            stack.push_async_callback(self._repeats.drain, 0)
            if self._origin is not None:
                stack.push_async_callback(self._origin.close)
            try:
                await self._admin.start()
                stack.push_async_callback(self._admin.stop)
                await self._transport.start()
                stack.push_async_callback(self._transport.stop, 0)
            except OSError as error:
                raise StartError(str(error)) from error
            probing = asyncio.create_task(self._probe_store())
            stack.callback(probing.cancel)
            if self._reloading is not None:
                self._follow(self._reloading, stack)
            memory.settle()
            self._log.info("serving", ext_proc=self._endpoint.address, admin=self._admin_address)
            yield self

    @staticmethod
    def _follow(reloading: Reloading, stack: contextlib.AsyncExitStack) -> None:
        """Reload when the file changes, and at SIGHUP, until everything is let go of."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, reloading.ask)
        stack.callback(loop.remove_signal_handler, signal.SIGHUP)
        stack.callback(asyncio.create_task(reloading.follow()).cancel)

    async def drain(self) -> None:
        """Become unready, let the exchanges under way end and their outcomes be kept, and stop."""
        clock = asyncio.get_running_loop().time
        drain_s = self._in_force.drain_s
        deadline = clock() + drain_s
        self._log.info("draining", in_flight=self._telemetry.open_exchanges, within_s=drain_s)
        await self._become("draining")
        self._draining = True
        await self._transport.stop(drain_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._telemetry.idle()
        # A store that is still away is not waited for: what it misses is unknown, never executed twice.
        await self._repeats.drain(min(KEEPING_S, max(0.0, deadline - clock())))
        self._log.info("stopped", in_flight=self._telemetry.open_exchanges)

    async def _probe_store(self) -> None:
        while not self._draining:
            try:
                await self._store.ping()
            except StoreError as error:
                await self._become(f"the store does not answer: {error}")
            else:
                await self._become(None)
            await asyncio.sleep(_PROBE_EVERY_S)

    async def _become(self, unready: str | None) -> None:
        if self._draining or unready == self._unready:
            return
        self._unready = unready
        if unready is None:
            self._log.info("ready")
        else:
            self._log.warning("not ready", reason=unready)
        await self._transport.set_serving(unready is None)


class _Performer:
    """What performs the effects of exchanges: the store, and the origin where calls are detached."""

    def __init__(self, storing: StorePerformer, calling: OriginPerformer) -> None:
        self._storing = storing
        self._calling = calling
        self.begin = storing.begin

    def perform(self, effect: AwaitOwner | Execute) -> Coroutine[Any, Any, StoreEvent | OriginEvent]:
        """See `extproc.driver.Performer`."""
        return self._calling.perform(effect) if isinstance(effect, Execute) else self._storing.perform(effect)


def _origin(settings: Settings) -> OriginClient | None:
    """The client of detached calls; None where no origin is configured, and so no policy is detached."""
    origin = settings.origin
    return OriginClient(origin.url, max_concurrent=origin.max_concurrent) if origin.url else None


async def _signalled() -> None:
    """Return at the first SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await stop.wait()
