import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from sidecar.idempotency.claim import Claim, Claimed, Expired, InFlight, Recorded, Unknown, UnknownReason
from sidecar.idempotency.record import Record
from sidecar.store.port import PromptStore, Store, StoreCorruptError, StoreNotAskedError
from sidecar.store.redis import pipelining
from sidecar.store.redis.store import PROBE_MS, RedisStore
from tests.stack.valkey import Server
from tests.store.begun import Begun
from tests.store.redis_contract import RedisContract, ServerClock
from tests.store.redis_entries import change, command, fields, key, put
from tests.store.store_scenes import (
    FINGERPRINT,
    HOLD,
    LARGE_RECORD,
    LONG,
    RECORD,
    RETRY,
    WRITES,
    Write,
    ask,
    every_write,
    take,
    wanted,
    whole,
)


class TestOnValkey(RedisContract):
    @pytest.fixture
    def server(self, valkey: Server) -> Server:
        return valkey


class TestOnRedis(RedisContract):
    @pytest.fixture
    def server(self, redis7: Server) -> Server:
        return redis7


class TestBegunOnValkey(RedisContract):
    """Where claims and completions are asked without a coroutine."""

    @pytest.fixture
    def server(self, valkey: Server) -> Server:
        return valkey

    @pytest.fixture
    def store(self, redis: RedisStore) -> Store:
        return Begun(redis)


@pytest.fixture
async def store(valkey: Server) -> AsyncIterator[RedisStore]:
    store = RedisStore.from_url(valkey.url, prefix=f"t-{uuid.uuid4().hex}", timeout_ms=5000)
    yield store
    await store.close()


async def test_one_key_holds_the_whole_entry_and_it_expires(store: RedisStore) -> None:
    claim = await take(store, wanted("a"))
    await store.ping()
    await store.complete(claim, RECORD)
    keys = await command(store, "KEYS", f"{store._prefix}*")
    assert isinstance(keys, list)
    assert sorted(keys) == [key(store).encode(), f"{store._prefix}probe".encode()]
    kept_ms, probe_ms = [await command(store, "PTTL", name) for name in sorted(keys)]
    assert isinstance(kept_ms, int)
    assert 0 < kept_ms <= LONG
    assert isinstance(probe_ms, int)
    assert 0 < probe_ms <= PROBE_MS


async def test_each_state_keeps_only_its_own_fields(store: RedisStore) -> None:
    always = {b"state", b"owner", b"attempt", b"since"}
    used = always | {b"expires"}
    claim = await take(store, wanted("a"))
    assert set(await fields(store)) == used | {b"lease_until"}
    await store.note_fingerprint(claim, FINGERPRINT)
    assert set(await fields(store)) == used | {b"lease_until", b"fingerprint"}
    await store.release(claim)
    assert set(await fields(store)) == always
    claim = await take(store, wanted("b"))
    await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, FINGERPRINT)
    assert set(await fields(store)) == used | {b"reason", b"fingerprint"}
    claim = await take(store, wanted("c"), RETRY)
    assert set(await fields(store)) == used | {b"lease_until", b"fingerprint", b"notes", b"taken_over"}
    await store.mark_unknown(claim, UnknownReason.ENVOY_REPLY, None)
    assert set(await fields(store)) == used | {b"reason", b"fingerprint", b"notes", b"taken_over"}
    await store.complete(claim, RECORD)
    assert set(await fields(store)) == used | {b"record"}


async def test_the_bytes_of_a_record_past_its_ttl_are_dropped_and_its_tombstone_stands(
    store: RedisStore,
) -> None:
    claim = await take(store, wanted("a", tombstone_ms=LONG))
    await store.complete(claim, RECORD)
    before = await fields(store)
    await change(store, "expires", 1)
    assert await store.claim(wanted("b"), HOLD) == Expired()
    after = await fields(store)
    assert set(after) == set(before) - {b"record"}
    kept_ms = await command(store, "PTTL", key(store))
    assert isinstance(kept_ms, int)
    assert LONG < kept_ms <= 2 * LONG


async def test_times_are_the_servers(store: RedisStore) -> None:
    clock = ServerClock(store)
    before = await clock.now_ms()
    await take(store, wanted("a", lease_ms=60_000))
    after = await clock.now_ms()
    entry = await fields(store)
    assert before - 1 <= int(entry[b"since"]) <= after
    assert int(entry[b"lease_until"]) == int(entry[b"since"]) + 60_000


async def test_two_prefixes_on_one_server_do_not_meet(store: RedisStore, valkey: Server) -> None:
    await take(store, wanted("a"))
    other = RedisStore.from_url(valkey.url, prefix=f"t-{uuid.uuid4().hex}", timeout_ms=5000)
    assert await ask(other, wanted("b"), HOLD) == Claimed(1)
    await other.close()


