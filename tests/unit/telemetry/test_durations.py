"""The histogram of seconds says what prometheus_client's own would say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from sidecar.telemetry.durations import TOGETHER, Durations

disable_created_metrics()  # type: ignore[no-untyped-call]  # as `telemetry.metrics` does

BUCKETS = (0.001, 0.25, 1.0, 10.0)
phases = st.sampled_from(("head", 'a "quoted"\nname', "body"))
seconds = st.one_of(st.sampled_from((0.0, *BUCKETS)), st.floats(0, 100))


@given(st.lists(st.tuples(phases, seconds)))
def test_it_is_exposed_as_prometheus_clients_own_histogram(observed: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    durations = Durations("wait_seconds", "Wait.", ("phase",), BUCKETS, ours)
    histogram = Histogram("wait_seconds", "Wait.", ("phase",), buckets=BUCKETS, registry=theirs)

    for phase, took in observed:
        durations.observe(phase, took)
        histogram.labels(phase).observe(took)

    assert generate_latest(ours) == generate_latest(theirs)


def test_many_are_counted_whether_they_are_in_their_buckets_yet_or_not() -> None:
    registry = CollectorRegistry()
    durations = Durations("wait_seconds", "Wait.", ("phase",), BUCKETS, registry)

    for number in range(10 * TOGETHER + 1):
        durations.observe("head", number % 2)

    assert len(durations._series["head"].recent) == 1  # so few lie where nobody asks for metrics
    assert (
        registry.get_sample_value("wait_seconds_bucket", {"phase": "head", "le": "0.25"}) == 5 * TOGETHER + 1
    )
    assert registry.get_sample_value("wait_seconds_count", {"phase": "head"}) == 10 * TOGETHER + 1
    assert registry.get_sample_value("wait_seconds_sum", {"phase": "head"}) == 5 * TOGETHER


def test_several_labels_are_given_in_order() -> None:
    registry = CollectorRegistry()
    durations = Durations("store_seconds", "Store.", ("operation", "result"), BUCKETS, registry)

    durations.observe(("claim", "claimed"), 0.2)
    durations.observe(("claim", "claimed"), 0.25)

    labels = {"operation": "claim", "result": "claimed"}
    assert registry.get_sample_value("store_seconds_bucket", labels | {"le": "0.25"}) == 2
    assert registry.get_sample_value("store_seconds_sum", labels) == 0.45


def test_a_name_that_is_taken_is_refused() -> None:
    registry = CollectorRegistry()
    Durations("wait_seconds", "Wait.", ("phase",), BUCKETS, registry)

    with pytest.raises(ValueError, match="Duplicated"):
        Durations("wait_seconds", "Wait.", ("phase",), BUCKETS, registry)
