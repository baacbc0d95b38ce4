"""`GET /healthz`, `/readyz`, `/metrics`."""

from collections.abc import Callable

from aiohttp import web

_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


class AdminServer:
    """Serves the admin listener.

    Args:
        host: Address to bind to.
        port: Port to bind to.
        unready: Why the sidecar is not ready; None when it is.
        metrics: The Prometheus text exposition.
    """

    def __init__(
        self, host: str, port: int, *, unready: Callable[[], str | None], metrics: Callable[[], bytes]
    ) -> None:
        self._host = host
        self._port = port
        self._unready = unready
        self._metrics = metrics
        application = web.Application()
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/readyz", self._readyz)
        application.router.add_get("/metrics", self._expose)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)

    async def start(self) -> None:
        """Listen; raise `OSError` where the address cannot be had."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, reuse_address=True, reuse_port=False)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            reason = error.strerror or str(error)
            raise OSError(f"cannot listen on {self._host}:{self._port}: {reason}") from error

    async def stop(self) -> None:
        """Close the listener."""
        await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        reason = self._unready()
        if reason is None:
            return web.Response(text="ready\n")
        return web.Response(status=503, text=f"not ready: {reason}\n")

    async def _expose(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"content-type": _EXPOSITION})