async def test_two_sidecars_on_one_server_see_each_others_claims(store: RedisStore, valkey: Server) -> None:
    other = RedisStore.from_url(valkey.url, prefix=store._prefix.removesuffix(":"), timeout_ms=5000)
    results = await asyncio.gather(
        *(side.claim(wanted(f"{number}"), HOLD) for number in range(32) for side in (store, other))
    )
    assert sum(isinstance(result, Claimed) for result in results) == 2  # one owner, once on either side
    await other.close()


@every_write
async def test_a_server_that_forgot_the_scripts_is_told_them_again(store: RedisStore, write: Write) -> None:
    claim = await take(store, wanted("a"))
    await command(store, "SCRIPT", "FLUSH")
    assert await write(store, claim) is True
    await command(store, "SCRIPT", "FLUSH")
    assert await ask(store, wanted("b", "other"), HOLD) == Claimed(1)


async def test_scripts_are_sent_once(store: RedisStore) -> None:
    claim = await take(store, wanted("a"))
    for write in WRITES.values():
        await write(store, claim)
    await command(store, "CONFIG", "RESETSTAT")
    claim = await take(store, wanted("b", "other"))
    for write in WRITES.values():
        await write(store, claim)
    statistics = await command(store, "INFO", "commandstats")
    assert isinstance(statistics, bytes)
    calls = dict(re.findall(rb"cmdstat_(eval\w*):calls=(\d+)", statistics))
    assert calls == {b"evalsha": b"6"}


async def test_a_key_of_another_type_is_an_error_for_every_operation(store: RedisStore) -> None:
    await command(store, "HSET", key(store), "state", "recorded")
    operations = [store.claim(wanted("a"), HOLD), *(write(store, wanted("a")) for write in WRITES.values())]
    for operation in operations:
        with pytest.raises(StoreCorruptError, match="another type"):
            await operation


FAR = int("9" * 15)
WHOLE: dict[str, str | int] = {
    "state": "in_flight",
    "owner": "a",
    "attempt": 1,
    "lease_until": 1,
    "since": 1,
    "expires": FAR,
}


@pytest.mark.parametrize(
    "entry",
    [
        {"colour": "blue"},
        WHOLE | {"state": "resting"},
        WHOLE | {"attempt": "first"},
        {name: value for name, value in WHOLE.items() if name != "owner"},
        {name: value for name, value in WHOLE.items() if name != "lease_until"},
        {name: value for name, value in WHOLE.items() if name != "expires"},
        WHOLE | {"state": "recorded"},
        WHOLE | {"state": "recorded", "record": "\x08\x01"},
        WHOLE | {"state": "unknown"},
        WHOLE | {"state": "unknown", "reason": "a-reason-of-tomorrow"},
    ],
    ids=lambda entry: ",".join(f"{name}={value!r}" for name, value in entry.items()),
)
async def test_an_entry_that_cannot_be_read_is_never_taken_for_free(
    store: RedisStore, entry: dict[str, str | int]
) -> None:
    record = str(entry.get("record", "")).encode()
    await put(store, {name: value for name, value in entry.items() if name != "record"}, record)
    with pytest.raises(StoreCorruptError, match="damaged"):
        await store.claim(wanted("b"), HOLD)


@every_write
async def test_an_entry_of_a_newer_sidecar_is_not_written_over(store: RedisStore, write: Write) -> None:
    claim = await take(store, wanted("a"))
    await put(store, WHOLE | {"state": "resting"})
    before = await fields(store)
    with pytest.raises(StoreCorruptError, match="newer sidecar"):
        await write(store, claim)
    assert await fields(store) == before


async def test_attempts_and_leases_of_any_size_are_kept_exactly(store: RedisStore) -> None:
    great = replace(wanted("a", lease_ms=10**12, ttl_ms=10**12), attempt=2**31)
    assert await store.renew(great) is True
    result = await store.claim(wanted("b"), HOLD)
    assert isinstance(result, InFlight)
    assert 10**12 - 60_000 < result.lease_left_ms <= 10**12
    await store.mark_unknown(great, UnknownReason.ENVOY_REPLY, None)
    assert await store.claim(wanted("b"), HOLD) == Unknown(2**31, UnknownReason.ENVOY_REPLY)


async def test_a_record_of_a_megabyte_comes_back_whole(store: RedisStore) -> None:
    great = replace(RECORD, body=bytes(range(256)) * 4096)
    await store.complete(await take(store, wanted("a")), great)
    assert await ask(store, wanted("b"), HOLD) == Recorded(great)


# Without a coroutine


async def test_who_asks_can_see_that_no_coroutine_is_needed(store: RedisStore) -> None:
    assert isinstance(store, PromptStore)


async def test_a_server_that_forgot_the_scripts_tells_all_the_same(store: RedisStore) -> None:
    begun = Begun(store)
    for id_, record in (("small", RECORD), ("large", LARGE_RECORD)):
        await command(store, "SCRIPT", "FLUSH")
        claim = await take(begun, wanted("a", id_))
        await command(store, "SCRIPT", "FLUSH")
        assert await begun.complete(claim, record) is True
        assert await whole(store, await store.claim(wanted("b", id_), HOLD)) == record


