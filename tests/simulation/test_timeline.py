"""Virtual time keeps its order, and the same seed is the same schedule."""

import pytest

from tests.simulation.drawing import draw
from tests.simulation.timeline import Alarm, Endless, Timeline
from tests.simulation.world import World


def test_things_happen_in_the_order_of_their_time_and_then_of_their_asking() -> None:
    timeline, happened = Timeline(), list[str]()
    timeline.after(5, happened.append, "third")
    timeline.after(2, happened.append, "first")
    timeline.after(2, happened.append, "second")

    timeline.run()

    assert happened == ["first", "second", "third"]
    assert timeline.now == 5
    assert timeline.seconds() == 0.005


def test_what_goes_round_in_circles_is_stopped() -> None:
    timeline = Timeline()

    def again() -> None:
        timeline.after(1, again)

    again()

    with pytest.raises(Endless):
        timeline.run()


def test_an_alarm_rings_once_and_not_when_it_was_taken_back() -> None:
    rung = list[str]()
    alarm, cancelled = Alarm(lambda: rung.append("rings")), Alarm(lambda: rung.append("never"))

    alarm.ring()
    alarm.ring()
    cancelled.cancel()
    cancelled.ring()

    assert rung == ["rings"]


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_is_the_same_schedule(seed: int) -> None:
    first, second = list[str](), list[str]()

    World(draw(seed), trace=first).run()
    World(draw(seed), trace=second).run()

    assert first == second
    assert len(first) > len(draw(seed).calls)
