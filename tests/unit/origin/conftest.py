"""The origin's client runs on uvloop in workers and on asyncio's loop elsewhere: its tests run on both."""

import pytest

from tests.stack.event_loops import BOTH, LoopFactories


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    """The loops that an asynchronous test runs on, one after the other."""
    del config, item
    return BOTH
