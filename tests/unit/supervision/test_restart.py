"""When a process that died is started again, and when not any more."""

from sidecar.supervision.restart import DeathRecord, RestartPolicy


def test_each_death_in_a_row_waits_twice_as_long() -> None:
    deaths = DeathRecord(RestartPolicy(first_delay_s=0.5))
    assert [deaths.add(now) for now in (0.0, 1.0, 2.0, 3.0)] == [0.5, 1.0, 2.0, 4.0]


def test_the_wait_has_a_limit() -> None:
    deaths = DeathRecord(RestartPolicy(deaths=10, first_delay_s=1.0, max_delay_s=5.0))
    assert [deaths.add(0.0) for _ in range(6)] == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]


def test_the_fifth_death_within_thirty_seconds_is_the_last() -> None:
    deaths = DeathRecord(RestartPolicy())
    for now in (0.0, 7.0, 14.0, 21.0):
        assert deaths.add(now) is not None
    assert deaths.add(29.9) is None


def test_deaths_long_ago_are_forgotten() -> None:
    deaths = DeathRecord(RestartPolicy(first_delay_s=0.1))
    for now in (0.0, 7.0, 14.0, 21.0):
        deaths.add(now)
    assert deaths.add(30.0) == 0.8, "the death at 0 is out of the window: this is the fourth in it"
    assert deaths.add(1000.0) == 0.1
