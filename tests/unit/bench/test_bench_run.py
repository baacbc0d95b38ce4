"""The steps of a run that can be looked at without one."""

import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest

from bench import bounds, plan, rig, run
from bench.at_rate import PacedMeter
from bench.errors import BenchError, UnavailableError
from bench.figures import Figures
from bench.interleaving import Batch, Campaign, Samples, Skip
from bench.measure import Meter
from bench.peers import starting
from bench.peers.starting import PEERS
from bench.point import Point, Sample
from bench.rig import ALONE, Rig
from bench.spread import Spread
from bench.subject import Subject
from sidecar.supervision.process import Child
from tests.unit.bench.fabricated_results import core_samples, keyless_samples, soak


class EmptyRig:
    """A rig on which nothing can be started."""

    store_url = "redis://127.0.0.1:1/0"

    async def sidecar(self, _: object) -> Subject:
        raise UnavailableError("this build has no sidecar")

    async def alone(self) -> Subject:
        raise UnavailableError("there is no Envoy")

    noop = peer = alone


@pytest.fixture
def campaign() -> Campaign:
    return Campaign(cast("Rig", EmptyRig()), cast("Meter", None), lambda _: None)


def test_the_full_form_judges_the_soak_and_the_short_form_does_not() -> None:
    figures = Figures({"soak_slope_mib_per_h": Spread.of([5.0])})

    full = run._verdicts(figures, plan.full())
    short = run._verdicts(figures, plan.short())

    assert "soak_slope_mib_per_h" in {verdict.figure for verdict in bounds.misses(full, without_peers=True)}
    assert {verdict.figure for verdict in full} - {verdict.figure for verdict in short} == {
        "soak_slope_mib_per_h"
    }


def test_the_short_form_widens_what_is_timed() -> None:
    figures = Figures({"new_vs_noop": Spread.of([0.4]), "roundtrips_new": Spread.of([2.1])})

    short = {verdict.figure: verdict for verdict in run._verdicts(figures, plan.short())}

    assert short["new_vs_noop"].passed is True
    assert short["new_vs_noop"].bound == pytest.approx(0.4375)
    assert short["roundtrips_new"].passed is False


def test_the_last_soak_is_a_figure_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, none = Figures(), Figures()

    monkeypatch.setattr(run, "load_soak", soak)
    run._add_soak(kept)
    monkeypatch.setattr(run, "load_soak", lambda: None)
    run._add_soak(none)

    assert kept.values["soak_slope_mib_per_h"].median == 0.125
    assert none.reasons["soak_slope_mib_per_h"] == "there was no soak yet: make soak"


def test_points_keep_the_order_of_the_batches() -> None:
    results = run._points({plan.CORE: core_samples(), plan.KEYLESS: keyless_samples()})

    expected: list[Point] = [*core_samples(), *keyless_samples()]
    assert [result.point for result in results] == expected
    assert [result.batch for result in results] == [plan.CORE] * 9 + [plan.KEYLESS] * 2


async def test_what_cannot_be_started_is_skipped_with_its_reason_and_the_run_goes_on(
    campaign: Campaign,
) -> None:
    chosen = plan.short()

    assert await run._costs(campaign, chosen) == ()
    assert await run._uses(campaign, chosen) == ()
    assert campaign.skipped == {"native": Skip("this build has no sidecar", failed=False)}


@contextlib.asynccontextmanager
async def nothing_runs() -> AsyncIterator[Rig]:
    yield cast("Rig", EmptyRig())


async def test_a_batch_with_stacks_of_its_own_has_its_rounds_on_each_of_them(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    rigs: list[Rig] = []
    (point, *_), taken = core_samples(), core_samples()

    async def one_round(self: Campaign, _: Batch) -> Samples:
        rigs.append(self.rig)
        self.skipped["that"] = Skip("as told by a stack", failed=True)
        return {point: taken[point][:1]}

    monkeypatch.setattr(Campaign, "run", one_round)
    monkeypatch.setattr(run, "running", nothing_runs)

    shared = await run._taken(campaign, Batch("shared", (), 1))
    assert (rigs, len(shared[point])) == ([campaign.rig], 1)
    own = await run._taken(campaign, Batch("own", (), 1, stacks=3))
    assert len(own[point]) == len(set(map(id, rigs[1:]))) == 3
    assert campaign.rig not in rigs[1:]
    assert campaign.skipped == {"that": Skip("as told by a stack", failed=True)}


async def test_a_whole_run_on_a_machine_that_has_nothing_tells_why_each_figure_is_missing(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "find_wrk", lambda: "/usr/bin/wrk")
    monkeypatch.setattr(run, "running", nothing_runs)
    monkeypatch.setattr("bench.plan.PEERS", dict.fromkeys(PEERS, _no_peer))
    plan.start_of.cache_clear()

    results = await run.carry_out(campaign.rig, plan.short(), lambda _: None)

    plan.start_of.cache_clear()
    assert results.points == ()
    assert {verdict.passed for verdict in results.bounds} == {None}
    by_figure = {verdict.figure: verdict.reason for verdict in results.bounds}
    assert by_figure["new_vs_noop"] == "this build has no sidecar"
    assert by_figure["upload_rss_mib"] == "this build has no sidecar"
    assert by_figure["grpcio_new_vs_noop"] == "this build has no sidecar"
    assert bounds.misses(results.bounds, without_peers=True)
    assert results.failures == {}
    assert results.commit


async def test_a_sidecar_that_answers_wrongly_fails_the_short_form(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*_: object) -> Sample:
        raise BenchError("native new 100 B c32: of 5 answers 5 were errors where 0 were expected")

    monkeypatch.setattr(run, "find_wrk", lambda: "/usr/bin/wrk")
    monkeypatch.setattr(EmptyRig, "sidecar", _started)
    monkeypatch.setattr(Meter, "round", wrong)
    monkeypatch.setattr("bench.plan.PEERS", dict.fromkeys(PEERS, _no_peer))
    plan.start_of.cache_clear()

    results = await run.carry_out(campaign.rig, plan.short(), lambda _: None)

    plan.start_of.cache_clear()
    assert {"native", "grpcio"} <= results.failures.keys()
    assert starting.IDEMKIT in results.skipped
    assert starting.IDEMKIT not in results.failures


async def test_latency_at_a_rate_is_left_out_with_everything_else_that_failed(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*_: object) -> Sample:
        raise BenchError("answered 500")

    monkeypatch.setattr(EmptyRig, "sidecar", _started)
    monkeypatch.setattr(PacedMeter, "round", wrong)

    assert await run._paced(campaign, plan.short()) == ()
    assert campaign.skipped == {}
    assert await run._paced(campaign, plan.full()) == ()
    assert campaign.skipped["native"] == Skip("answered 500", failed=True)
    assert campaign.skipped[ALONE] == Skip("there is no Envoy", failed=False)


async def _started(*_: object) -> Subject:
    return Subject("sidecar", "http://127.0.0.1:1", {}, "http://127.0.0.1:1")


def test_a_process_that_ends_once_it_is_ready_has_failed_and_is_not_missing() -> None:
    ended = SimpleNamespace(pid=None, spec=SimpleNamespace(name="upstream"))

    with pytest.raises(BenchError, match="upstream ended as soon as it was ready"):
        rig._pid(cast("Child", ended))


async def _no_peer(_: Rig) -> Subject:
    raise UnavailableError("nothing can be installed here")
