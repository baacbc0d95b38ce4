"""The client of the example service, outside every container."""

import asyncio
import itertools
import time
import uuid
from typing import Any

import httpx

LIMIT_S = 30.0
_amounts = itertools.count(1)


def new_key() -> str:
    """An idempotency key that nobody has used."""
    return f"order-{uuid.uuid4()}"


def new_order(takes_ms: int = 0) -> dict[str, Any]:
    """An order whose amount no other order has, so that the ledger tells how often it was executed."""
    return {"amount": next(_amounts), "currency": "EUR", "takes_ms": takes_ms}


class Bank:
    """Pays, and reads the ledger, through Envoy."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = httpx.Client(base_url=url, timeout=LIMIT_S)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def pay(self, key: str | None, order: dict[str, Any]) -> httpx.Response:
        """Order one payment."""
        return self._client.post("/v1/payments", json=order, headers=_keyed(key))

    async def pay_at_once(self, times: int, key: str, order: dict[str, Any]) -> list[httpx.Response]:
        """The same order so many times, none waiting for another, each on a connection of its own."""
        limits = httpx.Limits(max_connections=times)
        async with httpx.AsyncClient(base_url=self._url, timeout=LIMIT_S, limits=limits) as client:
            calls = (client.post("/v1/payments", json=order, headers=_keyed(key)) for _ in range(times))
            return await asyncio.gather(*calls)

    def get(self, path: str) -> httpx.Response:
        """A request that needs no key."""
        return self._client.get(path)

    def executions(self, order: dict[str, Any]) -> list[dict[str, Any]]:
        """What the ledger holds for an order."""
        payments: list[dict[str, Any]] = self.get("/ledger").json()["payments"]
        return [payment for payment in payments if payment["amount"] == order["amount"]]

    def wait_until_executing(self, order: dict[str, Any]) -> None:
        """Return when the service has begun with an order."""
        deadline = time.monotonic() + LIMIT_S
        while not self.executions(order):
            assert time.monotonic() < deadline, "the order never reached the service"


def _keyed(key: str | None) -> dict[str, str]:
    return {"authorization": "Bearer alice"} | ({"idempotency-key": f'"{key}"'} if key else {})
