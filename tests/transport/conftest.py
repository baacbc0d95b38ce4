"""The native transport serves on asyncio's loop and on uvloop, which workers use: its tests run on both."""

import pytest

from tests.stack.event_loops import ASYNCIO, BOTH, LoopFactories


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    """The loops that an asynchronous test runs on, one after the other."""
    del config
    return BOTH if "native" in item.path.name else ASYNCIO
