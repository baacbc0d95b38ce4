"""The benchmark's rig with a real Envoy and a real Valkey: what it measures is what it says."""

import shutil
from collections.abc import AsyncIterator

import pytest

from bench import memory, store_costs
from bench.errors import BenchError, UnavailableError
from bench.measure import Meter
from bench.point import Point, Scenario
from bench.rig import ALONE, DETACHED, NOOP, WAITING, Rig, Variant, running
from bench.subject import Role

pytestmark = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")

FEW = 4


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running() as started:
        yield started


async def test_every_scenario_is_answered_and_executed_as_it_should_be(rig: Rig) -> None:
    meter, sidecar = Meter(rig), await rig.sidecar(Variant("grpcio"))

    for scenario in (
        Scenario.KEYLESS,
        Scenario.NEW,
        Scenario.REPLAY,
        Scenario.REPLAY_BODYLESS,
        Scenario.CONFLICT,
    ):
        sample = await meter.round(sidecar, Point("grpcio", scenario, concurrency=FEW), 1)

        assert sample.rate > 0
        assert sample.cpu_us[Role.ENVOY] > 0
        touches_the_store = sample.cpu_us[Role.STORE] > 5
        assert touches_the_store == (scenario is not Scenario.KEYLESS)


@pytest.mark.parametrize(
    ("scenario", "policies"), [(Scenario.WAITING, WAITING), (Scenario.DETACHED, DETACHED)]
)
async def test_scenarios_with_policies_of_their_own(rig: Rig, scenario: Scenario, policies: str) -> None:
    sidecar = await rig.sidecar(Variant("grpcio", policies=policies))

    sample = await Meter(rig).round(sidecar, Point("grpcio", scenario, concurrency=FEW), 1)

    assert sample.outcome.requests >= FEW
    assert sample.cpu_us[Role.PROCESSOR] > 0


async def test_envoy_alone_replays_nothing_and_that_is_found_out(rig: Rig) -> None:
    with pytest.raises(BenchError, match=r"executions, where 0 to 0 belong"):
        await Meter(rig).round(await rig.alone(), Point(ALONE, Scenario.REPLAY, concurrency=FEW), 1)


async def test_the_no_op_processor_lets_everything_pass(rig: Rig) -> None:
    noop = await rig.noop()

    sample = await Meter(rig).round(noop, Point(NOOP, Scenario.NEW, 10_000, FEW), 1)

    assert sample.cpu_us[Role.PROCESSOR] > 0
    assert await rig.noop() is noop


async def test_what_the_store_is_asked(rig: Rig) -> None:
    costs = await store_costs.measure(await rig.sidecar(Variant("grpcio")), rig.store_url)

    assert (costs.roundtrips_new, costs.roundtrips_replay) == (2, 1)
    assert costs.bytes_new > costs.bytes_replay > 100
    assert 0 < costs.record_overhead_bytes < 2_000


async def test_what_exchanges_take_of_memory(rig: Rig) -> None:
    use = await memory.measure(await rig.sidecar(Variant("grpcio")), "memory")

    assert use.rss_idle_mib > 10
    assert use.rss_in_flight_mib >= use.rss_idle_mib - 1
    assert use.upload_rss_mib < memory.UPLOAD_MB


async def test_two_workers_are_two_processes(rig: Rig) -> None:
    subject = await rig.sidecar(Variant("grpcio", workers=2))

    assert len(subject.processes[Role.PROCESSOR]) == 2
    assert (await Meter(rig).round(subject, Point(subject.name, Scenario.NEW, concurrency=FEW), 1)).rate > 0


async def test_a_transport_that_is_not_there_is_unavailable(rig: Rig) -> None:
    with pytest.raises(UnavailableError, match="no transport quic"):
        await rig.sidecar(Variant("quic"))
