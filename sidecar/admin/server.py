"""`GET /healthz`, `/readyz`, `/metrics` of one worker; with `/all` behind it, of every worker."""

import asyncio
import os
from collections.abc import Callable, Mapping
from types import MappingProxyType

from aiohttp import web

from sidecar.admin.merging import merged
from sidecar.admin.siblings import Siblings
from sidecar.config.endpoint import HostPort

_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_ALIVE = "alive"
_READY = "ready"
_SILENT = "does not answer"


class AdminServer:
    """Serves the admin listener.

    Args:
        host: Address to bind to.
        port: Port to bind to.
        unready: Why the sidecar is not ready; None when it is.
        metrics: The Prometheus text exposition.
        worker: The number of this worker.
        siblings: The admin listeners of the other workers, by number.
    """

    def __init__(  # noqa: PLR0913 - where it listens, what it says of itself, and whom it can ask
        self,
        host: str,
        port: int,
        *,
        unready: Callable[[], str | None],
        metrics: Callable[[], bytes],
        worker: int = 0,
        siblings: Mapping[int, HostPort] = MappingProxyType({}),
    ) -> None:
        self._host = host
        self._port = port
        self._unready = unready
        self._metrics = metrics
        self._worker = worker
        self._siblings = Siblings(siblings)
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._expose)
        application.router.add_get("/healthz/all", self._healthz_of_all)
        application.router.add_get("/readyz/all", self._readyz_of_all)
        application.router.add_get("/metrics/all", self._expose_all)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)

    async def start(self) -> None:
        """Listen; raise `OSError` where the address cannot be had."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True, reuse_port=False)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            # The loop's own text names the address again; an unknown name has no positive number.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise OSError(f"cannot listen on {self._host}:{self._port}: {reason}") from error

    async def stop(self) -> None:
        """Close the listener."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"{_ALIVE}\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        status, text = self._readiness()
        return web.Response(status=status, text=f"{text}\n")

    async def _expose(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"content-type": _EXPOSITION})

    async def _healthz_of_all(self, _request: web.Request) -> web.Response:
        return self._together((200, _ALIVE), await self._siblings.ask("/healthz"))

    async def _readyz_of_all(self, _request: web.Request) -> web.Response:
        return self._together(self._readiness(), await self._siblings.ask("/readyz"))

    async def _expose_all(self, _request: web.Request) -> web.Response:
        others = await self._siblings.ask("/metrics")
        texts = {number: answer and answer[1] for number, answer in others.items()}
        texts[self._worker] = self._metrics().decode()
        # Milliseconds per worker, in which no exchange may have to wait for this thread.
        body = await asyncio.to_thread(merged, texts)
        return web.Response(body=body, headers={"content-type": _EXPOSITION})

    def _readiness(self) -> tuple[int, str]:
        reason = self._unready()
        return (200, _READY) if reason is None else (503, f"not ready: {reason}")

    def _together(self, own: tuple[int, str], others: Mapping[int, tuple[int, str] | None]) -> web.Response:
        """What each worker says, a line for each; 200 only where each says 200."""
        said = {number: answer or (503, _SILENT) for number, answer in others.items()} | {self._worker: own}
        lines = [f"worker {number}: {text.strip()}\n" for number, (_, text) in sorted(said.items())]
        fine = all(status == 200 for status, _ in said.values())
        return web.Response(status=200 if fine else 503, text="".join(lines))
