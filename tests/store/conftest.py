from collections.abc import Iterator

import pytest

from tests.stack.event_loops import ASYNCIO, BOTH, LoopFactories
from tests.stack.valkey import Server, redis_server, start_server, start_valkey

for module in (
    "store_scenes",
    "claiming_contract",
    "settling_contract",
    "large_bodies_contract",
    "waiting_contract",
    "writing_contract",
    "begun",
):
    pytest.register_assert_rewrite(f"tests.store.{module}")


_ON_BOTH_LOOPS = {"test_redis_handshake.py", "test_redis_multiplexing.py"}
"""What deals with the loop's transports itself."""


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> LoopFactories:
    """The loops that an asynchronous test runs on, one after the other."""
    del config
    return BOTH if item.path.name in _ON_BOTH_LOOPS else ASYNCIO


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded Valkey, one for the whole run; tests keep apart by their prefixes."""
    with start_valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def redis7(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The machine's own Redis, one for the whole run."""
    binary = redis_server()
    if binary is None:
        pytest.skip("no redis-server on this machine")
    with start_server(binary, tmp_path_factory.mktemp("redis")) as server:
        yield server
