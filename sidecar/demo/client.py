"""The client of the guided run: sends orders, gives up when told to, and reads what comes back."""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp

PAYMENTS = "/v1/payments"
PAYOUTS = "/v1/payouts"
TRANSFERS = "/v1/transfers"

_PATIENCE_S = 15.0


@dataclass(frozen=True, slots=True)
class Order:
    """One request: where, with which key, and what to pay. `takes_s`: how long the service works on it."""

    reference: str
    amount: int
    key: str | None
    path: str = PAYMENTS
    takes_s: float = 0.0

    def __str__(self) -> str:
        key = f"key {self.key}" if self.key else "no key"
        return f"POST {self.path}, {key}, amount {self.amount}"

    @property
    def headers(self) -> dict[str, str]:
        """The header fields to send: the key as a structured-field string."""
        key = {"idempotency-key": f'"{self.key}"'} if self.key else {}
        return {"content-type": "application/json", "authorization": "Bearer demo", **key}

    @property
    def body(self) -> bytes:
        """The same bytes for the same order."""
        return json.dumps(
            {"reference": self.reference, "amount": self.amount, "takes_s": self.takes_s}
        ).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_replay(self) -> bool:
        """Whether it says of itself that it is the recorded response."""
        return self.headers.get("idempotent-replayed") == "true"

    @property
    def problem(self) -> str | None:
        """The type of the problem document, without its namespace; None where it is no problem document."""
        kind = self._member("type")
        return kind.removeprefix("urn:idempotency:") if kind and kind.startswith("urn:idempotency:") else None

    @property
    def retry_after(self) -> str | None:
        """When to try again, in seconds."""
        return self.headers.get("retry-after")

    def __str__(self) -> str:
        if self.problem:
            again = f", retry after {self.retry_after} s" if self.retry_after else ""
            return f"{self.status} {self.problem}{again}"
        known = self.status in HTTPStatus._value2member_map_
        phrase = HTTPStatus(self.status).phrase if known else None
        details = [phrase, self._member("id"), "(replayed)" if self.is_replay else None]
        return " ".join([str(self.status), *filter(None, details)])

    def _member(self, name: str) -> str | None:
        try:
            document = json.loads(self.body)
        except ValueError:
            return None
        member = document.get(name) if isinstance(document, dict) else None
        return member if isinstance(member, str) else None


class Client:
    """Sends orders to one base URL over its own session."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def send(self, order: Order, *, patience_s: float = _PATIENCE_S) -> Answer:
        """Send it and wait for the whole answer.

        Raises:
            TimeoutError: no answer within `patience_s`; the connection is closed.
        """
        async with (
            asyncio.timeout(patience_s),
            self._session.post(self._url + order.path, data=order.body, headers=order.headers) as answer,
        ):
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, headers, await answer.read())
