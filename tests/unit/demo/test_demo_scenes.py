"""The scenes, played to a stand-in for the whole stack: what they accept, and what they do not."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from sidecar.demo.client import Answer, Client, Order
from sidecar.demo.payments import Ledger, payments, running
from sidecar.demo.scenes import SCRIPTS, Scene, Script, times

Handler = Callable[[web.Request], Awaitable[web.Response]]


def script(title: str) -> Script:
    return next(script for script in SCRIPTS if script.title == title)


async def play(title: str, handler: Handler, ledger: Ledger | None = None) -> Scene:
    """Play one scene to a service that is this handler alone."""
    application = web.Application()
    application.router.add_post("/{any:.*}", handler)
    async with running(application) as url, aiohttp.ClientSession() as session:
        return await script(title).play(Client(session, url), ledger or Ledger())


class Idempotent:
    """A service that keeps the promises by itself, in a few lines and for one request at a time."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.recorded: dict[str, tuple[bytes, bytes]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        key, body = request.headers.get("idempotency-key"), await request.read()
        if key is None:
            return problem(400, "key-missing")
        if key in self.recorded:
            seen, recorded = self.recorded[key]
            return replayed(recorded) if seen == body else problem(422, "key-reused")
        payment = self.ledger.execute(json.loads(body)["reference"], "1")
        answer = json.dumps({"id": payment}).encode()
        self.recorded[key] = (body, answer)
        return web.Response(status=201, body=answer)


def replayed(body: bytes) -> web.Response:
    return web.Response(status=201, body=body, headers={"idempotent-replayed": "true"})


def problem(status: int, kind: str, **headers: str) -> web.Response:
    return web.json_response(
        {"type": f"urn:idempotency:{kind}", "status": status}, status=status, headers=headers
    )


@pytest.mark.parametrize("title", ["First call", "Replay", "Mismatch", "Missing key"])
async def test_a_scene_is_as_promised_when_the_promises_are_kept(title: str) -> None:
    ledger = Ledger()
    scene = await play(title, Idempotent(ledger).answer, ledger)
    assert scene.broken == ()
    assert scene.executed == script(title).executions


async def test_a_service_without_protection_breaks_the_promises() -> None:
    ledger = Ledger()

    async def careless(request: web.Request) -> web.Response:
        return web.json_response(
            {"id": ledger.execute((await request.json())["reference"], None)}, status=201
        )

    assert (await play("First call", careless, ledger)).as_promised
    replay = await play("Replay", careless, ledger)
    assert replay.executed == 2
    assert replay.broken == ("the same bytes", "called a replay", "executed once")
    race = await play("Concurrent duplicates", careless, ledger)
    assert race.executed == 21
    assert "one 201" in race.broken
    mismatch = await play("Mismatch", careless, ledger)
    assert mismatch.broken == ("status 422", "problem key-reused", "executed once")
    missing = await play("Missing key", careless, ledger)
    assert missing.broken == ("status 400", "problem key-missing", "executed never")


async def test_a_race_without_retry_after_or_without_a_winner_is_not_as_promised() -> None:
    async def always_busy(_: web.Request) -> web.Response:
        return problem(409, "in-progress")

    scene = await play("Concurrent duplicates", always_busy)
    assert scene.broken == (
        "one 201",
        "each 409 with Retry-After",
        "then a replay of the same bytes",
        "executed once",
    )
    assert scene.exchanges[0].received == "20 x 409 in-progress"


async def test_a_race_is_as_promised_however_late_its_duplicates_come() -> None:
    ledger, recorded = Ledger(), asyncio.Event()

    async def busy(request: web.Request) -> web.Response:
        reference = (await request.json())["reference"]
        if not ledger.executions:
            ledger.execute(reference, "1")
            await ledger.finish(reference)
            recorded.set()
            return web.Response(status=201, body=b"made")
        await asyncio.sleep(0.05)
        return replayed(b"made") if recorded.is_set() else problem(409, "in-progress", **{"retry-after": "1"})

    scene = await play("Concurrent duplicates", busy, ledger)

    assert scene.broken == ()
    assert scene.executed == 1


