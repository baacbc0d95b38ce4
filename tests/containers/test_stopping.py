"""What the sidecar's and Redis' containers do to the traffic when they stop, die and come back."""

import contextlib
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.containers.bank import Bank, new_key, new_order
from tests.containers.composition import START_LIMIT_S, Composition

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

GRACE_S = 40


@pytest.fixture(autouse=True)
def everything_runs_again(composition: Composition) -> Iterator[None]:
    """Leave the composition to the next test as this one found it."""
    yield
    for service in ("redis", "sidecar"):
        composition.containers[service].get_wrapped_container().start()
        composition.wait_until_healthy(service)
    wait_until_ready(composition)


def wait_until_ready(composition: Composition, *, ready: bool = True) -> None:
    """Return when the sidecar says that it is ready, or that it is not: it has noticed what became of Redis.

    Docker only tells what its last health check has found, which may have been before that. The sidecar says
    that it is ready again with the ping after which claims go to the store again.
    """
    deadline = time.monotonic() + START_LIMIT_S
    while _is_ready(composition.url("sidecar", 9902)) != ready:
        assert time.monotonic() < deadline, f"{ready=} is not so; the sidecar:\n{composition.logs('sidecar')}"
        time.sleep(0.1)


def _is_ready(admin: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{admin}/readyz").status_code == 200
    return False


def test_without_the_sidecar_keyed_requests_are_refused_and_others_pass(
    bank: Bank, composition: Composition
) -> None:
    order = new_order()
    composition.containers["sidecar"].get_wrapped_container().stop(timeout=GRACE_S)

    keyed, keyless = bank.pay(new_key(), order), bank.get("/ledger")

    assert keyed.status_code == 503
    assert keyless.status_code == 200
    assert bank.executions(order) == []


def test_on_sigterm_the_sidecar_finishes_what_is_in_flight_and_exits_with_0(
    bank: Bank, composition: Composition
) -> None:
    key, order, answers = new_key(), new_order(takes_ms=2_000), list[httpx.Response]()
    call = threading.Thread(target=lambda: answers.append(bank.pay(key, order)))
    call.start()
    bank.wait_until_executing(order)
    sidecar = composition.containers["sidecar"].get_wrapped_container()

    sidecar.stop(timeout=GRACE_S)
    exit_code = sidecar.wait()["StatusCode"]
    call.join()

    assert exit_code == 0
    [answer] = answers
    assert answer.status_code == 201
    sidecar.start()
    composition.wait_until_healthy("sidecar")
    retry = bank.pay(key, order)
    assert (retry.headers["idempotent-replayed"], retry.content) == ("true", answer.content)
    assert len(bank.executions(order)) == 1


def test_a_killed_sidecar_serves_again_although_its_socket_was_left_behind(
    bank: Bank, composition: Composition
) -> None:
    sidecar = composition.containers["sidecar"].get_wrapped_container()
    sidecar.kill()
    sidecar.wait()

    sidecar.start()
    composition.wait_until_healthy("sidecar")

    assert bank.pay(new_key(), new_order()).status_code == 201


def test_what_redis_acknowledged_outlives_a_killed_redis(bank: Bank, composition: Composition) -> None:
    key, order = new_key(), new_order()
    first = bank.pay(key, order)
    redis = composition.containers["redis"].get_wrapped_container()
    redis.kill()
    redis.wait()

    while_away = bank.pay(key, order)
    wait_until_ready(composition, ready=False)
    redis.start()
    composition.wait_until_healthy("redis")
    wait_until_ready(composition)
    retry = bank.pay(key, order)

    assert while_away.status_code == 503
    assert while_away.json()["type"] == "urn:idempotency:store-unavailable"
    assert (retry.headers["idempotent-replayed"], retry.content) == ("true", first.content)
    assert len(bank.executions(order)) == 1
