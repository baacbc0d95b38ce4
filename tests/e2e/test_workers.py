"""Several workers behind a real Envoy share the load, stand in for a dead one, and restart one by one."""

import collections
import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.e2e.fleet import Fleet, Load, running_fleet, wait_until
from tests.stack.children import is_alive
from tests.stack.upstream import Upstream, running_upstream
from tests.stack.valkey import Server

WORKERS = 3


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module", params=["grpcio", "native"])
def fleet(request: pytest.FixtureRequest, upstream: Upstream, valkey: Server) -> Iterator[Fleet]:
    server = {"workers": WORKERS, "transport": request.param}
    with running_fleet(upstream, valkey.url, server=server) as fleet:
        yield fleet


def executions(upstream: Upstream) -> collections.Counter[str]:
    """How often each target was executed."""
    return collections.Counter(seen.target for seen in upstream.ledger)


def test_the_load_is_shared_by_all_workers_and_any_of_them_tells_how(fleet: Fleet) -> None:
    with Load(fleet.url).running() as load:
        load.goes_on(300)

    shares = fleet.metric("idempotency_requests_total", result="executed")
    assert set(shares) == {"0", "1", "2"}, "each worker has had a share since it started"
    assert min(shares.values()) > 0.15 * sum(shares.values()), shares
    assert sum(shares.values()) >= len(load.sent)
    assert load.failed == []
    assert fleet.get("/readyz/all", worker=2).text == "".join(f"worker {i}: ready\n" for i in range(WORKERS))


def test_a_worker_that_is_killed_under_load_costs_its_own_requests_alone_and_executes_nothing_twice(
    fleet: Fleet, upstream: Upstream
) -> None:
    before = fleet.workers
    with Load(fleet.url).running() as load:
        load.goes_on(100)
        killed = time.monotonic()
        os.kill(min(before), signal.SIGKILL)
        load.goes_on(200)
        wait_until(lambda: len(fleet.workers - before) == 1 and fleet.all_ready(), "another one is ready")
        load.goes_on(100)

    times = executions(upstream)
    assert max(times[each.target] for each in load.sent) == 1
    failed = len(load.failed) + len(load.not_replayed)
    assert failed <= load.clients, "each client had one request under way"
    assert all(0 <= failed.at - killed < 5 for failed in load.failed)
    every_one = {"0": 1, "1": 1, "2": 1}
    wait_until(lambda: fleet.metric("idempotency_worker_up") == every_one, "each tells of all the others")


def test_a_rolling_restart_replaces_every_worker_and_fails_no_request(
    fleet: Fleet, upstream: Upstream
) -> None:
    before, deaths = fleet.workers, fleet.log.read_text().count(" died (")
    with Load(fleet.url).running() as load:
        load.goes_on(100)
        fleet.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: fleet.said("rolling restart done"), "every worker is a new one", within_s=60)
        load.goes_on(100)

    after = fleet.workers
    assert (len(after), after & before) == (WORKERS, set())
    assert not any(map(is_alive, before))
    assert load.failed == []
    assert load.not_replayed == []
    times = executions(upstream)
    assert [times[each.target] for each in load.sent] == [1] * len(load.sent)
    assert fleet.log.read_text().count(" died (") == deaths, "to be restarted is not to die"


def test_a_configuration_that_cannot_be_used_is_no_reason_to_stop_a_worker(fleet: Fleet) -> None:
    before, good = fleet.workers, fleet.config.read_text()
    fleet.config.write_text("policies: [{name: x, ttl: soon}]\n")
    fleet.process.send_signal(signal.SIGUSR2)

    wait_until(lambda: fleet.said("no rolling restart: the configuration cannot be used"), "it is refused")
    fleet.config.write_text(good)
    assert fleet.workers == before
    assert fleet.all_ready()
