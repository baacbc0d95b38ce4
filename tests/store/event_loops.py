"""Tests that run on asyncio's event loop and on uvloop, whose transports are not the same."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import pytest
import uvloop

Scenario: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


def on_both_loops(scenario: Scenario) -> Callable[..., None]:
    """Make a coroutine function that takes fixtures two tests, one on each loop."""

    @pytest.mark.parametrize(
        "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    def test(new_loop: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(scenario(**fixtures))

    fixtures = inspect.signature(scenario).parameters.values()
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    test.__name__, test.__doc__ = scenario.__name__, scenario.__doc__
    both: Callable[..., None] = test
    vars(test)["__signature__"] = inspect.Signature(
        [*fixtures, new_loop]
    )  # what pytest reads the fixtures from
    return both
