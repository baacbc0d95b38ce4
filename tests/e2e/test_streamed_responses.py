"""Responses that come bit by bit: passed on live, recorded where they end, in all pairings of protocols."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.live_scene import HTTP1, HTTP2, LiveScene, compared, kind, live_scene, new_key, new_target
from tests.stack.live import PATIENCE_S, End, Fields, Gone, Message, Side, response
from tests.stack.live_http1 import Http1Side
from tests.stack.valkey import Server

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("http", [HTTP1, HTTP2], ids=["client HTTP/1.1", "client HTTP/2"]),
]
EVENTS: Fields = (("content-type", "text/event-stream"), ("cache-control", "no-store"))
LIVE_MS = 20.0
"""The most that an event may take from the upstream to the client (issue 5)."""


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[HTTP1, HTTP2], ids=["upstream HTTP/1.1", "upstream HTTP/2"]
)
async def scene(
    request: pytest.FixtureRequest, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LiveScene]:
    async with live_scene(request.param, valkey.url, tmp_path_factory.mktemp("live")) as scene:
        yield scene


def event(number: int) -> bytes:
    """One server-sent event."""
    return b"id: %d\ndata: {}\n\n" % number


async def began(scene: LiveScene, client: Side, target: str, *fields: tuple[str, str]) -> Side:
    """The upstream's side, once the client has the head of its answer."""
    _, upstream = await scene.upstream.request(target)
    await upstream.send_head(response(200, *fields))
    assert (await client.hear_head()).status == 200
    return upstream


async def outcome(scene: LiveScene, http: str, target: str, key: str) -> tuple[int, str]:
    """What a retry is answered, once the outcome of the first is known; nothing is executed for it."""
    executed = scene.upstream.times(target)
    async with asyncio.timeout(PATIENCE_S):
        while (answer := kind(await scene.answer(http, target, key, b"")))[1] == "in-progress":
            pass
    assert scene.upstream.times(target) == executed
    return answer


# --- Server-sent events


async def test_an_event_is_with_the_client_within_20_ms_as_it_is_without_a_sidecar(
    scene: LiveScene, http: str
) -> None:
    """Without a key Envoy skips the filter: the same Envoy is the plain one, event by event."""
    plain_target, keyed_target = new_target(), new_target()
    took: dict[str, list[float]] = {"plain": [], "keyed": []}
    async with (
        scene.request(http, plain_target, None) as plain,
        scene.request(http, keyed_target, new_key()) as keyed,
    ):
        ends = {
            "plain": (await began(scene, plain, plain_target, *EVENTS), plain),
            "keyed": (await began(scene, keyed, keyed_target, *EVENTS), keyed),
        }
        for number in range(200):
            for name, (upstream, client) in ends.items():
                sent = time.perf_counter()
                await upstream.send(event(number))
                await client.hear_bytes(event(number))
                took[name].append((time.perf_counter() - sent) * 1000)
        for upstream, client in ends.values():
            await upstream.end()
            assert await client.rest() == (b"", End())

    for name, each in took.items():
        median, worst = statistics.median(each), max(each)
        print(f"\n{name}, {scene.upstream_http} to {http}: median {median:.2f} ms, worst {worst:.2f} ms")  # noqa: T201 - measured
    assert statistics.median(took["keyed"]) < LIVE_MS


async def test_the_last_event_does_not_wait_for_the_end_that_follows_it(scene: LiveScene, http: str) -> None:
    """A sidecar that held back the newest piece, for it might be the last, would never let this test end."""
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as client:
        upstream = await began(scene, client, target, *EVENTS)
        for number in range(3):
            await upstream.send(event(number))
            await client.hear_bytes(event(number))
        assert kind(await scene.answer(http, target, key, b"")) == (409, "in-progress")

        await upstream.end()

        assert await client.rest() == (b"", End())
    assert await outcome(scene, http, target, key) == (200, "replayed")


async def test_a_stream_that_ends_within_the_limit_is_given_again_at_once(
    scene: LiveScene, http: str
) -> None:
    target, key = new_target("small"), new_key()
    events = [event(number) for number in range(10)]
    async with scene.request(http, target, key) as client:
        _, upstream = await scene.upstream.request(target)
        await upstream.send_head(response(200, *EVENTS))
        for each in events:
            await upstream.send(each, ends=each is events[-1])
        first = await client.message()

    retry = await scene.answer(http, target, key, b"")

    assert (kind(retry), retry.body, retry.whole) == ((200, "replayed"), b"".join(events), True)
    assert first.body == retry.body
    assert retry.head.values("content-type") == ["text/event-stream"]
    assert retry.head.values("cache-control") == ["no-store"]


