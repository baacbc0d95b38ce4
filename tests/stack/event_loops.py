"""The event loops that asynchronous code runs on: workers' uvloop, and asyncio's, whose transports differ."""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import uvloop

LoopFactories: TypeAlias = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
"""What pytest-asyncio's hook `pytest_asyncio_loop_factories` gives: each test runs on each of them."""

ASYNCIO: LoopFactories = MappingProxyType({"asyncio": asyncio.new_event_loop})
BOTH: LoopFactories = MappingProxyType({**ASYNCIO, "uvloop": uvloop.new_event_loop})
