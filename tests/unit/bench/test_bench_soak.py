"""The mixture of a soak, and what is concluded from its readings."""

from collections import Counter
from typing import cast

import pytest

from bench.errors import BenchError
from bench.load.client import Connection, Response
from bench.results import Reading
from bench.soak import Kind, Mixture, conclude, kind_of


class Recorder:
    """Keeps what a mixture sends."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str | None, bytes]] = []

    def send(self, path: str, key: str | None, body: bytes) -> None:
        self.sent.append((path, key, body))


def test_ten_requests_are_five_new_three_replays_one_without_a_key_and_one_reuse() -> None:
    kinds = Counter(
        "keyless" if kind.key is None else "reused" if kind.altered else "replay" if kind.replayed else "new"
        for kind in map(kind_of, range(5_000, 5_010))
    )

    assert kinds == {"new": 5, "replay": 3, "keyless": 1, "reused": 1}


def test_a_replayed_or_reused_key_was_new_a_while_ago() -> None:
    for number in range(2_000, 2_100):
        kind = kind_of(number)
        if kind.replayed or kind.altered:
            assert kind.key is not None
            assert kind_of(kind.key) == Kind(kind.key)
            assert 1_000 <= number - kind.key < 1_010


def test_before_there_is_anything_to_replay_everything_is_new() -> None:
    assert {kind_of(number) for number in range(10)} == {Kind(number) for number in range(10)}


def test_a_reused_key_comes_with_another_body() -> None:
    recorder, mixture = Recorder(), Mixture()
    for number in (1_000, 2_005, 2_009, 2_008):
        mixture.send(cast("Connection", recorder), number)

    (first, replay, reuse, keyless) = recorder.sent

    assert first == replay == ("/100/soak", "soak-1000", first[2])
    assert reuse[1] == "soak-1000"
    assert reuse[2] != first[2]
    assert keyless[1] is None


@pytest.mark.parametrize(
    ("number", "status", "replayed"), [(2_000, 200, False), (2_005, 200, True), (2_009, 422, False)]
)
def test_each_kind_has_one_right_answer(number: int, status: int, *, replayed: bool) -> None:
    right = Response(status, {"idempotent-replayed": "true"} if replayed else {}, b"")
    Mixture.check(right, number)

    with pytest.raises(BenchError, match=f"request {number} of the soak was answered 500"):
        Mixture.check(Response(500, {}, b""), number)


def test_a_replay_that_was_executed_again_is_found() -> None:
    with pytest.raises(BenchError, match="replayed: False"):
        Mixture.check(Response(200, {}, b""), 2_005)


def test_the_line_leaves_out_the_warm_up() -> None:
    warm = [Reading(float(second), 50.0 + second, 20 + second) for second in range(0, 60, 5)]
    flat = [Reading(float(second), 110.0 + second / 3600, 80) for second in range(60, 240, 5)]

    result = conclude("native", 4, 500.0, 120_000, warm + flat, 0.5, "abc1234")

    assert (result.warm_up_s, result.commit) == (60, "abc1234")
    assert result.slope_mib_per_h == pytest.approx(1.0, rel=1e-3)
    assert result.descriptors_per_h == 0
    assert len(result.readings) == len(warm + flat)


def test_a_soak_too_short_for_a_line_is_refused() -> None:
    with pytest.raises(BenchError, match="too short for a line"):
        conclude("native", 0.01, 500.0, 1, [Reading(0.0, 50.0, 20)], 0.5, "abc1234")
