#!/usr/bin/env python3
"""A payments service that knows nothing of idempotency: every request it sees is money moved.

    POST /v1/payments  {"amount": 1200, "currency": "EUR", "takes_ms": 300}, answered by 201 and a new payment
    GET  /ledger       every payment it ever made, with the attempt that the sidecar announced
    GET  /healthz      200

Standard library only, so that it runs in a plain Python image.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LONGEST_MS = 10_000
MOST_BYTES = 64 * 1024


class Ledger:
    """What was executed, in order; safe to use from every request's thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._payments: list[dict[str, object]] = []

    def pay(self, amount: int, currency: str, attempt: str | None) -> dict[str, object]:
        """Move the money: the one effect that must not happen twice."""
        payment: dict[str, object] = {"id": f"pay_{uuid.uuid4().hex}", "amount": amount, "currency": currency}
        with self._lock:
            self._payments.append({**payment, "attempt": attempt})
        return payment

    def entries(self) -> list[dict[str, object]]:
        """A copy of every payment made so far."""
        with self._lock:
            return list(self._payments)


class OrderError(ValueError):
    """An order that cannot be executed; the message says what is allowed."""


def read_order(body: bytes) -> tuple[int, str, float]:
    """Amount in minor units, currency, and how many seconds the payment takes.

    Raises:
        OrderError: The body is not such an order.
    """
    try:
        order: Any = json.loads(body)
    except ValueError:
        raise OrderError("the body is not JSON") from None
    if not isinstance(order, dict):
        raise OrderError("the body is not a JSON object")
    amount, currency, takes_ms = order.get("amount"), order.get("currency", "EUR"), order.get("takes_ms", 0)
    if type(amount) is not int or amount <= 0:
        raise OrderError("amount must be a whole number above 0, in the currency's smallest unit")
    if not isinstance(currency, str) or not (
        len(currency) == 3 and currency.isascii() and currency.isupper()
    ):
        raise OrderError("currency must be three capital letters, such as EUR")
    if type(takes_ms) is not int or not 0 <= takes_ms <= LONGEST_MS:
        raise OrderError(f"takes_ms must be a whole number from 0 to {LONGEST_MS}")
    return amount, currency, takes_ms / 1000


class Payments(BaseHTTPRequestHandler):
    """The service's three resources."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    ledger = Ledger()

    def do_GET(self) -> None:
        """Answer `/ledger` and `/healthz`."""
        if self.path == "/ledger":
            self._answer(200, {"payments": self.ledger.entries()})
        elif self.path == "/healthz":
            self._answer(200, {"status": "ok"})
        else:
            self._answer(404, {"error": f"there is no {self.path} here"})

    def do_POST(self) -> None:
        """Execute a payment, slowly if the order says so."""
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self._refuse_unread(f"send a content-length of at most {MOST_BYTES}")
            return
        body = self.rfile.read(int(length))
        if self.path != "/v1/payments":
            self._answer(404, {"error": f"there is no {self.path} here"})
            return
        try:
            amount, currency, takes_s = read_order(body)
        except OrderError as error:
            self._answer(400, {"error": str(error)})
            return
        payment = self.ledger.pay(amount, currency, self.headers.get("idempotency-attempt"))
        time.sleep(takes_s)
        self._answer(201, payment, location=f"/v1/payments/{payment['id']}")

    def _refuse_unread(self, error: str) -> None:
        self._answer(411, {"error": error}, connection="close")
        # Closing with bytes unread resets the connection, and may lose the answer: let the client close it.
        self.connection.shutdown(socket.SHUT_WR)
        while self.rfile.read1(MOST_BYTES):
            pass

    def _answer(self, status: int, content: object, **headers: str) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    """A thread for each connection, and room for many that arrive at once."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve on every address of the container, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with Server(("", int(os.environ.get("PORT", "8000"))), Payments) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
