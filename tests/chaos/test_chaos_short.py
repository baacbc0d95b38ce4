"""A short run of the chaos in the ordinary test suite: another seed each time, printed."""

import random

import pytest
from rich.console import Console

from tests.chaos.history import Ending
from tests.chaos.report import show
from tests.chaos.run import Script, perform

DURATION_S = 12.0


@pytest.mark.timeout(180)
async def test_no_promise_is_broken_while_everything_breaks() -> None:
    script = Script(random.SystemRandom().randrange(1_000_000), DURATION_S)
    console = Console(width=160)
    console.print(f"seed {script.seed}")

    outcome = await perform(script, console.print)

    show(outcome, console)
    history = outcome.history
    assert history.occurrences
    assert sum(exchange.answer.replayed for exchange in history.exchanges) > len(history.keys) / 2
    assert sum(probe.answer.ending is Ending.COMPLETE for probe in history.probes) > len(history.probes) / 2
    assert not outcome.violations, outcome.violations
