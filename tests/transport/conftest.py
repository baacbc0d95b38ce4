"""The native transport serves on asyncio's loop and on uvloop, which workers use: its tests run on both."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loops that an asynchronous test runs on, one after the other."""
    del config
    asyncio_loop: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    return asyncio_loop | {"uvloop": uvloop.new_event_loop} if "native" in item.path.name else asyncio_loop
