"""How Redis keeps large bodies: keys next to the entry, in an order that a crash can interrupt anywhere."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from redis.crc import key_slot

from sidecar.idempotency.body import LARGEST_BODY_BYTES, PIECE_BYTES, HeldBody, KeptBody
from sidecar.idempotency.claim import Claim, Claimed, InFlight, Recorded
from sidecar.idempotency.record import Record
from sidecar.store.port import StoreCorruptError, StoreUnavailableError
from sidecar.store.redis.packing import Argument, Packed
from sidecar.store.redis.pieces import READING_MS, UNCLAIMED_MS, WINDOW
from sidecar.store.redis.pipelining import Reply, Told
from sidecar.store.redis.store import RedisStore
from tests.stack.valkey import Server, start_valkey
from tests.store.redis_entries import command, key
from tests.store.store_scenes import (
    HOLD,
    LARGE_RECORD,
    LONG,
    OTHER_LARGE_RECORD,
    RETRY,
    ask,
    take,
    take_over,
    wanted,
    whole,
)

NOISY_MACHINE_US = 50_000
"""Ten times what a command may take: the machine may be busy. What was measured is in docs/decisions/0017."""


class CrashedError(Exception):
    """The sidecar is gone."""


@pytest.fixture
async def store(valkey: Server) -> AsyncIterator[RedisStore]:
    store = RedisStore.from_url(valkey.url, prefix=f"t-{uuid.uuid4().hex}", timeout_ms=5000)
    yield store
    await store.close()


async def pieces_of(store: RedisStore) -> list[str]:
    """The keys of all pieces of all attempts."""
    keys = await command(store, "KEYS", f"{store._prefix}*")
    assert isinstance(keys, list)
    return sorted(name.decode() for name in keys if b"{" in name)


async def lives_ms(store: RedisStore, name: str) -> int:
    left = await command(store, "PTTL", name)
    assert isinstance(left, int)
    return left


async def kept_body(store: RedisStore) -> KeptBody:
    """The body of the record of `id`."""
    result = await store.claim(wanted("reader"), HOLD)
    assert isinstance(result, Recorded)
    assert isinstance(result.record.body, KeptBody)
    return result.record.body


def crash_at(store: RedisStore, monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Let the sidecar be gone before its command `number`; what it sent is noted in what is returned."""
    sent: list[str] = []
    call, post = store._commands.call, store._commands.post

    def note(name: str) -> None:
        if len(sent) == number:
            raise CrashedError
        sent.append(name)

    def calling(arguments: tuple[Argument, ...]) -> Reply:
        note(str(arguments[0]))
        return call(arguments)

    def posting(packed: Packed, told: Told) -> None:
        note("EVALSHA")  # nothing else is posted
        post(packed, told)

    monkeypatch.setattr(store._commands, "call", calling)
    monkeypatch.setattr(store._commands, "post", posting)
    return sent


async def complete_until(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, claim: Claim, number: int
) -> list[str]:
    """Complete `claim` with a large record by a sidecar that sends no more than `number` commands."""
    with monkeypatch.context() as patch:
        sent = crash_at(store, patch, number)
        with pytest.raises(CrashedError):
            await store.complete(claim, LARGE_RECORD)
    await command(store, "PING")  # everything sent before it has been done
    return sent


# --- Where they lie, and how long


async def test_pieces_are_on_the_entrys_node_under_the_prefix_and_named_by_the_attempt(
    store: RedisStore,
) -> None:
    await store.complete(await take(store, wanted("a")), LARGE_RECORD)

    names = await pieces_of(store)
    assert [name.rpartition(":")[0] for name in names] == [
        f"{store._prefix}{{{key(store)}}}:a:{number}" for number in range(3)
    ]
    assert {key_slot(name.encode()) for name in names} == {key_slot(key(store).encode())}


async def test_pieces_live_a_little_longer_than_their_record(store: RedisStore) -> None:
    await store.complete(await take(store, wanted("a", tombstone_ms=LONG)), LARGE_RECORD)

    assert LONG < await lives_ms(store, key(store)) <= 2 * LONG
    for name in await pieces_of(store):
        assert LONG < await lives_ms(store, name) <= LONG + READING_MS


