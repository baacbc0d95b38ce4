"""From samples to figures."""

import pytest

from bench.figures import Measured, derive
from bench.interleaving import Skip
from bench.point import Point, Scenario
from bench.rig import NOOP
from tests.unit.bench.fabricated_results import COSTS, MEMORY, core_samples, keyless_samples, sample


def measured() -> Measured:
    return Measured("native", core_samples(), core_samples(), keyless_samples(), {})


def failed(reason: str) -> Skip:
    return Skip(reason, failed=True)


def test_ratios_are_medians_of_rounds_and_a_slow_round_does_not_show() -> None:
    figures = derive(measured(), [COSTS], [MEMORY]).values

    assert figures["new_vs_noop"].median == 0.25
    assert figures["new_vs_noop"].least == figures["new_vs_noop"].most == 0.25
    assert figures["replay_vs_noop"].median == 0.2
    assert figures["replay_bodyless_vs_noop"].median == 0.15
    assert figures["grpcio_new_vs_noop"].median == 1.25
    assert figures["new_vs_cpp_noop"].median == 2.0


def test_what_is_added_counts_the_sidecar_and_envoys_extra_work() -> None:
    figures = derive(measured(), [], []).values

    assert figures["added_vs_idemkit"].median == pytest.approx((100 + 150 - 50) / (350 - 100))


def test_what_is_added_is_taken_from_rounds_of_its_own() -> None:
    cheaper = {point: [sample(processor=25, envoy=125, app=0)] for point in [Point("native", Scenario.NEW)]}
    added = {point: rounds[:1] for point, rounds in core_samples().items()} | cheaper
    figures = derive(Measured("native", core_samples(), added, keyless_samples(), {}), [], []).values

    assert figures["added_vs_idemkit"].median == pytest.approx((25 + 125 - 50) / (350 - 100))
    assert figures["new_vs_noop"].median == 0.25


def test_keyless_compares_throughput() -> None:
    assert derive(measured(), [], []).values["keyless_vs_plain"].median == pytest.approx(0.98)


def test_counts_come_from_the_bounded_transport() -> None:
    figures = derive(measured(), [COSTS], [MEMORY]).values

    assert figures["roundtrips_new"].median == 2
    assert figures["roundtrips_replay"].median == 1
    assert figures["record_overhead_bytes"].median == 350
    assert figures["upload_rss_mib"].median == 9.5


def test_without_the_costs_their_figures_are_missing() -> None:
    assert "roundtrips_new" not in derive(measured(), [], []).values


def test_a_subject_that_was_skipped_gives_its_reason_to_every_figure_that_needs_it() -> None:
    samples = {point: rounds for point, rounds in core_samples().items() if point.subject != "native"}
    reasons = derive(
        Measured("native", samples, samples, {}, {"native": failed("not built")}), [], []
    ).reasons

    assert reasons["new_vs_noop"] == reasons["added_vs_idemkit"] == "not built"
    assert "grpcio_new_vs_noop" not in reasons


def test_a_point_that_failed_gives_its_own_reason() -> None:
    samples = core_samples()
    replay = Point("native", Scenario.REPLAY)
    del samples[replay]
    reasons = derive(
        Measured("native", samples, samples, {}, {replay.name: failed("answered 500")}), [], []
    ).reasons

    assert reasons["replay_vs_noop"] == "answered 500"


def test_a_point_that_was_not_in_the_plan_is_named() -> None:
    samples = core_samples()
    del samples[Point(NOOP, Scenario.NEW)]

    reasons = derive(Measured("native", samples, samples, {}, {}), [], []).reasons
    assert reasons["new_vs_noop"] == "no noop new 100 B c32"
