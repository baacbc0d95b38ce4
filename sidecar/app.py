"""The composition root: one worker, put together, run, drained."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator

import structlog

from sidecar.admin.server import AdminServer
from sidecar.config.loading import Settings
from sidecar.extproc.server import ExchangeServer
from sidecar.extproc.transport.grpcio import GrpcioTransport
from sidecar.store.opening import open_store
from sidecar.store.performing import StorePerformer
from sidecar.store.port import Store, StoreError
from sidecar.telemetry import logging
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.observer import Telemetry

DRAIN_S = 30.0
"""How long exchanges under way may take to end after SIGTERM, in seconds."""
_PROBE_EVERY_S = 1.0


class StartError(Exception):
    """The worker cannot start; the message is the one line an operator needs."""


async def run_worker(settings: Settings, index: int = 0) -> None:
    """Serve ext_proc until SIGTERM or SIGINT, then drain and return.

    Args:
        settings: The whole configuration.
        index: Which of `server.workers` this is; each has an endpoint and an admin port of its own.

    Raises:
        StartError: An address cannot be had, or the store's URL means nothing.
    """
    logging.configure()
    async with Worker(settings, index).running() as worker:
        await _signalled()
        await worker.drain()


class Worker:
    """One worker process's parts."""

    def __init__(self, settings: Settings, index: int) -> None:
        self._log = structlog.get_logger("sidecar").bind(worker=index)
        self._telemetry = Telemetry(Metrics())
        try:
            self._store: Store = open_store(
                settings.store.url.get_secret_value(),
                prefix=settings.store.prefix,
                timeout_ms=settings.store.timeout_ms,
            )
        except ValueError as error:
            raise StartError(str(error)) from error
        performer = StorePerformer(self._store, self._telemetry.stored, time.perf_counter)
        exchanges = ExchangeServer(lambda: settings.policies, performer.perform, self._telemetry)
        workers = settings.server.workers
        self._endpoint = settings.server.listen.for_worker(index, workers)
        self._transport = GrpcioTransport(self._endpoint.address, exchanges.accept)
        admin = settings.server.admin.for_worker(index, workers)
        self._admin = AdminServer(
            admin.host, admin.port, unready=lambda: self._unready, metrics=self._telemetry.metrics.render
        )
        self._admin_address = f"{admin.host}:{admin.port}"
        self._unready: str | None = "the store has not answered yet"
        self._draining = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        """Start everything, keep readiness true to the store, and let go of everything at the end."""
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._store.close)
            try:
                await self._admin.start()
                stack.push_async_callback(self._admin.stop)
                await self._transport.start()
                stack.push_async_callback(self._transport.stop, 0)
            except OSError as error:
                raise StartError(str(error)) from error
            probing = asyncio.create_task(self._probe_store())
            stack.callback(probing.cancel)
            self._log.info("serving", ext_proc=self._endpoint.address, admin=self._admin_address)
            yield self

    async def drain(self) -> None:
        """Become unready, let the exchanges under way end within `DRAIN_S`, and stop."""
        self._log.info("draining", in_flight=self._telemetry.open_exchanges)
        await self._become("draining")
        self._draining = True
        await self._transport.stop(DRAIN_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._telemetry.idle()
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


async def _signalled() -> None:
    """Return at the first SIGTERM or SIGINT."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await stop.wait()