async def test_a_stream_over_the_limit_passes_live_to_its_end_and_is_not_given_again(
    scene: LiveScene, http: str
) -> None:
    target, key = new_target("small"), new_key()
    async with scene.request(http, target, key) as client:
        upstream = await began(scene, client, target, *EVENTS)
        for number in range(200):
            await upstream.send(event(number))
            await client.hear_bytes(event(number))
        await upstream.end()
        assert await client.rest() == (b"", End())

    assert await outcome(scene, http, target, key) == (409, "response-not-stored")


async def test_a_client_that_leaves_a_stream_takes_the_upstreams_call_with_it(
    scene: LiveScene, http: str
) -> None:
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as client:
        upstream = await began(scene, client, target, *EVENTS)
        await upstream.send(event(1))
        await client.hear_bytes(event(1))
        await client.leave()

        assert await upstream.hear() == Gone()
    await upstream.leave()

    assert await outcome(scene, http, target, key) == (409, "outcome-unknown")


# --- Responses of unknown length


@pytest.mark.parametrize("apart", [False, True], ids=["the end comes along", "the end comes apart"])
async def test_a_response_of_unknown_length_is_whole_at_its_end(
    scene: LiveScene, http: str, apart: bool
) -> None:
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as client:
        upstream = await began(scene, client, target, ("content-type", "text/plain"))
        await upstream.send(b"one,")
        await client.hear_bytes(b"one,")
        if apart:
            await upstream.send(b"two")
            await client.hear_bytes(b"two")
            await upstream.end()
            assert await client.rest() == (b"", End())
        else:
            await upstream.send(b"two", ends=True)
            assert await client.rest() == (b"two", End())

    retry = await scene.answer(http, target, key, b"")

    assert (kind(retry), retry.body) == ((200, "replayed"), b"one,two")


