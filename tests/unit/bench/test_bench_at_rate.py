"""Latency at a rate: what is sent, what answers belong to it, what is concluded."""

from typing import cast

import pytest

from bench import at_rate
from bench.at_rate import PacedMeter
from bench.errors import BenchError
from bench.load.client import Connection, Response
from bench.load.outcome import Outcome
from bench.load.paced import Check, Send
from bench.point import Point, Sample, Scenario
from bench.rig import ALONE, NOOP
from bench.spread import Spread
from bench.subject import Subject

SUBJECT = Subject("native", "http://127.0.0.1:1", {}, "http://127.0.0.1:1")
REPLAYED = Response(200, {"idempotent-replayed": "true"}, b"")
Sent = tuple[str, str | None, bytes]


class Recorder:
    """A connection that keeps what it is sent, and answers as it is told to."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.answer = Response(200, {}, b"")

    def send(self, path: str, key: str | None, body: bytes) -> None:
        self.sent.append((path, key, body))

    async def request(self, path: str, key: str | None, body: bytes) -> Response:
        self.send(path, key, body)
        return self.answer

    async def __aenter__(self) -> "list[Recorder]":
        return [self]

    async def __aexit__(self, *_: object) -> None:
        return None


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Takes two requests of each burst."""
    recorder = Recorder()

    async def latencies(_: str, send: Send, check: Check, *, rate: float, seconds: float) -> list[float]:
        assert (rate, seconds) == (200, 10)
        for number in range(2):
            send(cast("Connection", recorder), number)
            check(recorder.answer, number)
        return [0.001, 0.002]

    monkeypatch.setattr(at_rate, "connected", lambda _: recorder)
    monkeypatch.setattr("bench.load.paced.latencies", latencies)
    return recorder


@pytest.mark.parametrize("scenario", [Scenario.NEW, Scenario.DETACHED])
async def test_new_keys_are_new_in_every_burst(connection: Recorder, scenario: Scenario) -> None:
    meter = PacedMeter()
    for _ in range(2):
        await meter.round(SUBJECT, Point("native", scenario), 10)

    keys = [key for _, key, _ in connection.sent]
    assert None not in keys
    assert len(set(keys)) == len(keys) == 4


@pytest.mark.parametrize(("scenario", "size"), [(Scenario.REPLAY, 100), (Scenario.REPLAY_BODYLESS, 0)])
async def test_a_replay_is_recorded_first_and_then_repeated(
    connection: Recorder, scenario: Scenario, size: int
) -> None:
    connection.answer = REPLAYED

    sample = await PacedMeter().round(SUBJECT, Point("native", scenario), 10)

    (first, *_) = connection.sent
    assert connection.sent == [first] * 4
    assert first[1] is not None
    assert len(first[2]) == size
    assert sample.outcome.requests == 2


async def test_a_request_without_a_key_bears_none(connection: Recorder) -> None:
    await PacedMeter().round(SUBJECT, Point("native", Scenario.KEYLESS), 10)

    assert {key for _, key, _ in connection.sent} == {None}


@pytest.mark.parametrize(
    ("answer", "scenario"),
    [
        (Response(500, {}, b""), Scenario.NEW),
        (Response(200, {}, b""), Scenario.REPLAY),
        (REPLAYED, Scenario.NEW),
    ],
)
async def test_an_answer_of_another_kind_is_found(
    connection: Recorder, answer: Response, scenario: Scenario
) -> None:
    connection.answer = answer

    with pytest.raises(BenchError, match=f"at 200/s: a request was answered {answer.status}"):
        await PacedMeter().round(SUBJECT, Point("native", scenario), 10)


def rounds(*percentiles_us: tuple[float, float]) -> list[Sample]:
    return [Sample(Outcome(2000, 10, 0, p50_us=p50, p99_us=p99)) for p50, p99 in percentiles_us]


def test_what_is_added_is_taken_in_each_round_from_envoy_alone_with_the_same_kind_of_request() -> None:
    alone, noop, native, replay, plain, keyless = at_rate.conclude(
        {
            Point(ALONE, Scenario.NEW): rounds((1000, 2000), (2000, 4000)),
            Point(NOOP, Scenario.NEW): rounds((1500, 3000), (2400, 7000)),
            Point("native", Scenario.NEW): rounds((2000, 5000), (3200, 6000)),
            Point("native", Scenario.REPLAY): rounds((900, 2000), (2100, 4000)),
            Point(ALONE, Scenario.KEYLESS): rounds((800, 1000), (800, 1000)),
            Point("native", Scenario.KEYLESS): rounds((810, 1000), (830, 1000)),
        }
    )

    assert alone.added_p50_us is plain.added_p50_us is None
    assert noop.added_p50_us == Spread(450, 400, 500, 2)
    assert (native.subject, native.rate, native.p50_us) == ("native", 200, Spread(2600, 2000, 3200, 2))
    assert native.added_p50_us == Spread(1100, 1000, 1200, 2)
    assert native.added_p99_us == Spread(2500, 2000, 3000, 2)
    assert replay.scenario is Scenario.REPLAY
    assert replay.added_p50_us == Spread(0, -100, 100, 2)
    assert keyless.added_p50_us == Spread(20, 10, 30, 2)


def test_nothing_is_added_to_what_was_not_measured() -> None:
    (native,) = at_rate.conclude({Point("native", Scenario.NEW): rounds((2000, 5000))})

    assert (native.p50_us.median, native.added_p50_us, native.added_p99_us) == (2000, None, None)
