"""How a chaos run is told."""

import io
import json

from rich.console import Console

from tests.chaos.evidence import Evidence, store_id, timeline
from tests.chaos.history import Answer, Ending
from tests.chaos.judge import judge
from tests.chaos.plan import Kind
from tests.chaos.report import as_json, closing, counts, show
from tests.chaos.run import Outcome, Script
from tests.unit.chaos.fabricated import Story, said


def a_story() -> Story:
    story = Story()
    first = story.executes("request-0")
    story.asks(said(first, story.key), request="request-0")
    story.refused("store-unavailable")
    story.asks(Answer(Ending.COMPLETE, 503))
    story.asks(Answer(Ending.CUT, 201))
    story.asks(said(first, story.key, replayed=True), final=True)
    story.breaks(Kind.STORE_STOPPED, "store", 1.0, 2.0)
    story.probes(Answer(Ending.COMPLETE, 200))
    return story


def outcome_of(story: Story, *evidence: Evidence) -> Outcome:
    return Outcome(Script(7, 90.0), story.history, judge(story.history), list(evidence), seconds=99.6)


def broken() -> Outcome:
    story = a_story()
    story.executes("request-9", attempt="2", status=502)
    evidence = Evidence(story.key.identity, "abc", timeline(story.key, story.history))
    return outcome_of(story, evidence)


def rendered(outcome: Outcome) -> str:
    stream = io.StringIO()
    show(outcome, Console(file=stream, width=200))
    return stream.getvalue()


def test_everything_is_counted_by_what_it_was() -> None:
    counted = counts(outcome_of(a_story()))
    assert counted["faults injected"] == {"store frozen": 1}
    assert counted["calls with a key, by result"] == {
        "201 by the upstream": 1,
        "503 store-unavailable": 1,
        "503 by Envoy": 1,
        "cut short": 1,
        "201 replayed": 1,
    }
    assert counted["calls without a key"] == {"200": 1}
    assert counted["keys"] == {"201 replayed": 1}
    assert counted["executions"] == {"answered 201": 1}
    assert counted["violations"] == {}


def test_a_key_that_is_held_though_it_never_executed_is_told_apart() -> None:
    story = Story()
    story.refused("outcome-unknown", final=True)
    assert counts(outcome_of(story))["keys"] == {"409 outcome-unknown, never executed": 1}
    assert counts(outcome_of(Story()))["keys"] == {"not asked for in the end": 1}


def test_a_run_in_which_nothing_was_broken_says_so() -> None:
    text = rendered(outcome_of(a_story()))
    assert "Chaos, seed 7" in text
    assert text.rstrip().endswith("No promise was broken (100 s, seed 7).")


def test_a_broken_promise_is_told_with_all_that_is_known_and_how_to_run_it_again() -> None:
    text = rendered(broken())
    assert "VIOLATION executed twice (hold/alice/key-1): executions 1 and 2" in text
    assert "request-0 on stack 0" in text
    assert "FAULT store frozen: store" in text
    assert "EXECUTION 2 for request-9, attempt 2" in text
    assert "python -m tests.chaos --seed 7 --minutes 1.5" in closing(broken())


def test_machines_get_everything() -> None:
    document = json.loads(as_json(broken()))
    assert document["seed"] == 7
    assert document["minutes"] == 1.5
    assert {violation["key"] for violation in document["violations"]} == {"hold/alice/key-1"}
    assert document["evidence"][0]["record_id"] == "abc"
    assert document["counts"]["violations"]["executed twice"] == 1


def test_a_timeline_is_in_order_and_leaves_out_what_was_elsewhere() -> None:
    story = a_story()
    story.breaks(Kind.ENVOY_KILLED, "stack 1", 500, 501)
    lines = timeline(story.key, story.history)
    moments = [float(line.split()[0]) for line in lines]
    assert moments == sorted(moments)
    assert not any("stack 1" in line for line in lines if "FAULT" in line)


def test_the_id_in_the_store_depends_on_the_caller_and_the_host() -> None:
    story = Story()
    assert len(store_id(story.key, "a.test")) == 64
    assert store_id(story.key, "a.test") != store_id(story.key, "b.test")
