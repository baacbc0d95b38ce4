"""Series are found by their labels once, and are the ones that `labels()` gives."""

from prometheus_client import CollectorRegistry, Counter

from sidecar.telemetry.binding import Counting


def test_counting_adds_to_the_series_of_the_labels() -> None:
    registry = CollectorRegistry()
    counting = Counting(Counter("calls", "Calls.", ("policy", "result"), registry=registry))

    counting["a", "ok"]()
    counting["a", "ok"]()
    counting["a", "bad"]()

    assert registry.get_sample_value("calls_total", {"policy": "a", "result": "ok"}) == 2
    assert registry.get_sample_value("calls_total", {"policy": "a", "result": "bad"}) == 1


def test_a_series_is_looked_up_once() -> None:
    counting = Counting(Counter("calls", "Calls.", ("result",), registry=CollectorRegistry()))

    assert counting["ok",] is counting["ok",]
    assert list(counting) == [("ok",)]
