"""The store contract over a real server; subclasses provide the fixture `server`."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from sidecar.store.port import Store
from sidecar.store.redis.store import RedisStore
from tests.stack.valkey import Server
from tests.store.contract import StoreContract


class ServerClock:
    """The server's own time, waited for by asking it."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store

    async def now_ms(self) -> float:
        match await self._store._commands.call(("TIME",)):
            case [bytes(seconds), bytes(microseconds)]:
                return int(seconds) * 1000 + int(microseconds) / 1000
        raise AssertionError("TIME answers with two numbers")

    async def advance(self, ms: int) -> None:
        until = await self.now_ms() + ms
        while (now := await self.now_ms()) < until:  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep((until - now) / 1000)


class RedisContract(StoreContract):
    """`StoreContract` with a store and a clock of the fixture `server`."""

    @pytest.fixture
    async def redis(self, server: Server) -> AsyncIterator[RedisStore]:
        store = RedisStore.from_url(server.url, prefix=f"t-{uuid.uuid4().hex}", timeout_ms=5000)
        yield store
        await store.close()

    @pytest.fixture
    def store(self, redis: RedisStore) -> Store:
        return redis

    @pytest.fixture
    def clock(self, redis: RedisStore) -> ServerClock:
        return ServerClock(redis)
