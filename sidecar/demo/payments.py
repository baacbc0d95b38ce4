"""A small payments service: not idempotent at all, and honest about how often it was made to pay."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from aiohttp import web

PATHS = ("/v1/payments", "/v1/payouts", "/v1/transfers")
LONGEST_S = 5.0

_SHUTDOWN_S = 0.05
"""How long calls under way may still take at the end, in seconds; aiohttp takes 0 for no limit."""


@dataclass(slots=True)
class Ledger:
    """What the service did, by the reference that the caller put on each order."""

    executions: Counter[str] = field(default_factory=Counter)
    attempts: list[str | None] = field(default_factory=list)
    """The `Idempotency-Attempt` that came with each execution."""
    _at_work: dict[str, asyncio.Event] = field(default_factory=dict)

    def execute(self, reference: str, attempt: str | None) -> str:
        """Pay, irrevocably. The id of the payment."""
        self.executions[reference] += 1
        self.attempts.append(attempt)
        return f"pay_{self.executions.total():04}"

    @contextlib.contextmanager
    def at_work_on(self, reference: str) -> Iterator[None]:
        """Have the service work on an order for as long as the context lasts, but at most `LONGEST_S`."""
        self._at_work[reference] = finished = asyncio.Event()
        try:
            yield
        finally:
            finished.set()

    async def finish(self, reference: str) -> None:
        """Return when nothing keeps the service at work on an order."""
        if reference in self._at_work:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_S):
                    await self._at_work[reference].wait()


def payments(ledger: Ledger) -> web.Application:
    """POST `{"reference", "amount", "takes_s"}` to any of `PATHS`: 201 after `takes_s`."""

    async def pay(request: web.Request) -> web.Response:
        order = await request.json()
        payment = ledger.execute(order["reference"], request.headers.get("idempotency-attempt"))
        await asyncio.sleep(min(float(order.get("takes_s", 0)), LONGEST_S))
        await ledger.finish(order["reference"])
        return web.json_response(
            {"id": payment, "reference": order["reference"], "amount": order["amount"]},
            status=201,
            headers={"location": f"{request.path}/{payment}"},
        )

    service = web.Application()
    for path in PATHS:
        service.router.add_post(path, pay)
    return service


@contextlib.asynccontextmanager
async def running(service: web.Application) -> AsyncIterator[str]:
    """Serve it on a free loopback port; its URL."""
    runner = web.AppRunner(service, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
