"""The payments service of `deploy/compose`: not idempotent, and strict about what it executes."""

import importlib.util
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest

SOURCE = Path(__file__).parents[2] / "deploy" / "compose" / "app" / "payments.py"


@pytest.fixture(scope="module")
def payments() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_payments", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def client(payments: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.Client]:
    """A client of the service, whose ledger is empty."""
    monkeypatch.setattr(payments.Payments, "ledger", payments.Ledger())
    monkeypatch.setattr(payments.Payments, "log_message", lambda *_: None)
    with payments.Server(("127.0.0.1", 0), payments.Payments) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.server_port}", timeout=10) as client:
            yield client
        server.shutdown()
        serving.join()


def test_the_same_order_twice_is_paid_twice(client: httpx.Client) -> None:
    order = {"amount": 1200, "currency": "EUR"}

    first = client.post("/v1/payments", json=order, headers={"idempotency-attempt": "1"})
    second = client.post("/v1/payments", json=order)

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] != second.json()["id"]
    assert first.headers["location"] == f"/v1/payments/{first.json()['id']}"
    ledger = client.get("/ledger").json()["payments"]
    assert ledger == [{**first.json(), "attempt": "1"}, {**second.json(), "attempt": None}]


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "amount"),
        (b'{"amount": true}', "amount"),
        (b'{"amount": 0}', "amount"),
        (b'{"amount": 1, "currency": "euro"}', "currency"),
        (b'{"amount": 1, "takes_ms": 10001}', "takes_ms"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_and_not_paid(
    body: bytes, complaint: str, client: httpx.Client
) -> None:
    answer = client.post("/v1/payments", content=body)

    assert answer.status_code == 400
    assert complaint in answer.json()["error"]
    assert client.get("/ledger").json() == {"payments": []}


def test_an_order_says_how_long_it_takes(payments: ModuleType) -> None:
    order = json.dumps({"amount": 5, "currency": "CHF", "takes_ms": 250}).encode()

    assert payments.read_order(order) == (5, "CHF", 0.25)


def test_a_body_of_unknown_or_unreasonable_length_is_refused(client: httpx.Client) -> None:
    chunked = client.post("/v1/payments", content=iter([b"{}"]))
    large = client.post("/v1/payments", content=b" " * 65_537)

    assert (chunked.status_code, large.status_code) == (411, 411)


def test_it_is_healthy_and_has_nothing_elsewhere(client: httpx.Client) -> None:
    assert client.get("/healthz").status_code == 200
    assert client.get("/elsewhere").status_code == 404
    assert client.post("/elsewhere", json={}).status_code == 404
