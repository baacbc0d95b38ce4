"""The one connection of a store: opened once for all, lost, silent, out of step, overloaded, replaced."""

import asyncio
import os
import re
import signal
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.idempotency.claim import Claimed, ClaimResult, Recorded
from sidecar.store.port import StoreNotAskedError, StoreUnavailableError
from sidecar.store.redis import pipelining
from sidecar.store.redis.store import RedisStore
from tests.stack.certificates import Authority
from tests.stack.valkey import Server, start_valkey
from tests.store.redis_entries import command
from tests.store.redis_links import Silence, proxied, scripted_server
from tests.store.store_scenes import HOLD, RECORD, SOON_S, ask, take, wanted

SLOW_LUA = """
local until_s = os.clock() + tonumber(ARGV[1]) / 1000
while os.clock() < until_s do end
return ARGV[1]
"""
"""Keeps the server busy for so many milliseconds of its own; the TIME of a script stands still."""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server that the test may harm."""
    with start_valkey(tmp_path) as server:
        yield server


@asynccontextmanager
async def opened(url: str, *, timeout_ms: int = 10_000) -> AsyncIterator[RedisStore]:
    store = RedisStore.from_url(url, prefix=f"t-{uuid.uuid4().hex}", timeout_ms=timeout_ms)
    try:
        yield store
    finally:
        await store.close()


async def claim_many(store: RedisStore, number: int = 64, *, owner: str = "a") -> list[object]:
    """Claim as many ids at once, and what came of each."""
    claims = (ask(store, wanted(owner, f"{owner}-{n}"), HOLD) for n in range(number))
    return list(await asyncio.gather(*claims, return_exceptions=True))


def told(results: list[object]) -> set[str]:
    """What those who failed were told; all of them did."""
    assert all(isinstance(result, StoreUnavailableError) for result in results), results
    return {str(result) for result in results}


# One connection


async def test_however_many_ask_at_once_one_connection_is_opened(own: Server) -> None:
    async with proxied(own.port) as (proxy, port), opened(f"redis://127.0.0.1:{port}/0") as store:
        assert await claim_many(store) == [Claimed(1)] * 64
        assert await claim_many(store, owner="b") == [Claimed(1)] * 64
        assert proxy.accepted == 1


async def test_commands_of_one_moment_reach_the_server_as_one(own: Server) -> None:
    async with opened(own.url) as store, opened(own.url) as operator:
        await store.ping()
        before = await reads(operator)
        await asyncio.gather(*(store.ping() for _ in range(100)))
        assert await reads(operator) - before <= 4  # among them those of the operator


async def reads(operator: RedisStore) -> int:
    """How many reads from its clients the server has made."""
    answer = await command(operator, "INFO", "stats")
    assert isinstance(answer, bytes)
    (number,) = re.findall(rb"total_reads_processed:(\d+)", answer)
    return int(number)


async def test_a_server_with_tls_is_spoken_to_as_any_other(valkey: Server, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    signed = authority.sign("server", names="IP:127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(signed.certificate, signed.key)
    async with proxied(valkey.port, tls) as (proxy, port):
        trusting = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.certificate}"
        async with opened(trusting) as store:
            assert await claim_many(store) == [Claimed(1)] * 64
            claim = await take(store, wanted("a"))
            await store.complete(claim, RECORD)
            assert await ask(store, wanted("b"), HOLD) == Recorded(RECORD)
            assert proxy.accepted == 1
        async with opened(f"rediss://127.0.0.1:{port}/0") as doubting:
            (message,) = told(await claim_many(doubting, 3))
            assert "certificate not accepted" in message


async def test_a_refused_opening_fails_all_who_wait_for_it_with_its_reason(own: Server) -> None:
    async with opened(own.url) as operator:
        await command(operator, "CONFIG", "SET", "requirepass", "correct-horse")
    async with (
        proxied(own.port) as (proxy, port),
        opened(f"redis://:battery-staple@127.0.0.1:{port}/0") as store,
    ):
        (message,) = told(await claim_many(store))
        assert "the server refused the credentials" in message
        assert proxy.accepted == 1
        assert not store._commands._pipelines
        told(await claim_many(store))
        assert proxy.accepted == 2


# A server that is slow, or silent


async def test_what_waits_behind_a_slow_command_is_answered_when_it_ends(own: Server) -> None:
    async with opened(own.url) as store:
        slow = store._commands.call(("EVAL", SLOW_LUA, 0, 150))
        assert await claim_many(store) == [Claimed(1)] * 64
        assert await slow == b"150"
        assert len(store._commands._pipelines) == 1


async def test_a_command_sent_before_another_was_given_up_may_still_be_answered(own: Server) -> None:
    async with opened(own.url, timeout_ms=1200) as store:
        await store.claim(wanted("a"), HOLD)
        os.kill(own.pid, signal.SIGSTOP)
        try:
            given_up = asyncio.create_task(store.ping())
            await asyncio.sleep(0.6)
            behind = asyncio.create_task(ask(store, wanted("a"), HOLD))
            with pytest.raises(StoreUnavailableError, match="no answer within 1200 ms"):
                await given_up
        finally:
            os.kill(own.pid, signal.SIGCONT)
        assert await behind == Claimed(1)
        assert await ask(store, wanted("a"), HOLD) == Claimed(1)
        assert [pipeline.accepting for pipeline in store._commands._pipelines] == [True]


async def test_a_connection_that_fell_silent_is_not_used_again(valkey: Server) -> None:
    async with (
        proxied(valkey.port) as (proxy, port),
        opened(f"redis://127.0.0.1:{port}/0", timeout_ms=300) as store,
    ):
        await store.ping()
        proxy.silence()
        (message,) = told(await claim_many(store, 3))
        assert "no answer within 300 ms" in message
        proxy.heal()
        assert await claim_many(store, 3, owner="b") == [Claimed(1)] * 3
        assert proxy.accepted == 2
        assert len(store._commands._pipelines) == 1


async def test_whoever_has_time_left_when_an_opening_took_too_long_is_served_by_the_next_one(
    valkey: Server,
) -> None:
    async with (
        proxied(valkey.port) as (proxy, port),
        opened(f"redis://127.0.0.1:{port}/0", timeout_ms=400) as store,
    ):
        proxy.silence()
        first = asyncio.create_task(store.claim(wanted("a", "first"), HOLD))
        while not proxy.swallowed:  # noqa: ASYNC110 - the proxy has no event for it
            await asyncio.sleep(0.001)
        store._timeout_ms, store._commands._timeout_s = 10_000, 10.0
        second = asyncio.create_task(ask(store, wanted("a", "second"), HOLD))
        proxy.heal()
        with pytest.raises(StoreUnavailableError, match="no answer within"):
            await first
        async with asyncio.timeout(SOON_S):
            assert await second == Claimed(1)
        assert proxy.accepted == 2


async def test_a_frozen_server_that_wakes_answers_nobody_with_anothers_reply(own: Server) -> None:
    async with opened(own.url) as patient, opened(own.url, timeout_ms=150) as store:
        store._prefix = patient._prefix
        await patient.ping()
        await store.ping()
        os.kill(own.pid, signal.SIGSTOP)
        try:
            told(await claim_many(store, 10, owner="frozen"))
            told(await claim_many(store, 10, owner="new"))
        finally:
            os.kill(own.pid, signal.SIGCONT)
        await patient.ping()
        assert await claim_many(store, 10, owner="awake") == [Claimed(1)] * 10


# A server that breaks off, or breaks the protocol


@pytest.mark.parametrize("answer", [b"$10\r\nhalf", b"*2\r\n$7\r\nclaimed\r\n", b""])
async def test_half_a_reply_is_no_reply(answer: bytes) -> None:
    answers = iter([answer])

    def respond(_: list[bytes]) -> bytes | None:
        return next(answers, None)

    async with scripted_server(respond) as url, opened(url) as store:
        results = asyncio.create_task(claim_many(store, 5))
        async with asyncio.timeout(SOON_S):
            (message,) = told(await results)
        assert "no connection" in message
        assert not store._commands._pipelines


async def test_nothing_is_sent_again_by_itself() -> None:
    heard: list[bytes] = []

    def respond(command: list[bytes]) -> bytes | None:
        heard.append(command[-1])
        return b"+OK\r\n" if heard.count(b"1000") > 1 else None

    async with scripted_server(respond) as url, opened(url) as store:
        with pytest.raises(StoreUnavailableError):
            await store.ping()
        assert heard == [b"1000"]
        await store.ping()
        assert heard == [b"1000", b"1000"]


async def test_what_comes_with_the_greeting_is_not_taken_for_an_answer() -> None:
    async with (
        scripted_server(lambda _: b"+OK\r\n", after_greeting=b"+stray\r\n") as url,
        opened(url) as store,
    ):
        with pytest.raises(StoreUnavailableError, match="no connection"):
            await store.ping()


# A server without the scripts


async def test_a_server_that_forgot_the_scripts_is_told_by_each_command_on_its_way(own: Server) -> None:
    async with opened(own.url) as store:
        await claim_many(store)
        await command(store, "SCRIPT", "FLUSH")
        assert await claim_many(store, owner="b") == [Claimed(1)] * 64
        await command(store, "CONFIG", "RESETSTAT")
        assert await claim_many(store, owner="c") == [Claimed(1)] * 64
        statistics = await command(store, "INFO", "commandstats")
        assert isinstance(statistics, bytes)
        assert re.findall(rb"cmdstat_(eval\w*):calls=(\d+)", statistics) == [(b"evalsha", b"64")]


async def test_telling_the_script_costs_the_operation_no_more_than_its_time() -> None:
    def respond(command: list[bytes]) -> bytes:
        if command[0] == b"EVAL":
            raise Silence
        time.sleep(0.8)  # the server's time, and everybody's: the loop is its too
        return b"-NOSCRIPT No matching script.\r\n"

    async with scripted_server(respond) as url, opened(url, timeout_ms=1000) as store:
        began = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="no answer within 1000 ms"):
            await store.claim(wanted("a"), HOLD)
        assert time.monotonic() - began < 1.6  # with a time of its own EVAL would have until 1.8 s


async def test_who_is_told_that_the_connection_is_lost_may_ask_again_at_once() -> None:
    asked = 0

    def respond(command: list[bytes]) -> bytes | None:
        nonlocal asked
        assert command[0] == b"EVALSHA"
        asked += 1
        return None if asked == 1 else b"*5\r\n$7\r\nclaimed\r\n:1\r\n$-1\r\n:0\r\n:9\r\n"

    ends: list[object] = []
    answered = asyncio.Event()
    async with scripted_server(respond) as url, opened(url) as store:

        def ask_again(result: ClaimResult | None, error: BaseException | None) -> None:
            ends.append(result or type(error))
            if error is not None:
                store.begin_claim(wanted("a"), HOLD, ask_again)
            elif len(ends) == 6:
                answered.set()

        for _ in range(3):
            store.begin_claim(wanted("a"), HOLD, ask_again)
        async with asyncio.timeout(SOON_S):
            await answered.wait()
        assert ends == [StoreUnavailableError] * 3 + [Claimed(1, expires_ms=9)] * 3
        assert asked == 4
        assert len(store._commands._pipelines) == 1


# Limits and the end


async def test_what_is_too_much_was_never_asked_for(own: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelining, "MOST_OUTSTANDING", 10)
    async with opened(own.url) as store:
        results = await claim_many(store, 15)
        assert results[:10] == [Claimed(1)] * 10
        assert all(isinstance(result, StoreNotAskedError) for result in results[10:])
        assert told(results[10:]) == {
            f"claim on 127.0.0.1:{own.port}/0: not sent, 10 commands wait for the server's answers already"
        }
        assert await claim_many(store, 10, owner="b") == [Claimed(1)] * 10


@pytest.mark.parametrize("connected", [False, True])
async def test_closing_fails_whoever_waits_for_a_connection_and_leaves_no_task(
    valkey: Server,
    connected: bool,
) -> None:
    async with proxied(valkey.port) as (proxy, port):
        proxy.silence()
        store = RedisStore.from_url(f"redis://127.0.0.1:{port}/0", prefix="idem", timeout_ms=10_000)
        waiting = [asyncio.create_task(store.ping()) for _ in range(3)]
        await asyncio.sleep(0)
        while connected and not proxy.accepted:  # noqa: ASYNC110 - the proxy has no event for it
            await asyncio.sleep(0.001)
        await store.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, StoreUnavailableError) for result in results), results
        assert store._commands._opening is not None
        assert store._commands._opening.done()
        assert not store._commands._pipelines
