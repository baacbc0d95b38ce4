"""The two ends of a chaos run with nothing between them: the clients, and the upstream with its ledger."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.chaos.client import ask
from tests.chaos.history import Answer, Departure, Ending, Execution, Fields, Key
from tests.chaos.upstream import KEYLESS_PATH, Mood, Upstream, body_of
from tests.unit.chaos.fabricated import RETRY, a_key

KEY = a_key()
LARGE = replace(a_key(name="key-2"), response_size=100_000, sized=False)
LATE = a_key(policy=RETRY)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    keys = {key.identity: key for key in (KEY, LARGE, LATE)}
    server = Upstream(keys, asyncio.get_running_loop().time)
    await server.open()
    yield server
    await server.finish()


def headers(key: Key = KEY, attempt: str = "1", *, length: int | None = None) -> Fields:
    return (
        ("host", "chaos.test"),
        ("authorization", key.identity.caller),
        ("idempotency-key", f'"{key.identity.name}"'),
        ("idempotency-attempt", attempt),
        ("x-request-id", "id"),
        ("content-length", str(len(key.payload) if length is None else length)),
    )


async def post(
    upstream: Upstream,
    key: Key = KEY,
    attempt: str = "1",
    departure: Departure = Departure.NEVER,
    *,
    http2: bool = False,
) -> Answer:
    return await ask(
        upstream.port, key.path, headers(key, attempt), key.payload, departure=departure, http2=http2
    )


async def begun(upstream: Upstream) -> None:
    while not upstream.ledger:  # noqa: ASYNC110 - the server is what it is, and tells nobody
        await asyncio.sleep(0)


async def executed(upstream: Upstream) -> Execution:
    """The ledger's only entry, once it is there and finished."""
    await begun(upstream)
    await upstream.idle()
    (execution,) = upstream.ledger
    return execution


@pytest.mark.parametrize("http2", [False, True])
async def test_a_whole_request_is_written_down_executed_and_answered(upstream: Upstream, http2: bool) -> None:
    answer = await post(upstream, http2=http2)
    (execution,) = upstream.ledger
    assert (execution.identity, execution.attempt, execution.payload) == (KEY.identity, 1, KEY.payload)
    assert (execution.request_id, execution.status) == ("id", 201)
    assert (answer.ending, answer.status, answer.body) == (Ending.COMPLETE, 201, body_of(execution, KEY))
    assert answer.header("x-execution") == "1"
    assert json.loads(answer.body.splitlines()[0])["caller"] == "alice"


@pytest.mark.parametrize("http2", [False, True])
async def test_large_answers_come_whole_and_differ_by_execution(upstream: Upstream, http2: bool) -> None:
    first, second = [await post(upstream, LARGE, attempt, http2=http2) for attempt in "12"]
    assert len(first.body) > 100_000
    assert first.body != second.body


@pytest.mark.parametrize(
    ("departure", "http2"),
    [
        (Departure.CONNECTED, False),
        (Departure.IN_BODY, False),
        (Departure.IN_BODY, True),
        (Departure.BEFORE_END, True),
    ],
)
async def test_who_leaves_before_the_end_of_the_request_executes_nothing(
    upstream: Upstream, departure: Departure, http2: bool
) -> None:
    answer = await post(upstream, departure=departure, http2=http2)
    assert answer.ending is Ending.LEFT
    await post(upstream, LARGE)
    assert [execution.identity for execution in upstream.ledger] == [LARGE.identity]


@pytest.mark.parametrize("departure", [Departure.BEFORE_END, Departure.SENT, Departure.IN_RESPONSE])
async def test_who_leaves_after_the_last_byte_has_executed(upstream: Upstream, departure: Departure) -> None:
    await post(upstream, departure=departure)
    assert (await executed(upstream)).payload == KEY.payload


async def test_who_leaves_after_the_head_of_a_large_response_has_its_status_only(upstream: Upstream) -> None:
    answer = await post(upstream, LARGE, departure=Departure.IN_RESPONSE)
    assert (answer.ending, answer.status) == (Ending.LEFT, 201)


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize(
    ("mood", "ending", "status"),
    [
        (Mood.REFUSES, Ending.COMPLETE, 503),
        (Mood.BAD_GATEWAY, Ending.COMPLETE, 502),
        (Mood.CUTS, Ending.CUT, 201),
        (Mood.DROPS, Ending.NOTHING, None),
    ],
)
async def test_each_mood_has_its_answer_and_executes_all_the_same(
    upstream: Upstream, mood: Mood, ending: Ending, status: int | None, http2: bool
) -> None:
    upstream.mood = mood
    answer = await post(upstream, http2=http2)
    assert (answer.ending, answer.status) == (ending, status)
    assert (await executed(upstream)).status == status


async def test_a_keys_own_first_moods_come_before_everybodys() -> None:
    key = replace(KEY, first_moods=("503", "502"))
    server = Upstream({key.identity: key}, asyncio.get_running_loop().time)
    await server.open()
    try:
        statuses = [(await post(server, attempt=attempt)).status for attempt in "123"]
    finally:
        await server.finish()
    assert statuses == [503, 502, 201]


async def test_an_upstream_that_is_down_refuses_until_it_is_back(upstream: Upstream) -> None:
    await upstream.close()
    refused = await post(upstream)
    await upstream.open()
    assert refused.ending is Ending.REFUSED
    assert (await post(upstream)).status == 201


@pytest.mark.parametrize("http2", [False, True])
async def test_going_down_breaks_what_is_under_way_but_not_the_work(upstream: Upstream, http2: bool) -> None:
    upstream._keys = {KEY.identity: replace(KEY, work_s=0.05)}
    asking = asyncio.create_task(post(upstream, http2=http2))
    await begun(upstream)
    await upstream.close()
    assert (await asking).ending is Ending.NOTHING
    assert (await executed(upstream)).status == 201


async def test_a_late_attempt_is_fenced_off_where_attempts_may_overtake_one_another(
    upstream: Upstream,
) -> None:
    statuses = [(await post(upstream, LATE, attempt)).status for attempt in ("2", "1")]
    assert statuses == [201, 412]
    assert [execution.fenced for execution in upstream.ledger] == [False, True]


async def test_requests_without_a_key_and_of_strangers_are_no_executions(upstream: Upstream) -> None:
    keyless = await ask(upstream.port, KEYLESS_PATH, headers(length=0), b"")
    stranger = await post(upstream, a_key("mallory"))
    assert (keyless.status, stranger.status) == (200, 400)
    assert upstream.ledger == []
    assert len(upstream.strangers) == 1


async def test_over_http2_a_stream_may_be_refused_and_is_not_executed(upstream: Upstream) -> None:
    upstream.mood = Mood.REFUSES_STREAMS
    refused, served = await post(upstream, http2=True), await post(upstream)
    assert (refused.ending, served.status) == (Ending.NOTHING, 201)
    assert len(upstream.ledger) == 1


async def test_nobody_listening_is_no_connection() -> None:
    server = Upstream({}, asyncio.get_running_loop().time)
    answer = await ask(server.port, "/", headers(length=0), b"")
    assert answer.ending is Ending.REFUSED


async def test_a_client_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chaos.client.LIMIT_S", 0.05)
    silent = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    async with silent:
        answer = await ask(silent.sockets[0].getsockname()[1], "/", headers(length=0), b"")
    assert answer.ending is Ending.TIMEOUT