async def test_what_is_not_sent_as_too_much_waits_is_told_as_never_asked(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelining, "MOST_OUTSTANDING", 1)
    begun = Begun(store)
    taken, *refused = await asyncio.gather(
        begun.claim(wanted("a"), HOLD),
        begun.claim(wanted("b"), HOLD),
        begun.complete(wanted("b"), RECORD),
        return_exceptions=True,
    )
    assert isinstance(taken, Claimed)
    assert [type(error) for error in refused] == [StoreNotAskedError] * 2
    assert [str(error).partition(" on ")[0] for error in refused] == ["claim", "complete"]


@pytest.mark.parametrize("forgotten", [False, True])
async def test_an_entry_that_cannot_be_read_is_told_as_damage(store: RedisStore, forgotten: bool) -> None:
    begun = Begun(store)
    await put(store, WHOLE | {"state": "resting"})
    for operation in (begun.claim(wanted("a"), HOLD), begun.complete(wanted("a"), RECORD)):
        if forgotten:
            await command(store, "SCRIPT", "FLUSH")
        with pytest.raises(StoreCorruptError, match="newer sidecar"):
            await operation


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_bug_in_what_reads_a_reply_is_told_and_costs_nobody_else_an_answer(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, forgotten: bool
) -> None:
    claim = await take(store, wanted("a"))
    if forgotten:
        await command(store, "SCRIPT", "FLUSH")
    bug = LookupError("a bug")
    monkeypatch.setattr("sidecar.store.redis.store._claim_result", Mock(side_effect=bug))
    begun = Begun(store)
    first, held, last = await asyncio.gather(
        begun.claim(wanted("b", "other"), HOLD),
        begun.complete(claim, RECORD),
        begun.claim(wanted("b", "another"), HOLD),
        return_exceptions=True,
    )
    assert (first, held, last) == (bug, True, bug)


@pytest.mark.parametrize(
    ("where", "ask"),
    [
        ("pack_transition", lambda store, _: Begun(store).claim(wanted("b"), HOLD)),
        ("pack_transition", lambda store, claim: Begun(store).complete(claim, RECORD)),
        ("encode_record", lambda store, claim: Begun(store).complete(claim, RECORD)),
        ("pack", lambda store, claim: store.renew(claim)),
    ],
)
async def test_a_bug_on_the_way_to_the_server_is_told_too(
    store: RedisStore,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    ask: Callable[[RedisStore, Claim], Awaitable[object]],
) -> None:
    claim = await take(store, wanted("a"))
    monkeypatch.setattr(f"sidecar.store.redis.store.{where}", Mock(side_effect=LookupError("a bug")))
    with pytest.raises(LookupError, match="a bug"):
        await ask(store, claim)


async def test_a_bug_that_ends_the_connection_is_not_taken_for_a_store_that_cannot_be_reached(
    store: RedisStore,
) -> None:
    """Where it cannot be reached, a policy may let requests pass (`on_unavailable: bypass`)."""
    claim, begun, bug = await take(store, wanted("a")), Begun(store), AttributeError("a bug in the parser")
    asked = [
        asyncio.create_task(operation)
        for operation in (
            begun.claim(wanted("b"), HOLD),
            begun.complete(claim, RECORD),
            store.renew(claim),
        )
    ]
    await asyncio.sleep(0)
    for pipeline in tuple(store._commands._pipelines):
        pipeline.connection_lost(bug)
    assert await asyncio.gather(*asked, return_exceptions=True) == [bug] * 3


MOST_OVERHEAD_BYTES = 400
RESPONSE = Record(
    status=201,
    headers=(
        ("content-type", b"application/json"),
        ("content-length", b"100"),
        ("location", b"/v1/payments/pay_123456789"),
        ("server", b"uvicorn"),
        ("x-request-id", b"0b2f3d62-5b6f-4b1e-9a3c-6d8a2a7d3c11"),
        ("cache-control", b"no-store"),
    ),
    body=bytes(100),
    trailers=(),
    fingerprint=bytes(range(32)),
)


@pytest.mark.parametrize("length", [0, 100, 10_000])
async def test_a_record_takes_little_more_memory_than_the_response_it_keeps(
    store: RedisStore, length: int
) -> None:
    id_, owner = "c0" * 32, "0b" * 16  # as long as they are in production
    response = replace(RESPONSE, body=bytes(length))
    await store.complete(await take(store, wanted(owner, id_)), response)
    taken = await command(store, "MEMORY", "USAGE", key(store, id_), "SAMPLES", 0)
    own = 3 + length + sum(len(name) + len(value) for name, value in response.headers)
    assert isinstance(taken, int)
    print(f"\n{taken - own} bytes beyond the response's {own}")  # noqa: T201 - the figure is what the test is about
    assert taken - own <= MOST_OVERHEAD_BYTES