@pytest.mark.parametrize("scene", [HTTP1], indirect=True, ids=["upstream HTTP/1.1"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_response_that_the_end_of_its_connection_ends_is_recorded(
    scene: LiveScene, http: str, version: str
) -> None:
    """RFC 9112 §6.3: with neither a length nor chunks a response ends with its connection."""
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as client:
        _, upstream = await scene.upstream.request(target)
        assert isinstance(upstream, Http1Side)
        await upstream.raw(f"HTTP/{version} 200 OK\r\ncontent-type: text/plain\r\n\r\n".encode())
        assert (await client.hear_head()).status == 200
        await upstream.raw(b"until the end")
        await client.hear_bytes(b"until the end")
        await upstream.leave()
        assert await client.rest() == (b"", End())

    retry = await scene.answer(http, target, key, b"")

    assert (kind(retry), retry.body) == ((200, "replayed"), b"until the end")


async def test_trailers_that_were_not_announced_end_a_response_of_unknown_length(
    scene: LiveScene, http: str
) -> None:
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as client:
        _, upstream = await scene.upstream.request(target)
        await upstream.send_head(response(200, *EVENTS))
        await upstream.send(event(1))
        await upstream.end((("x-sum", "7"),))
        first = await client.message()

    retry = await scene.answer(http, target, key, b"")

    assert kind(retry) == (200, "replayed")
    assert compared(retry) == compared(first)
    assert retry.trailers == (("x-sum", "7"),)


async def test_a_stream_that_the_upstream_breaks_off_breaks_off_and_is_unknown(
    scene: LiveScene, http: str
) -> None:
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as client:
        upstream = await began(scene, client, target, *EVENTS)
        await upstream.send(event(1))
        await client.hear_bytes(event(1))
        await upstream.leave()
        assert await client.rest() == (b"", Gone())

    assert await outcome(scene, http, target, key) == (409, "outcome-unknown")


# --- Answers that come before the request has ended


async def upload(client: Side, pieces: int) -> None:
    for _ in range(pieces):
        await client.send(b"z" * 1000)


@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_may_overtake_an_upload_that_ends_before_it_does(
    scene: LiveScene, http: str, status: int
) -> None:
    """Both were seen whole in the end, so a retry is compared and given the answer."""
    target, key = new_target(), new_key()
    async with scene.request(http, target, key, ends=False) as client:
        await upload(client, 3)
        _, upstream = await scene.upstream.arrival(target)
        await upstream.send_head(response(status, ("content-type", "text/plain")))
        assert (await client.hear_head()).status == status
        await upstream.send(b"early")
        await client.hear_bytes(b"early")

        await upload(client, 3)
        await client.end()
        assert await upstream.rest() == (b"z" * 6000, End())
        await upstream.end()
        assert await client.rest() == (b"", End())

    assert kind(await scene.answer(http, target, key, b"y" * 6000)) == (422, "key-reused")
    retry = await scene.answer(http, target, key, b"z" * 6000)
    assert (kind(retry), retry.body) == ((status, "replayed"), b"early")
    assert scene.upstream.times(target) == 1


@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_that_is_whole_before_the_upload_is_decided_and_never_given_again(
    scene: LiveScene, http: str, status: int
) -> None:
    """What was never seen whole cannot be compared with anything (docs/decisions/0008)."""
    target, key = new_target(), new_key()
    async with scene.request(http, target, key, ends=False) as client:
        await upload(client, 3)
        _, upstream = await scene.upstream.arrival(target)
        await upstream.send_head(response(status, ("content-length", "5")))
        await upstream.send(b"early", ends=True)
        first = await client.message()
        await upstream.leave()

    assert (first.head.status, first.body, first.whole) == (status, b"early", True)
    assert await outcome(scene, http, target, key) == (409, "response-not-stored")


async def test_an_upstream_that_resets_the_upload_after_its_answer_has_answered(
    scene: LiveScene, http: str
) -> None:
    """Under `unknown: retry`, too, where the answer waits for the note that nothing can be compared."""
    target, key = new_target("retrying"), new_key()
    async with scene.request(http, target, key, ends=False) as client:
        await upload(client, 3)
        _, upstream = await scene.upstream.arrival(target)
        await upstream.send_head(response(413, ("content-length", "9")))
        await upstream.send(b"too large", ends=True)
        await upstream.leave()
        first = await client.message()

    assert (first.head.status, first.body) == (413, b"too large")
    assert await outcome(scene, http, target, key) == (409, "response-not-stored")


# --- Expect: 100-continue, and other interim responses


async def expecting(
    scene: LiveScene, http: str, target: str, key: str, body: bytes, *, executed: bool
) -> Message:
    """A client that sends its body only once it is told to go on; is it `executed`, the upstream answers."""
    fields = (("expect", "100-continue"), ("content-length", str(len(body))))
    async with scene.request(http, target, key, *fields, ends=False) as client:
        assert (await client.hear_head()).status == 100
        await client.send(body, ends=True)
        if executed:
            request, upstream = await scene.upstream.request(target)
            assert request.body == body
            assert request.head.values("expect") == []
            await upstream.send_head(response(201, ("content-length", "4")))
            await upstream.send(b"done", ends=True)
        return await client.message()


async def test_a_client_that_expects_100_continue_is_told_to_go_on_and_then_answered(
    scene: LiveScene, http: str
) -> None:
    target, key = new_target(), new_key()

    first = await expecting(scene, http, target, key, b"one", executed=True)
    same = await expecting(scene, http, target, key, b"one", executed=False)
    other = await expecting(scene, http, target, key, b"two", executed=False)

    assert (kind(first), kind(same)) == ((201, "first"), (201, "replayed"))
    assert (same.body, kind(other)) == (b"done", (422, "key-reused"))
    assert scene.upstream.times(target) == 1


async def test_a_duplicate_that_expects_100_continue_is_refused_without_its_body(
    scene: LiveScene, http: str
) -> None:
    """The 100 is Envoy's own, before it asks anybody; what counts is that no byte is waited for."""
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as first:
        upstream = (await scene.upstream.request(target))[1]
        fields = (("expect", "100-continue"), ("content-length", "1000"))
        async with scene.request(http, target, key, *fields, ends=False) as client:
            refused = await client.message()
        await upstream.send_head(response(204), ends=True)
        assert kind(await first.message()) == (204, "first")

    assert (kind(refused), refused.interim) == ((409, "in-progress"), [100])
    assert scene.upstream.times(target) == 1


async def test_interim_responses_of_the_upstream_are_no_answers(scene: LiveScene, http: str) -> None:
    """Envoy keeps them to itself, and the sidecar hears of none."""
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as client:
        _, upstream = await scene.upstream.request(target)
        await upstream.send_head(response(103, ("link", "</a.css>")))
        await upstream.send_head(response(103, ("link", "</b.css>")))
        await upstream.send_head(response(201, ("content-length", "5")))
        await upstream.send(b"final", ends=True)
        first = await client.message()

    retry = await scene.answer(http, target, key, b"")

    assert (kind(first), first.interim, first.body) == ((201, "first"), [], b"final")
    assert (kind(retry), retry.interim, retry.body) == ((201, "replayed"), [], b"final")
