"""Limits: what they count, and which of them make no sense."""

import pytest

from sidecar.extproc.transport.native.faults import ErrorCode, H2ConnectionError
from sidecar.extproc.transport.native.limits import Allowance, Budget, Limits


def spend(budget: Budget, times: int, now: float) -> None:
    for _ in range(times):
        budget.spend(now)


def test_a_budget_allows_a_burst_and_not_one_more() -> None:
    budget = Budget(Allowance(3, 1), "cats", 100.0)
    spend(budget, 3, 100.0)

    with pytest.raises(H2ConnectionError, match="too many cats") as raised:
        budget.spend(100.0)

    assert raised.value.code == ErrorCode.ENHANCE_YOUR_CALM


def test_a_budget_is_earned_back_in_time() -> None:
    budget = Budget(Allowance(3, 2), "cats", 0.0)
    spend(budget, 3, 0.0)

    spend(budget, 2, 1.0)

    with pytest.raises(H2ConnectionError):
        budget.spend(1.4)


def test_no_more_is_earned_than_the_burst() -> None:
    budget = Budget(Allowance(3, 2), "cats", 0.0)
    spend(budget, 3, 1000.0)

    with pytest.raises(H2ConnectionError):
        budget.spend(1000.0)


def test_a_window_below_the_default_is_refused_for_a_client_may_use_the_default_first() -> None:
    with pytest.raises(ValueError, match="allowed: at least 65535"):
        Limits(stream_window=65_534)
    with pytest.raises(ValueError, match="allowed: at least 65535"):
        Limits(connection_window=1000)


def test_a_message_must_have_room() -> None:
    with pytest.raises(ValueError, match="allowed: at least 1005"):
        Limits(message_size=1000, large_messages=1004)
