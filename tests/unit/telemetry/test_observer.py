"""What exchanges report becomes the metrics of CONTRACT §8 and lines for operators."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from sidecar.exchange.effects import Count, CountOutcome
from sidecar.idempotency.claim import UnknownReason
from sidecar.idempotency.outcome import Outcome
from sidecar.origin.errors import DeadlineError
from sidecar.store.observing import RepeatEnd
from sidecar.store.port import StoreUnavailableError
from sidecar.telemetry.metrics import Metrics
from sidecar.telemetry.observer import Telemetry

ID = "a" * 64


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry(Metrics())


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


def samples(telemetry: Telemetry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The exposition, read as Prometheus would."""
    text = telemetry.metrics.render().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    return samples(telemetry).get((name, frozenset(labels.items())))


def test_requests_are_counted_by_policy_and_result(telemetry: Telemetry) -> None:
    for result in ("executed", "executed", "replayed"):
        telemetry.counted(Count("payments", result, ID, "req-1"))

    assert value(telemetry, "idempotency_requests_total", policy="payments", result="executed") == 2
    assert value(telemetry, "idempotency_requests_total", policy="payments", result="replayed") == 1


def test_outcomes_are_counted_by_policy_outcome_and_reason(telemetry: Telemetry) -> None:
    telemetry.settled(CountOutcome("payments", Outcome.RECORD, "status", ID, "r"))
    telemetry.settled(CountOutcome("payments", Outcome.UNKNOWN, UnknownReason.LOST_MID_RESPONSE, ID, "r"))

    name = "idempotency_outcomes_total"
    assert value(telemetry, name, policy="payments", outcome="record", reason="status") == 1
    assert value(telemetry, name, policy="payments", outcome="unknown", reason="lost-mid-response") == 1


@pytest.mark.parametrize("phase", ["request_headers", "response_body"])
def test_the_wait_for_an_answer_is_measured_by_phase(telemetry: Telemetry, phase: str) -> None:
    telemetry.answered(phase, 0.002)

    assert value(telemetry, "idempotency_exchange_seconds_count", phase=phase) == 1
    assert value(telemetry, "idempotency_exchange_seconds_sum", phase=phase) == 0.002
    assert value(telemetry, "idempotency_exchange_seconds_bucket", phase=phase, le="0.001") == 0
    assert value(telemetry, "idempotency_exchange_seconds_bucket", phase=phase, le="0.0025") == 1


def test_store_operations_are_measured_by_operation_and_result(
    telemetry: Telemetry, logged: list[Any]
) -> None:
    telemetry.stored("claim", "claimed", 0.001, None)

    count = value(telemetry, "idempotency_store_seconds_count", operation="claim", result="claimed")
    assert count == 1
    assert logged == []


def test_a_store_operation_that_failed_is_measured_and_warned_of(
    telemetry: Telemetry, logged: list[Any]
) -> None:
    telemetry.stored("complete", "error", 0.25, StoreUnavailableError("no answer within 250 ms"))

    assert value(telemetry, "idempotency_store_seconds_count", operation="complete", result="error") == 1
    assert logged == [
        {
            "event": "store operation failed",
            "log_level": "warning",
            "operation": "complete",
            "error": "no answer within 250 ms",
        }
    ]


@pytest.mark.parametrize("seconds", [0.002, 9.0, 45.0])
def test_detached_calls_are_measured_by_result_up_to_the_minute(
    telemetry: Telemetry, logged: list[Any], seconds: float
) -> None:
    telemetry.called("answered", seconds, None)

    assert value(telemetry, "idempotency_origin_seconds_count", result="answered") == 1
    assert value(telemetry, "idempotency_origin_seconds_sum", result="answered") == seconds
    assert value(telemetry, "idempotency_origin_seconds_bucket", result="answered", le="60.0") == 1
    assert logged == []


def test_a_detached_call_that_failed_is_measured_and_warned_of(
    telemetry: Telemetry, logged: list[Any]
) -> None:
    telemetry.called("deadline", 60.0, DeadlineError("no whole answer came within 60000 ms"))

    assert value(telemetry, "idempotency_origin_seconds_count", result="deadline") == 1
    assert logged == [
        {
            "event": "detached call failed",
            "log_level": "warning",
            "result": "deadline",
            "error": "no whole answer came within 60000 ms",
        }
    ]


@pytest.mark.parametrize(
    ("state", "is_open", "level"),
    [("open", 1, "warning"), ("half_open", 1, "warning"), ("closed", 0, "info")],
)
def test_the_circuit_in_front_of_the_store_is_shown_and_its_changes_told(
    telemetry: Telemetry, logged: list[Any], state: str, is_open: int, level: str
) -> None:
    telemetry.circuit(state)

    assert value(telemetry, "idempotency_store_circuit_open") == is_open
    assert logged == [{"event": "store circuit", "log_level": level, "state": state}]


