"""How the guided run is shown."""

import io
import json

import pytest
from rich.console import Console

from sidecar.demo.performance import Performance
from sidecar.demo.programme import Programme
from sidecar.demo.report import as_json, closing, lines, table
from sidecar.demo.scenes import SCRIPTS, Exchange, Scene

KEPT = Scene(
    "Replay", "a retry gets it", (Exchange("POST /x", "201"), Exchange("again", "201 (replayed)")), 1, ()
)
RACE = Scene("Race", "one executes", (Exchange("POST /x", "1 x 201\n19 x 409"),), 1, ())
BROKEN = Scene(
    "Replay", "a retry gets it", (Exchange("POST /x", "201"),), 2, ("the same bytes", "executed once")
)
ALL_KEPT = Performance((KEPT,) * len(SCRIPTS), 5.2)


def rendered(scene: Scene, width: int) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(table([scene], width=width))
    return stream.getvalue()


def test_the_table_shows_each_exchange_the_count_and_the_verdict() -> None:
    text = rendered(KEPT, 120)
    for part in ("Replay", "a retry gets it", "POST /x", "201 (replayed)", "once", "✓"):
        assert part in text
    assert "✗" not in text


def test_the_table_names_each_broken_promise() -> None:
    text = rendered(BROKEN, 120)
    assert "not: the same bytes, executed once" in text
    assert "✗" in text
    assert "twice" in text
    assert "✓" not in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_fits_its_terminal(width: int) -> None:
    assert max(map(len, rendered(BROKEN, width).splitlines())) <= width


def test_as_plain_text_each_scene_is_a_paragraph() -> None:
    assert lines(3, RACE) == (
        "3. Race: one executes\n"
        "   sent      POST /x\n"
        "   came back 1 x 201\n"
        "             19 x 409\n"
        "   executed  once - as promised"
    )
    assert lines(1, BROKEN).endswith("executed  twice - NOT AS PROMISED: the same bytes; executed once")


def test_the_closing_line_counts_what_was_kept() -> None:
    assert closing(ALL_KEPT).startswith(
        "All 7 scenes as promised, 7 payments executed, none of them twice (5.2 s)."
    )
    assert closing(Performance((KEPT, BROKEN), 5.0)) == "Only 1 of 7 scenes went as promised (5 s)."


def test_a_run_that_broke_off_is_not_as_promised() -> None:
    assert ALL_KEPT.as_promised
    assert not Performance((KEPT,), 1.0).as_promised
    assert not Performance((*ALL_KEPT.scenes[1:], BROKEN), 1.0).as_promised


def test_machines_get_everything() -> None:
    document = json.loads(as_json(Performance((BROKEN,), 1.5)))
    assert document == {
        "as_promised": False,
        "seconds": 1.5,
        "scenes": [
            {
                "title": "Replay",
                "promise": "a retry gets it",
                "exchanges": [{"sent": "POST /x", "received": "201"}],
                "executed": 2,
                "broken": ["the same bytes", "executed once"],
                "as_promised": False,
            }
        ],
    }


def programme_on(*, terminal: bool, quiet: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=120, force_terminal=terminal, quiet=quiet, highlight=False)
    with Programme(console=console) as programme:
        programme.ready("http://127.0.0.1:8080")
        for _ in SCRIPTS:
            programme.played(KEPT)
    return stream.getvalue()


def test_elsewhere_than_on_a_terminal_it_is_plain_text() -> None:
    text = programme_on(terminal=False)
    assert "Envoy listens on http://127.0.0.1:8080" in text
    assert "1. Replay: a retry gets it" in text
    assert f"{len(SCRIPTS)}. Replay" in text
    assert "\x1b" not in text
    assert "│" not in text


def test_on_a_terminal_the_table_grows_and_stays() -> None:
    text = programme_on(terminal=True)
    assert "Starting a payments service" in text
    last_table = text.rpartition("╭")[2]
    assert last_table.count("✓") == len(SCRIPTS)
    assert "…" not in last_table, "nothing pretends to go on when all is done"


def test_quiet_means_silent() -> None:
    assert programme_on(terminal=False, quiet=True) == ""
