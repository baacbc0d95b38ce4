"""Timers of many exchanges: each is told once, in time and in order, and the loop is asked for few."""

import asyncio
from typing import cast

import pytest

from sidecar.exchange.events import RenewalDue, TimerEvent, WaitOver
from sidecar.extproc.timers import Timers
from tests.unit.extproc.driver_scene import VirtualLoop

RENEWAL, OVER = RenewalDue(), WaitOver()


class Watch:
    """Timers under a clock that the test winds, and what they told."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.timers = Timers(cast("asyncio.AbstractEventLoop", self.loop))
        self.told: list[TimerEvent] = []


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_a_timer_is_told_once_when_it_is_due_and_not_before(watch: Watch) -> None:
    watch.timers.start(10_000, watch.told.append, RENEWAL)

    watch.loop.wind(9.999)
    assert watch.told == []
    watch.loop.wind(0.001)
    assert watch.told == [RENEWAL]
    watch.loop.wind(100)
    assert watch.told == [RENEWAL]


def test_a_cancelled_timer_is_never_told_and_may_be_cancelled_again(watch: Watch) -> None:
    timer = watch.timers.start(1000, watch.told.append, RENEWAL)

    timer.cancel()
    timer.cancel()
    watch.loop.wind(2)

    assert watch.told == []
    timer.cancel()


def test_timers_of_one_delay_are_told_in_the_order_they_were_started(watch: Watch) -> None:
    first, second = RenewalDue(), RenewalDue()
    watch.timers.start(1000, watch.told.append, first)
    watch.loop.wind(0.5)
    watch.timers.start(1000, watch.told.append, second)

    watch.loop.wind(0.5)
    assert [told is first for told in watch.told] == [True]
    watch.loop.wind(0.5)
    assert [told is second for told in watch.told] == [False, True]


def test_a_shorter_delay_does_not_wait_behind_a_longer_one(watch: Watch) -> None:
    watch.timers.start(10_000, watch.told.append, RENEWAL)
    watch.timers.start(2000, watch.told.append, OVER)

    watch.loop.wind(2)

    assert watch.told == [OVER]


def test_the_timer_behind_a_cancelled_one_is_told_in_time(watch: Watch) -> None:
    first = watch.timers.start(1000, watch.told.append, OVER)
    watch.loop.wind(0.5)
    watch.timers.start(1000, watch.told.append, RENEWAL)
    first.cancel()

    watch.loop.wind(0.5)
    assert watch.told == []
    watch.loop.wind(0.5)
    assert watch.told == [RENEWAL]


def test_a_timer_may_start_the_next_and_cancel_others_when_it_is_told(watch: Watch) -> None:
    def again(event: TimerEvent) -> None:
        watch.told.append(event)
        other.cancel()
        watch.timers.start(1000, watch.told.append, OVER)

    watch.timers.start(1000, again, RENEWAL)
    other = watch.timers.start(1000, watch.told.append, RENEWAL)

    watch.loop.wind(1)
    assert watch.told == [RENEWAL]
    watch.loop.wind(1)
    assert watch.told == [RENEWAL, OVER]


def test_however_many_run_the_loop_has_one_timer_for_each_delay_and_keeps_none_that_is_over(
    watch: Watch,
) -> None:
    for _ in range(1000):
        watch.timers.start(10_000, watch.told.append, RENEWAL).cancel()
        watch.timers.start(20_000, watch.told.append, RENEWAL)

    assert len(watch.loop.timers) == 2
    watch.loop.wind(20)
    assert len(watch.told) == 1000
    assert watch.loop.timers == []