def test_a_circuit_that_never_opened_is_closed(telemetry: Telemetry) -> None:
    assert value(telemetry, "idempotency_store_circuit_open") == 0


@pytest.mark.parametrize(
    ("error", "result", "line"),
    [
        (None, "held", {"event": "lost write made good", "log_level": "info"}),
        (
            StoreUnavailableError("no answer"),
            "error",
            {"event": "lost write given up", "log_level": "error"},
        ),
    ],
)
def test_the_end_of_a_lost_writes_repeats_is_told(
    telemetry: Telemetry,
    logged: list[Any],
    error: StoreUnavailableError | None,
    result: str,
    line: dict[str, str],
) -> None:
    telemetry.repeated(RepeatEnd("complete", ID, result, 3, 1.23456, error))

    assert logged == [
        {
            **line,
            "operation": "complete",
            "id": ID,
            "result": result,
            "tries": 3,
            "seconds": 1.235,
        }
    ]


def test_the_exposition_names_every_metric_of_the_contract(telemetry: Telemetry) -> None:
    telemetry.reloaded("applied")
    families = {f.name for f in text_string_to_metric_families(telemetry.metrics.render().decode())}

    assert value(telemetry, "idempotency_in_flight") == 0
    assert value(telemetry, "idempotency_config_reloads_total", result="applied") == 1
    # The client library adds the time at which each series began.
    families -= {name for name in families if name.endswith("_created")}
    assert families == {
        "idempotency_requests",
        "idempotency_outcomes",
        "idempotency_exchange_seconds",
        "idempotency_store_seconds",
        "idempotency_store_circuit_open",
        "idempotency_origin_seconds",
        "idempotency_in_flight",
        "idempotency_config_reloads",
    }


def test_two_workers_in_one_process_do_not_share_metrics() -> None:
    first, second = Telemetry(Metrics()), Telemetry(Metrics())

    first.opened()

    assert (value(first, "idempotency_in_flight"), value(second, "idempotency_in_flight")) == (1, 0)


def test_ordinary_decisions_are_logged_for_debugging_only(telemetry: Telemetry, logged: list[Any]) -> None:
    for result in ("executed", "replayed", "shadow_executed", "shadow_replayed"):
        telemetry.counted(Count("payments", result, ID, "req-1"))

    assert [line["log_level"] for line in logged] == ["debug"] * 4


@pytest.mark.parametrize(
    "result",
    [
        "in_progress",
        "key_reused",
        "key_missing",
        "key_expired",
        "body_too_large",
        "store_unavailable",
        "bypassed",
    ],
)
def test_a_refusal_is_logged_with_what_an_operator_needs_to_find_it(
    telemetry: Telemetry, logged: list[Any], result: str
) -> None:
    telemetry.counted(Count("payments", result, ID, "req-1"))

    assert logged == [
        {
            "event": "request decided",
            "log_level": "info",
            "policy": "payments",
            "result": result,
            "id": ID,
            "request_id": "req-1",
        }
    ]


def test_an_unknown_outcome_is_warned_of_and_a_known_one_is_not(
    telemetry: Telemetry, logged: list[Any]
) -> None:
    telemetry.settled(CountOutcome("payments", Outcome.RELEASE, "status", ID, "req-1"))
    telemetry.settled(CountOutcome("payments", Outcome.UNKNOWN, UnknownReason.ENVOY_REPLY, ID, "req-2"))

    assert [line["log_level"] for line in logged] == ["debug", "warning"]
    assert logged[1] == {
        "event": "execution ended",
        "log_level": "warning",
        "policy": "payments",
        "outcome": "unknown",
        "reason": "envoy-reply",
        "id": ID,
        "request_id": "req-2",
    }


def test_a_failed_stream_is_an_error_with_its_cause(telemetry: Telemetry, logged: list[Any]) -> None:
    bug = LookupError("a bug")
    telemetry.violated("RequestBody while CLAIMING", None)
    telemetry.violated("internal error", bug)

    assert [(line["log_level"], line["detail"], line["exc_info"]) for line in logged] == [
        ("error", "RequestBody while CLAIMING", None),
        ("error", "internal error", bug),
    ]


async def test_idle_waits_for_the_last_open_exchange(telemetry: Telemetry) -> None:
    await telemetry.idle()
    telemetry.opened()
    telemetry.opened()
    waiting = asyncio.create_task(telemetry.idle())
    telemetry.closed()
    await asyncio.sleep(0)
    assert not waiting.done()
    assert (telemetry.open_exchanges, value(telemetry, "idempotency_in_flight")) == (1, 1)

    telemetry.closed()
    async with asyncio.timeout(1):
        await waiting

    assert (telemetry.open_exchanges, value(telemetry, "idempotency_in_flight")) == (0, 0)
