"""What an exchange costs the store: round trips, bytes on its connections, memory that a record takes."""

import contextlib
import statistics
from collections.abc import AsyncIterator
from dataclasses import dataclass

from redis.asyncio import Redis

from bench.load.client import Connection, connected
from bench.subject import Subject
from bench.upstream import body_of, response_of

_SIZE = 100
_PATH = f"/{_SIZE}/call"
_LISTENED = 20
_COUNTED = 300
_END = "bench-has-heard-enough"
_NOT_OF_A_REQUEST = {"PING", "ECHO", "INFO", "AUTH", "HELLO", "CLIENT", "SELECT", "MONITOR", "SUBSCRIBE"}
"""Commands that connections and probes send, whether or not there is a request."""


@dataclass(frozen=True, slots=True)
class StoreCosts:
    """Per request one after the other, 100 B bodies; memory per record beyond the response's own bytes."""

    subject: str
    roundtrips_new: float
    roundtrips_replay: float
    bytes_new: float
    bytes_replay: float
    record_overhead_bytes: float


def own_bytes() -> int:
    """Of the response that is recorded: its body, and the names and values of its header fields."""
    body = body_of(_SIZE)
    head = response_of(body)[: -len(body)].strip().split(b"\r\n")[1:]
    return len(body) + sum(len(field) - len(": ") for field in head)


async def measure(subject: Subject, store_url: str) -> StoreCosts:
    """Send requests one after the other and watch the store."""
    async with contextlib.aclosing(Redis.from_url(store_url)) as store, connected(subject.url) as (client,):
        await store.flushall()
        await _send(client, "warm", 2)
        new, replay = await _commands(store, client, "heard-"), await _commands(store, client, None)
        bytes_new, bytes_replay = await _bytes(store, client, "counted-"), await _bytes(store, client, None)
        return StoreCosts(subject.name, new, replay, bytes_new, bytes_replay, await _overhead(store))


async def _send(client: Connection, keys: str | None, count: int) -> None:
    """As many requests with keys of their own, or with one that is recorded already."""
    body = body_of(_SIZE)
    for number in range(count):
        await client.request(_PATH, "warm0" if keys is None else f"{keys}{number}", body)


async def _commands(store: Redis, client: Connection, keys: str | None) -> float:
    """Commands per request that came over a connection, which is how many times an answer is waited for.

    Heard by MONITOR, because `INFO commandstats` does not tell these from the commands inside scripts. The
    median of some requests: what somebody else asks meanwhile falls into one of them.
    """
    async with store.monitor() as monitor:
        lines = monitor.listen()
        heard = []
        for number in range(_LISTENED):
            await _send(client, None if keys is None else f"{keys}{number}-", 1)
            await store.echo(_END)
            heard.append(
                sum([1 async for command in _until_the_end(lines) if command not in _NOT_OF_A_REQUEST])
            )
    return statistics.median(heard)


async def _until_the_end(lines: AsyncIterator[dict[str, str]]) -> AsyncIterator[str]:
    """The commands that came over connections, not out of scripts, until the mark."""
    async for line in lines:
        if _END in line["command"]:
            return
        if line["client_type"] != "lua":
            yield line["command"].split(" ", 1)[0].upper()


async def _bytes(store: Redis, client: Connection, keys: str | None) -> float:
    """Bytes in and out per request, less what asking for them takes."""
    before, again = await _traffic(store), await _traffic(store)
    await _send(client, keys, _COUNTED)
    return (await _traffic(store) - again - (again - before)) / _COUNTED


async def _traffic(store: Redis) -> int:
    stats = await store.info("stats")
    return int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])


async def _overhead(store: Redis) -> float:
    """Of the median record: what its key takes altogether, less the response."""
    usages = [await store.memory_usage(key, samples=0) async for key in store.scan_iter(count=1000)]
    ranked = sorted(int(usage) for usage in usages if usage)
    return ranked[len(ranked) // 2] - own_bytes()
