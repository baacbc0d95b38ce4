"""A failover behind one address, such as a Kubernetes Service: new connections reach the new primary."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.idempotency.claim import Claimed, Recorded
from sidecar.store.port import StoreUnavailableError
from sidecar.store.redis.store import RedisStore
from tests.stack.valkey import Server, start_valkey
from tests.store.redis_entries import command
from tests.store.redis_links import proxied
from tests.store.store_scenes import HOLD, PATIENT_MS, RECORD, ask, take, wanted


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with start_valkey(tmp_path / "old") as old, start_valkey(tmp_path / "new") as new:
        yield old, new


async def test_the_new_primary_is_asked_though_the_old_one_lives_on_as_its_replica(
    pair: tuple[Server, Server],
) -> None:
    old, new = pair
    async with proxied(old.port) as (proxy, port):
        address = f"redis://127.0.0.1:{port}/0"
        store = RedisStore.from_url(address, prefix="idem", timeout_ms=PATIENT_MS)
        first = RedisStore.from_url(old.url, prefix="idem", timeout_ms=PATIENT_MS)
        second = RedisStore.from_url(new.url, prefix="idem", timeout_ms=PATIENT_MS)
        await command(first, "CONFIG", "SET", "repl-diskless-sync-delay", 0)
        await command(second, "REPLICAOF", "127.0.0.1", old.port)
        await store.complete(await take(store, wanted("a", "kept")), RECORD)
        assert await command(store, "WAIT", 1, 5000) == 1

        await command(second, "REPLICAOF", "NO", "ONE")
        await command(first, "REPLICAOF", "127.0.0.1", new.port)
        proxy.port = new.port
        with pytest.raises(StoreUnavailableError, match="the server is a read-only replica"):
            await store.claim(wanted("b", "new"), HOLD)

        assert await ask(store, wanted("b", "new"), HOLD) == Claimed(1)
        assert isinstance(await ask(store, wanted("b", "kept"), HOLD), Recorded)
        assert proxy.accepted == 2
        for each in (store, first, second):
            await each.close()
