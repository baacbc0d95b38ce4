"""What the load generators print, and what becomes of it."""

import sys

import pytest

from bench.errors import BenchError, UnavailableError
from bench.load import h2load, wrk
from bench.load.outcome import Outcome
from bench.load.request import Keys, Request

WRK = """\
Running 2s test @ http://127.0.0.1:1/100/call
  1 threads and 32 connections
Requests/sec: 122707.54
{"requests":5000,"duration_us":2100800,"status_errors":7,"lost":3,"p50_us":221,"p99_us":508}
"""
H2LOAD = """\
finished in 2.02s, 14.85 req/s, 1.43KB/s
requests: 40 total, 48 started, 40 done, 30 succeeded, 10 failed, 0 errored, 0 timeout
status codes: 30 2xx, 0 3xx, 9 4xx, 1 5xx
traffic: 2.9KB (2926) total, 1.02KB (1046) headers (space savings 59.0%), 1.27KB (1300) data
"""


def test_wrk_gives_counts_duration_and_percentiles() -> None:
    assert wrk.parse(WRK) == Outcome(5000, 2.1008, errors=7, lost=3, p50_us=221, p99_us=508)


def test_wrk_without_figures_is_an_error_that_shows_what_it_said() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        wrk.parse("unable to connect to 127.0.0.1:1 Connection refused")


def test_h2load_gives_answers_and_errors_but_no_percentiles() -> None:
    outcome = h2load.parse(H2LOAD, 2)

    assert outcome == Outcome(40, 2, errors=10, lost=0)
    assert outcome.p50_us is None


def test_answers_that_h2load_never_got_are_lost() -> None:
    broken = H2LOAD.replace("0 errored", "5 errored")

    assert h2load.parse(broken, 2).lost == 5


def test_h2load_without_figures_is_an_error() -> None:
    with pytest.raises(BenchError, match="no figures"):
        h2load.parse("nothing", 2)


async def test_h2load_cannot_make_a_key_for_every_request() -> None:
    with pytest.raises(BenchError, match="needs wrk"):
        await h2load.burst(Request("http://127.0.0.1:1", Keys.UNIQUE), streams=8, seconds=1)


async def test_a_generator_that_fails_is_quoted() -> None:
    with pytest.raises(BenchError, match="no such host"):
        await wrk.output_of([sys.executable, "-c", "import sys; sys.exit('no such host')"])


@pytest.mark.parametrize("find", [wrk.find_wrk, h2load.find_h2load])
def test_a_generator_that_is_not_installed_is_named_with_its_package(
    find: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(UnavailableError, match="Debian's package"):
        find()  # type: ignore[operator] # one of the two functions above


def test_an_outcome_of_errors_is_what_conflicts_are() -> None:
    conflicts = Outcome(100, 1.0, errors=100)

    assert conflicts.expect("conflicts", errors=True) is conflicts
    with pytest.raises(BenchError, match="100 were errors where 0 were expected"):
        conflicts.expect("new keys", errors=False)


@pytest.mark.parametrize("outcome", [Outcome(0, 1.0, errors=0), Outcome(10, 1.0, errors=0, lost=1)])
def test_no_answers_or_lost_ones_are_no_measurement(outcome: Outcome) -> None:
    with pytest.raises(BenchError, match="native new"):
        outcome.expect("native new", errors=False)


def test_percentiles_are_ranks_of_the_latencies() -> None:
    outcome = Outcome.of_latencies([number / 1000 for number in range(1, 101)], 10.0)

    assert outcome.requests == 100
    assert outcome.p50_us == pytest.approx(51_000)
    assert outcome.p99_us == pytest.approx(100_000)


def test_a_single_latency_is_every_percentile() -> None:
    outcome = Outcome.of_latencies([0.002], 1.0)

    assert outcome.p50_us == outcome.p99_us == 2000
