"""The Redis store when its server is slow, gone, full, read-only or refuses; each test has its own server."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from sidecar.idempotency.claim import Claimed, Recorded
from sidecar.store.port import StoreUnavailableError
from sidecar.store.redis import waiting
from sidecar.store.redis.store import RedisStore
from tests.stack.ports import lasting_port
from tests.stack.valkey import Server, start_valkey
from tests.store.redis_entries import command
from tests.store.store_scenes import (
    HOLD,
    LARGE_RECORD,
    PATIENT_MS,
    RECORD,
    SOON_S,
    WRITES,
    Write,
    ask,
    every_write,
    take,
    under_way,
    wanted,
    whole,
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with start_valkey(tmp_path) as server:
        yield server


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RedisStore]:
    """A patient store: on a busy machine only what is meant to time out does."""
    store = RedisStore.from_url(url, prefix="idem", timeout_ms=10_000)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def frozen(server: Server, store: RedisStore, *, timeout_ms: int = 100) -> Iterator[None]:
    """The server accepts connections and answers nothing; afterwards it works off what it was sent.

    Meanwhile the store waits no longer than `timeout_ms`.
    """
    give(store, timeout_ms)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)
        give(store, 10_000)


def give(store: RedisStore, timeout_ms: int) -> None:
    """Let every operation of the store from now on take so long; none may be under way."""
    store._timeout_ms, store._commands._timeout_s = timeout_ms, timeout_ms / 1000
    for pipeline in store._commands._pipelines:
        pipeline._look_at_the_time()  # forget the timer, which was set for the earlier time-out


async def record_numbered(store: RedisStore, numbers: range) -> None:
    """Record under `id-N` a body that says N."""
    for number in numbers:
        claim = await take(store, wanted("a", f"id-{number}"))
        await store.complete(claim, replace(RECORD, body=str(number).encode()))


async def answer_numbered(store: RedisStore, number: int) -> None:
    """Ask for `id-N` and check that the answer is N's."""
    result = await ask(store, wanted("b", f"id-{number}"), HOLD)
    assert result == Recorded(replace(RECORD, body=str(number).encode()))


# A server that does not answer


@every_write
async def test_an_operation_on_a_frozen_server_ends_with_its_time(server: Server, write: Write) -> None:
    async with opened(server.url) as store:
        claim = await take(store, wanted("a"))
        with frozen(server, store), pytest.raises(StoreUnavailableError, match="no answer within 100 ms"):
            await write(store, claim)


async def test_after_a_time_out_every_answer_belongs_to_its_question(server: Server) -> None:
    async with opened(server.url) as store:
        await record_numbered(store, range(20))
        with frozen(server, store):
            results = await asyncio.gather(
                *(answer_numbered(store, number) for number in range(20)), return_exceptions=True
            )
        assert all(isinstance(result, StoreUnavailableError) for result in results), results
        for _ in range(3):
            await asyncio.gather(*(answer_numbered(store, number) for number in range(20)))


