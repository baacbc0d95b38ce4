"""Envoy waits longer than the sidecar may take."""

import pytest

from sidecar.envoyconf.timing import (
    max_message_timeout_ms,
    message_timeout_ms,
    origin_idle_ms,
    stream_idle_ms,
)
from sidecar.idempotency.policy import Execution, InProgress, Mode, Policies, Policy


def policies(*, wait_ms: int = 0, deadline_ms: int | None = None, mode: Mode = Mode.ENFORCE) -> Policies:
    """One policy with its defaults, and one with these."""
    tried = Policy("tried", mode=mode, in_progress=InProgress(wait_ms=wait_ms))
    if deadline_ms is not None:
        tried = Policy(
            "tried",
            mode=mode,
            in_progress=InProgress(wait_ms=wait_ms),
            execution=Execution.DETACHED,
            deadline_ms=deadline_ms,
        )
    return Policies((Policy("default"), tried))


@pytest.mark.parametrize(("store_ms", "envoy_ms"), [(1, 1000), (250, 1000), (251, 1002), (10_000, 20_500)])
def test_envoy_outwaits_two_store_operations(store_ms: int, envoy_ms: int) -> None:
    assert message_timeout_ms(store_ms) == envoy_ms


@pytest.mark.parametrize(
    ("wait_ms", "deadline_ms", "envoy_ms"),
    [
        (0, None, 60_000),
        (35_000, None, 60_000),
        (35_001, None, 60_001),
        (0, 60_000, 85_000),
        (3_600_000, 3_600_000, 7_225_000),
    ],
)
def test_what_an_exchange_may_ask_for_fits_into_the_extended_timeout(
    wait_ms: int, deadline_ms: int | None, envoy_ms: int
) -> None:
    assert max_message_timeout_ms(policies(wait_ms=wait_ms, deadline_ms=deadline_ms), 250) == envoy_ms


def test_without_policies_the_timeouts_are_the_ordinary_ones() -> None:
    nothing = Policies(())

    assert max_message_timeout_ms(nothing, 250) == 60_000
    assert stream_idle_ms(nothing) == origin_idle_ms(nothing) == 300_000


@pytest.mark.parametrize(
    ("wait_ms", "deadline_ms", "main_ms", "origin_ms"),
    [
        (0, None, 300_000, 300_000),
        (400_000, None, 430_000, 300_000),
        (0, 270_000, 300_000, 300_000),
        (0, 600_000, 630_000, 630_000),
        (400_000, 600_000, 1_030_000, 630_000),
    ],
)
def test_a_request_may_be_silent_for_as_long_as_its_policy_lets_it(
    wait_ms: int, deadline_ms: int | None, main_ms: int, origin_ms: int
) -> None:
    tried = policies(wait_ms=wait_ms, deadline_ms=deadline_ms)

    assert (stream_idle_ms(tried), origin_idle_ms(tried)) == (main_ms, origin_ms)


def test_a_policy_that_is_off_does_not_count() -> None:
    off = policies(wait_ms=3_600_000, deadline_ms=3_600_000, mode=Mode.OFF)

    assert max_message_timeout_ms(off, 250) == 60_000
    assert stream_idle_ms(off) == 300_000
