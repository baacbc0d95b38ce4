"""Where no policy demands a key, routes tell by the headers of keys which requests meet the filter at all."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.stack.up import Up, running_up
from tests.stack.upstream import Upstream, running_upstream

CONFIG = """
store: {timeout: 5s} # nothing here is about it, and the machine may be busy
policies:
  - name: orders
    match: {methods: [POST], paths: ["/orders/**"]}
    key: {name: X-Order-Key}
  - name: default
    match: {methods: [POST, PATCH]}
"""


class Client:
    """Calls through Envoy, and what came of them."""

    def __init__(self, up: Up, upstream: Upstream) -> None:
        self._http = httpx.Client(base_url=up.url, timeout=20)
        self._up = up
        self._upstream = upstream

    def call(self, target: str, *, method: str = "POST", **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._http.request(method, target, content=b"x", headers=named)

    def executed(self, target: str) -> int:
        return sum(seen.target == target for seen in self._upstream.ledger)

    def asked(self) -> float:
        """How many messages of request heads the sidecar has answered."""
        return self._up.metric("idempotency_exchange_seconds_count", phase="request_headers")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with (
        running_upstream() as upstream,
        running_up(f"http://127.0.0.1:{upstream.port}", tmp_path_factory.mktemp("up"), config=CONFIG) as up,
    ):
        yield Client(up, upstream)


@pytest.fixture
def target() -> str:
    return f"/{uuid.uuid4().hex}"


def test_a_request_without_a_key_passes_and_the_sidecar_does_not_hear_of_it(
    client: Client, target: str
) -> None:
    before = client.asked()

    for _ in range(2):
        assert client.call(target).status_code == 201

    assert client.executed(target) == 2
    assert client.asked() == before


@pytest.mark.parametrize("header", ["idempotency_key", "Idempotency_Key", "IDEMPOTENCY_KEY"])
def test_a_key_is_claimed_however_its_header_is_written(client: Client, target: str, header: str) -> None:
    first, again = (client.call(target, **{header: '"k"'}) for _ in range(2))

    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert client.executed(target) == 1


def test_an_empty_key_is_a_key_and_refused(client: Client, target: str) -> None:
    assert client.call(target, idempotency_key="").status_code == 400
    assert client.executed(target) == 0


def test_each_policy_has_its_own_header(client: Client, target: str) -> None:
    order = f"/orders{target}"

    replies = [client.call(order, X_Order_Key="k").headers.get("idempotent-replayed") for _ in range(2)]
    assert replies == [None, "true"]
    assert client.executed(order) == 1

    for _ in range(2):  # another policy's header is none here
        assert "idempotent-replayed" not in client.call(order, idempotency_key="k").headers
    assert client.executed(order) == 3


def test_a_key_where_no_policy_looks_for_one_passes_untouched(client: Client, target: str) -> None:
    before = client.asked()

    for _ in range(2):
        assert client.call(target, method="PUT", idempotency_key="k").status_code == 201

    assert client.executed(target) == 2
    assert client.asked() == before


def test_the_attempt_of_a_client_that_has_no_key_is_taken_off(client: Client, target: str) -> None:
    client.call(target, idempotency_attempt="7")

    (seen,) = (seen for seen in client._upstream.ledger if seen.target == target)
    assert seen.header("idempotency-attempt") == []