async def test_operations_on_a_frozen_server_end_together_not_one_after_the_other(server: Server) -> None:
    async with opened(server.url) as store:
        await store.ping()
        started = time.monotonic()
        with frozen(server, store):
            results = await asyncio.gather(*(store.ping() for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - started < 1.5  # one after the other they would take 2 s
        assert all(isinstance(result, StoreUnavailableError) for result in results), results
        await store.ping()


async def test_a_time_out_while_connecting_costs_no_connection(server: Server) -> None:
    async with opened(server.url) as store:
        with frozen(server, store):
            for _ in range(3):
                with pytest.raises(StoreUnavailableError):
                    await store.ping()
        await store.ping()


async def test_a_cancelled_operation_stays_cancelled_and_leaves_the_rest_in_step(server: Server) -> None:
    async with opened(server.url) as store:
        await record_numbered(store, range(4))
        with frozen(server, store, timeout_ms=10_000):
            tasks = [asyncio.create_task(answer_numbered(store, number)) for number in range(4)]
            await asyncio.sleep(0)  # all have sent their command
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results
        await asyncio.gather(*(answer_numbered(store, number) for number in range(4)))


@pytest.mark.parametrize("seed", range(5))
async def test_cancelled_at_any_moment_no_answer_goes_astray_and_no_connection_is_lost(
    server: Server, seed: int
) -> None:
    moments = random.Random(seed)
    async with opened(server.url) as store:
        await record_numbered(store, range(60))
        tasks = [asyncio.create_task(answer_numbered(store, number)) for number in range(60)]
        for _ in range(40):
            for _ in range(moments.randrange(4)):
                await asyncio.sleep(0)
            moments.choice(tasks).cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(result is None or isinstance(result, asyncio.CancelledError) for result in results)
        assert any(isinstance(result, asyncio.CancelledError) for result in results)
        await asyncio.gather(*(answer_numbered(store, number) for number in range(60)))
        assert [len(pipeline) for pipeline in store._commands._pipelines] == [0]


async def test_a_claim_whose_answer_was_lost_may_be_repeated(server: Server) -> None:
    async with opened(server.url) as store:
        await store.ping()
        with frozen(server, store), pytest.raises(StoreUnavailableError):
            await store.claim(wanted("a"), HOLD)
        assert await ask(store, wanted("a"), HOLD) == Claimed(1)


# A server that went away


async def test_a_refused_connection_is_named() -> None:
    port = lasting_port()
    async with opened(f"redis://127.0.0.1:{port}/3") as store:
        with pytest.raises(StoreUnavailableError) as refused:
            await store.claim(wanted("a"), HOLD)
    assert str(refused.value) == f"claim on 127.0.0.1:{port}/3: no connection (Connection refused)"


async def test_a_restarted_server_is_used_again_without_a_failed_operation(tmp_path: Path) -> None:
    port = lasting_port()
    async with opened(f"redis://127.0.0.1:{port}/0") as store:
        with start_valkey(tmp_path, port=port):
            await asyncio.gather(*(store.claim(wanted("a", f"id-{number}"), HOLD) for number in range(4)))
        with pytest.raises(StoreUnavailableError):
            await store.ping()
        with start_valkey(tmp_path, port=port):
            assert await ask(store, wanted("b", "id-0"), HOLD) == Claimed(1)


async def test_connections_that_the_server_closed_are_replaced(server: Server) -> None:
    async with opened(server.url) as store, opened(server.url) as operator:
        await asyncio.gather(*(store.ping() for _ in range(5)))
        await command(operator, "CLIENT", "KILL", "SKIPME", "yes")
        await command(operator, "PING")
        await asyncio.gather(*(store.ping() for _ in range(5)))


async def test_a_closed_store_holds_no_connection(server: Server) -> None:
    async with opened(server.url) as operator:
        async with opened(server.url) as store:
            await asyncio.gather(*(store.ping() for _ in range(5)))
        for _ in range(1000):
            clients = await command(operator, "CLIENT", "LIST")
            assert isinstance(clients, bytes)
            if clients.count(b"\n") == 1:
                break
        else:
            pytest.fail(f"still connected: {clients!r}")


# A server that refuses


async def test_a_replica_is_not_ready(server: Server) -> None:
    async with opened(server.url) as store:
        await command(store, "REPLICAOF", "127.0.0.1", lasting_port())
        with pytest.raises(StoreUnavailableError, match=r"ping on .*: the server is a read-only replica"):
            await store.ping()
        with pytest.raises(StoreUnavailableError, match=r"claim on .*: the server is a read-only replica"):
            await store.claim(wanted("a"), HOLD)


async def test_a_replica_without_its_primary_is_not_ready(server: Server) -> None:
    async with opened(server.url) as store:
        await command(store, "CONFIG", "SET", "replica-serve-stale-data", "no")
        await command(store, "REPLICAOF", "127.0.0.1", lasting_port())
        with pytest.raises(StoreUnavailableError, match="lost its primary"):
            await store.claim(wanted("a"), HOLD)


async def test_a_full_server_refuses_and_nothing_is_half_written(server: Server) -> None:
    async with opened(server.url) as store:
        claim = await take(store, wanted("a"))
        before = await command(store, "GET", "idem:id")
        await command(store, "CONFIG", "SET", "maxmemory", "1")
        operations = [
            store.ping(),
            store.claim(wanted("b", "other"), HOLD),
            *(write(store, claim) for write in WRITES.values()),
        ]
        for operation in operations:
            with pytest.raises(StoreUnavailableError, match="out of memory"):
                await operation
        await command(store, "CONFIG", "SET", "maxmemory", "0")
        assert await command(store, "GET", "idem:id") == before
        assert await store.complete(claim, RECORD) is True


async def test_a_server_that_lacks_the_replicas_it_wants_is_not_ready(server: Server) -> None:
    async with opened(server.url) as store:
        await command(store, "CONFIG", "SET", "min-replicas-to-write", "1")
        with pytest.raises(StoreUnavailableError, match="the server answered NOREPLICAS"):
            await store.ping()


async def test_a_database_that_does_not_exist_is_named(server: Server) -> None:
    async with opened(f"redis://127.0.0.1:{server.port}/99") as store:
        with pytest.raises(StoreUnavailableError, match="/99: the server has no database of that number"):
            await store.ping()


async def test_wrong_credentials_are_told_without_repeating_them(server: Server) -> None:
    async with opened(server.url) as operator:
        await command(operator, "CONFIG", "SET", "requirepass", "correct-horse")
    for secret in ("", ":battery-staple@", "someone:battery-staple@"):
        async with opened(f"redis://{secret}127.0.0.1:{server.port}/0") as store:
            with pytest.raises(StoreUnavailableError, match="the server refused the credentials") as refused:
                await store.ping()
            assert "staple" not in repr(refused.value)
            assert "someone" not in repr(refused.value)
    async with opened(f"redis://:correct-horse@127.0.0.1:{server.port}/0") as store:
        await store.ping()


async def test_a_user_without_the_needed_commands_is_told_which(server: Server) -> None:
    async with opened(server.url) as operator:
        await command(operator, "ACL", "SETUSER", "reader", "on", ">pass", "~*", "+@read", "+@connection")
    async with opened(f"redis://reader:pass@127.0.0.1:{server.port}/0") as store:
        with pytest.raises(StoreUnavailableError, match="it needs EVALSHA, EVAL, SET"):
            await store.ping()


async def test_a_user_with_just_the_commands_named_is_enough(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "POLL_MS", PATIENT_MS)  # so that it is the message which ends the wait
    asked = ["EVALSHA", "EVAL", "SET", "GET", "EXISTS", "SUBSCRIBE", "UNSUBSCRIBE"]
    in_scripts = ["TIME", "PUBLISH", "PEXPIRE"]
    rules = ["resetchannels", "&idem:*", *(f"+{name}" for name in (*asked, *in_scripts))]
    async with opened(server.url) as operator:
        await command(operator, "ACL", "SETUSER", "sidecar", "on", ">pass", "~idem:*", *rules)
    async with opened(f"redis://sidecar:pass@127.0.0.1:{server.port}/0") as store:
        await store.ping()
        claim = await take(store, wanted("a"))
        (wait,) = await under_way(store.wait("id", PATIENT_MS))
        for write in WRITES.values():
            await write(store, claim)
        assert isinstance(await store.claim(wanted("b"), HOLD), Recorded)
        async with asyncio.timeout(SOON_S):
            await wait
        await store.complete(await take(store, wanted("a", "large")), LARGE_RECORD)
        assert await whole(store, await store.claim(wanted("b", "large"), HOLD)) == LARGE_RECORD