async def test_a_repeated_complete_does_not_shorten_the_life_of_what_the_record_needs(
    store: RedisStore,
) -> None:
    claim = await take(store, wanted("a"))
    await store.complete(claim, LARGE_RECORD)

    assert await store.complete(claim, LARGE_RECORD) is True

    assert LONG > UNCLAIMED_MS
    for name in await pieces_of(store):
        assert await lives_ms(store, name) > LONG


async def test_text_takes_less_room_than_it_is_long_and_noise_hardly_more(store: RedisStore) -> None:
    taken = []
    for id_, record in (("text", LARGE_RECORD), ("noise", OTHER_LARGE_RECORD)):
        await store.complete(await take(store, wanted("a", id_)), record)
        names = [name for name in await pieces_of(store) if f":{id_}}}" in name]
        assert isinstance(record.body, HeldBody)
        sizes = [await command(store, "STRLEN", name) for name in names]
        assert len(sizes) == record.body.count
        taken.append(sum(size for size in sizes if isinstance(size, int)) / record.body.size)

    assert taken[0] < 0.01
    assert taken[1] == 1


# --- A sidecar that is lost on the way


async def test_a_sidecar_lost_before_its_last_command_leaves_no_record_and_pieces_that_go_by_themselves(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await take(store, wanted("a"))
    for number in range(4):  # three pieces, then the record
        sent = await complete_until(store, monkeypatch, claim, number)

        assert sent == ["SET"] * number
        assert isinstance(await store.claim(wanted("b"), HOLD), InFlight)
        names = await pieces_of(store)
        assert len(names) == number
        for name in names:
            assert 0 < await lives_ms(store, name) <= UNCLAIMED_MS

    assert await store.complete(claim, LARGE_RECORD) is True
    assert await whole(store, await store.claim(wanted("b"), HOLD)) == LARGE_RECORD


async def test_a_later_attempt_never_meets_the_pieces_of_a_lost_one(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = await take_over(store)
    await complete_until(store, monkeypatch, replace(later, owner="a", attempt=1), 2)

    assert await store.complete(later, OTHER_LARGE_RECORD) is True

    assert await whole(store, await store.claim(wanted("c"), RETRY)) == OTHER_LARGE_RECORD
    assert {name.split(":")[-3] for name in await pieces_of(store)} == {"a", "b"}


async def test_two_bodies_of_one_owner_are_never_mixed(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await take(store, wanted("a"))
    await complete_until(store, monkeypatch, claim, 1)

    await store.complete(claim, OTHER_LARGE_RECORD)

    assert await whole(store, await store.claim(wanted("b"), HOLD)) == OTHER_LARGE_RECORD


async def test_a_piece_that_is_lost_before_the_record_appears_keeps_it_from_appearing(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await take(store, wanted("a"))
    write = store._pieces.write

    async def losing(*arguments: object) -> KeptBody:
        kept = await write(*arguments)  # type: ignore[arg-type]  # passed on as they came
        await command(store, "DEL", store._pieces.names(kept)[1])
        return kept

    with monkeypatch.context() as patch:
        patch.setattr(store._pieces, "write", losing)
        with pytest.raises(StoreUnavailableError, match="lost a piece of the body"):
            await store.complete(claim, LARGE_RECORD)

    assert isinstance(await store.claim(wanted("b"), HOLD), InFlight)
    for name in await pieces_of(store):
        assert await lives_ms(store, name) <= UNCLAIMED_MS
    assert await store.complete(claim, LARGE_RECORD) is True
    assert await whole(store, await store.claim(wanted("b"), HOLD)) == LARGE_RECORD


# --- Pieces that are not what they were


@pytest.mark.parametrize("lost", [0, 1, 2])
async def test_whichever_piece_is_gone_the_first_is_not_given(store: RedisStore, lost: int) -> None:
    await store.complete(await take(store, wanted("a")), LARGE_RECORD)
    body = await kept_body(store)
    await command(store, "DEL", store._pieces.names(body)[lost])

    with pytest.raises(StoreCorruptError, match="a piece of the stored body is gone"):
        await store.read_piece(body, 0)


async def test_a_piece_that_goes_while_the_body_is_read_is_noticed(store: RedisStore) -> None:
    await store.complete(await take(store, wanted("a")), LARGE_RECORD)
    body = await kept_body(store)
    assert len(await store.read_piece(body, 0)) == PIECE_BYTES
    await command(store, "DEL", store._pieces.names(body)[1])

    with pytest.raises(StoreCorruptError, match="gone"):
        await store.read_piece(body, 1)
    assert await store.read_piece(body, 2) == b"last"


@pytest.mark.parametrize("record", [LARGE_RECORD, OTHER_LARGE_RECORD], ids=["compressed", "plain"])
async def test_a_damaged_piece_is_never_given(store: RedisStore, record: Record) -> None:
    await store.complete(await take(store, wanted("a")), record)
    body = await kept_body(store)
    await command(store, "SETRANGE", store._pieces.names(body)[0], 20, b"\x55\xaa")

    with pytest.raises(StoreCorruptError, match="piece 0 of the stored body is damaged"):
        await store.read_piece(body, 0)


async def test_a_piece_of_another_type_is_damage(store: RedisStore) -> None:
    await store.complete(await take(store, wanted("a")), LARGE_RECORD)
    body = await kept_body(store)
    name = store._pieces.names(body)[1]
    await command(store, "DEL", name)
    await command(store, "RPUSH", name, "x")

    with pytest.raises(StoreCorruptError, match=r"read_piece on .*: the key holds another type of value"):
        await store.read_piece(body, 1)


# --- What is under way at once


async def test_no_more_than_a_window_of_pieces_is_under_way(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await take(store, wanted("a"))
    replies: list[Reply] = []
    most = 0
    call = store._commands.call

    def calling(arguments: tuple[str | bytes | int, ...]) -> Reply:
        nonlocal most
        replies.append(call(arguments))
        most = max(most, sum(not reply.done() for reply in replies))
        return replies[-1]

    monkeypatch.setattr(store._commands, "call", calling)
    record = replace(LARGE_RECORD, body=HeldBody(tuple(b"%d" % (n % 10) * PIECE_BYTES for n in range(20))))
    assert await store.complete(claim, record) is True

    assert most == WINDOW
    assert await whole(store, await store.claim(wanted("b"), HOLD)) == record


@pytest.mark.parametrize(("lease_ms", "renewed"), [(0, 3), (LONG, 0)])
async def test_the_lease_is_kept_while_a_body_is_written(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch, lease_ms: int, renewed: int
) -> None:
    renewals: list[Claim] = []

    async def renew(claim: Claim) -> bool:
        renewals.append(claim)
        return True

    claim = replace(await take(store, wanted("a")), lease_ms=lease_ms)
    monkeypatch.setattr(store._pieces, "_renew", renew)
    await store.complete(claim, LARGE_RECORD)

    assert renewals == [claim] * renewed


async def test_an_operation_that_is_cancelled_leaves_the_connection_in_step(store: RedisStore) -> None:
    claim = await take(store, wanted("a"))
    for _ in range(20):
        task = asyncio.create_task(store.complete(claim, OTHER_LARGE_RECORD))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    assert await ask(store, wanted("x", "another"), HOLD) == Claimed(1)
    assert await store.complete(claim, OTHER_LARGE_RECORD) is True
    assert await whole(store, await store.claim(wanted("b"), HOLD)) == OTHER_LARGE_RECORD


# --- What the server is held up by


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Server]:
    with start_valkey(tmp_path) as server:
        yield server


async def test_no_command_of_the_largest_record_holds_the_server_up(watched: Server) -> None:
    noise = [bytes([n]) + OTHER_LARGE_RECORD.body.pieces[0][1:] for n in range(256)]  # type: ignore[union-attr]
    record = replace(OTHER_LARGE_RECORD, body=HeldBody(tuple(noise)))
    assert isinstance(record.body, HeldBody)
    assert record.body.size == LARGEST_BODY_BYTES
    store = RedisStore.from_url(watched.url, prefix="t", timeout_ms=10_000)
    for option, value in (("slowlog-log-slower-than", 0), ("slowlog-max-len", 10_000)):
        await command(store, "CONFIG", "SET", option, value)
    await store.complete(await take(store, wanted("a")), record)
    assert await whole(store, await store.claim(wanted("b"), HOLD)) == record

    slow = await command(store, "SLOWLOG", "GET", 10_000)
    assert isinstance(slow, list)
    assert len(slow) > 2 * record.body.count
    longest = max(slow, key=lambda entry: entry[2])
    print(f"\nlongest command: {longest[2]} µs, {longest[3][0].decode()}")  # noqa: T201 - the figure is what the test is about
    assert longest[2] < NOISY_MACHINE_US
    await store.close()
