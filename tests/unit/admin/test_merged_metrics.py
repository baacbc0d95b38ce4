"""Several expositions as one: nothing lost, nothing added but the worker, the dead shown as dead."""

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from sidecar.admin.merging import merged
from sidecar.telemetry.metrics import Metrics


def exposed(*, executed: int = 0, policy: str = "payments") -> str:
    metrics = Metrics()
    for _ in range(executed):
        metrics.requests.add(policy, "executed")
    metrics.store_seconds.observe(("claim", "claimed"), 0.003)
    metrics.in_flight.set(2)
    return metrics.render().decode()


def samples(text: str) -> list[Sample]:
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [each for each in samples(text) if each.name == name and each.labels == labels]
    return float(found.value)


def test_every_sample_of_a_worker_is_there_with_its_number() -> None:
    alone = exposed(executed=3)

    together = samples(merged({4: alone}).decode())

    wanted = [sample._replace(labels={**sample.labels, "worker": "4"}) for sample in samples(alone)]
    assert [sample for sample in together if sample.name != "idempotency_worker_up"] == wanted


def test_workers_are_told_apart_and_can_be_added_up() -> None:
    text = merged({0: exposed(executed=3), 1: exposed(executed=4)}).decode()

    per_worker = [
        value(text, "idempotency_requests_total", policy="payments", result="executed", worker=worker)
        for worker in ("0", "1")
    ]
    assert per_worker == [3, 4]


def test_a_family_is_declared_once_however_many_workers_have_it() -> None:
    lines = merged({0: exposed(), 1: exposed(), 2: exposed()}).decode().splitlines()

    declared = [line for line in lines if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared))
    assert "# TYPE idempotency_requests_total counter" in declared
    assert "# TYPE idempotency_store_seconds histogram" in declared


def test_a_worker_that_does_not_answer_is_down_and_has_no_other_sample() -> None:
    text = merged({0: exposed(), 1: None}).decode()

    assert value(text, "idempotency_worker_up", worker="0") == 1
    assert value(text, "idempotency_worker_up", worker="1") == 0
    assert [sample.name for sample in samples(text) if sample.labels["worker"] == "1"] == [
        "idempotency_worker_up"
    ]


def test_a_family_that_only_some_workers_have_is_theirs() -> None:
    text = merged({0: "", 1: exposed(executed=1)}).decode()

    assert value(text, "idempotency_requests_total", policy="payments", result="executed", worker="1") == 1
    assert value(text, "idempotency_worker_up", worker="0") == 1, "it answered, if with nothing"


def test_labels_that_need_escaping_stay_what_they_are() -> None:
    odd = 'a "quoted" \\ policy\nof two lines'

    text = merged({0: exposed(executed=1, policy=odd)}).decode()

    assert value(text, "idempotency_requests_total", policy=odd, result="executed", worker="0") == 1