async def test_a_detached_call_is_as_promised_when_its_retries_wait_for_it() -> None:
    ledger, done, calls = Ledger(), asyncio.Event(), 0

    async def waiting(request: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        if calls > 1:
            await done.wait()
            return replayed(b"made")
        ledger.execute((await request.json())["reference"], "1")
        asyncio.get_running_loop().call_later(0.8, done.set)
        await done.wait()
        return web.Response(status=201, body=b"made")

    scene = await play("Gives up, detached", waiting, ledger)

    assert scene.broken == ()
    assert calls == 21


async def test_a_detached_call_that_ends_with_its_client_breaks_the_promise() -> None:
    ledger = Ledger()

    async def forgetful(request: web.Request) -> web.Response:
        ledger.execute((await request.json())["reference"], "1")
        await asyncio.sleep(0.6)
        return web.Response(status=201, body=str(ledger.executions.total()).encode())

    scene = await play("Gives up, detached", forgetful, ledger)

    assert "each a replay" in scene.broken
    assert "executed once" in scene.broken


async def test_an_impatient_client_asks_again_until_the_first_attempt_is_settled() -> None:
    ledger = Ledger()
    answers = [problem(409, "in-progress", **{"retry-after": "1"}), problem(409, "outcome-unknown")]

    async def slow(request: web.Request) -> web.Response:
        if not ledger.executions:
            ledger.execute((await request.json())["reference"], "1")
            await asyncio.sleep(60)
        return answers.pop(0)

    scene = await play("Gives up, retries", slow, ledger)
    assert scene.broken == ()
    assert [exchange.received for exchange in scene.exchanges] == [
        "nothing: gave up after 0.4 s",
        "409 outcome-unknown",
    ]


async def test_an_answer_that_never_comes_is_a_broken_promise_and_no_traceback() -> None:
    async with aiohttp.ClientSession() as session:
        scene = await script("First call").play(Client(session, "http://127.0.0.1:1"), Ledger())
    assert scene.broken == ("an answer comes", "executed once")
    assert scene.exchanges[0].received.startswith("no answer: ")


@pytest.fixture
async def service() -> AsyncIterator[tuple[Ledger, Client]]:
    ledger = Ledger()
    async with running(payments(ledger)) as url, aiohttp.ClientSession() as session:
        yield ledger, Client(session, url)


async def test_the_payments_service_pays_each_time_it_is_asked(service: tuple[Ledger, Client]) -> None:
    ledger, client = service
    first, second = [await client.send(Order("ref", 5, "key")) for _ in range(2)]
    assert (first.status, second.status) == (201, 201)
    assert json.loads(first.body) == {"id": "pay_0001", "reference": "ref", "amount": 5}
    assert second.headers["location"] == "/v1/payments/pay_0002"
    assert ledger.executions["ref"] == 2
    assert ledger.attempts == [None, None]


async def test_the_payments_service_is_at_work_on_an_order_for_as_long_as_it_is_told(
    service: tuple[Ledger, Client],
) -> None:
    ledger, client = service
    with ledger.at_work_on("ref"):
        call = asyncio.create_task(client.send(Order("ref", 5, "key")))
        while not ledger.executions["ref"]:  # noqa: ASYNC110 - the books have no event for it
            await asyncio.sleep(0.001)
        assert (await client.send(Order("other", 5, "key"))).status == 201
        assert not call.done()
    assert (await call).status == 201


async def test_the_payments_service_pays_even_when_nobody_waits_for_the_answer(
    service: tuple[Ledger, Client],
) -> None:
    ledger, client = service
    with pytest.raises(TimeoutError):
        await client.send(Order("ref", 5, "key", takes_s=5), patience_s=0.1)
    assert ledger.executions["ref"] == 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(201, {}, b'{"id": "pay_1"}'), "201 Created pay_1"),
        (Answer(201, {"idempotent-replayed": "true"}, b'{"id": "pay_1"}'), "201 Created pay_1 (replayed)"),
        (
            Answer(409, {"retry-after": "1"}, b'{"type": "urn:idempotency:in-progress"}'),
            "409 in-progress, retry after 1 s",
        ),
        (Answer(503, {}, b"no healthy upstream"), "503 Service Unavailable"),
        (Answer(599, {}, b"[]"), "599"),
        (Answer(400, {}, b'{"type": "about:blank", "id": 7}'), "400 Bad Request"),
    ],
)
def test_an_answer_is_told_in_a_few_words(answer: Answer, text: str) -> None:
    assert str(answer) == text


def test_an_order_is_the_same_bytes_each_time_and_its_key_a_structured_field() -> None:
    order = Order("ref", 5, "key")
    assert order.body == order.body
    assert order.headers["idempotency-key"] == '"key"'
    assert "idempotency-key" not in Order("ref", 5, None).headers


def test_counts_are_told_in_words() -> None:
    assert [times(count) for count in range(4)] == ["never", "once", "twice", "3 times"]


def test_every_scene_of_the_contract_is_there_with_a_payment_of_its_own() -> None:
    assert [script.title for script in SCRIPTS] == [
        "First call",
        "Replay",
        "Concurrent duplicates",
        "Mismatch",
        "Missing key",
        "Gives up, retries",
        "Gives up, detached",
    ]
    assert len({script.order.reference for script in SCRIPTS}) == len(SCRIPTS)
