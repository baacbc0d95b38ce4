"""The counter says what prometheus_client's own would say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, generate_latest

from sidecar.idempotency.outcome import Outcome
from sidecar.telemetry.counts import Counts

policies = st.sampled_from(("payments", 'a "quoted"\nname'))
results = st.sampled_from(("executed", Outcome.UNKNOWN))


def exposed(registry: CollectorRegistry) -> list[bytes]:
    """Without when the series were made, which the peer tells unless that was switched off."""
    return [line for line in generate_latest(registry).splitlines() if b"calls_created" not in line]


@given(st.lists(st.tuples(policies, results)))
def test_it_is_exposed_as_prometheus_clients_own_counter(counted: list[tuple[str, str]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counts = Counts("calls", "Calls.", ("policy", "result"), ours)
    counter = Counter("calls", "Calls.", ("policy", "result"), registry=theirs)

    for policy, result in counted:
        counts.add(policy, result)
        counter.labels(policy, result).inc()

    assert exposed(ours) == exposed(theirs)


def test_a_name_that_is_taken_is_refused() -> None:
    registry = CollectorRegistry()
    Counts("calls", "Calls.", ("result",), registry)

    with pytest.raises(ValueError, match="Duplicated"):
        Counts("calls", "Calls.", ("result",), registry)
