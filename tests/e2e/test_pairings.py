"""The main promises over HTTP/1.1 and HTTP/2, at the client and at the upstream, in all four pairings."""

import hashlib
import os
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.live_scene import (
    HTTP1,
    HTTP2,
    LiveScene,
    compared,
    kind,
    live_scene,
    new_key,
    new_target,
)
from tests.stack.live import Fields, Message, response
from tests.stack.valkey import Server

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("http", [HTTP1, HTTP2], ids=["client HTTP/1.1", "client HTTP/2"]),
]
FIELDS: Fields = (
    ("content-type", "text/plain"),
    ("x-order", "7"),
    ("vary", "accept"),
    ("vary", "origin"),
    ("x-name", "caf\xe9"),
    ("x-empty", ""),
)
LARGE = os.urandom(1_000_000)


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[HTTP1, HTTP2], ids=["upstream HTTP/1.1", "upstream HTTP/2"]
)
async def scene(
    request: pytest.FixtureRequest, valkey: Server, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[LiveScene]:
    async with live_scene(request.param, valkey.url, tmp_path_factory.mktemp("live")) as scene:
        yield scene


async def execute(
    scene: LiveScene,
    http: str,
    target: str,
    key: str,
    *,
    answer: tuple[int, Fields],
    body: bytes = b"done",
    trailers: Fields = (),
    payload: bytes = b"x",
) -> Message:
    """A first request, which the upstream answers once it has all of it."""
    length = ("content-length", str(len(payload)))
    async with scene.request(http, target, key, length, ends=False) as client:
        await client.send(payload, ends=True)
        request, upstream = await scene.upstream.request(target)
        assert hashlib.sha256(request.body).digest() == hashlib.sha256(payload).digest()
        assert request.head.values("idempotency-attempt") == ["1"]
        await upstream.send_head(response(answer[0], *answer[1]), ends=not body)
        if body:
            await upstream.send(body, ends=not trailers)
        if trailers:
            await upstream.end(trailers)
        return await client.message()


def given(message: Message) -> Fields:
    """The fields that the upstream gave, however the protocols frame the body."""
    return tuple(pair for pair in compared(message)[1] if pair[0] in dict(FIELDS))


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "of unknown length"])
async def test_a_retry_gets_status_fields_and_body_of_the_first_response(
    scene: LiveScene, http: str, sized: bool
) -> None:
    target, key = new_target(), new_key()
    fields = (*FIELDS, ("content-length", "4")) if sized else FIELDS

    first = await execute(scene, http, target, key, answer=(201, fields))
    retry = await scene.answer(http, target, key)

    assert (kind(first), kind(retry)) == ((201, "first"), (201, "replayed"))
    assert first.head.values("x-name") == ["caf\xe9"]
    assert given(retry) == given(first)
    assert (retry.body, retry.whole) == (first.body, True) == (b"done", True)
    assert scene.upstream.times(target) == 1


async def test_a_retry_gets_the_trailers_of_the_first_response(scene: LiveScene, http: str) -> None:
    target, key = new_target(), new_key()
    trailers = (("x-sum", "7"), ("x-more", "8"))

    first = await execute(scene, http, target, key, answer=(200, FIELDS[:2]), trailers=trailers)
    retry = await scene.answer(http, target, key)

    assert kind(retry) == (200, "replayed")
    assert compared(retry) == compared(first)
    assert (first.body, first.trailers) == (b"done", trailers)


async def test_a_duplicate_of_a_request_under_way_is_refused_at_once(scene: LiveScene, http: str) -> None:
    target, key = new_target(), new_key()
    async with scene.request(http, target, key) as client:
        _, upstream = await scene.upstream.request(target)

        duplicate = await scene.answer(http, target, key, b"")
        await upstream.send_head(response(204), ends=True)
        first = await client.message()

    assert (kind(duplicate), duplicate.head.values("retry-after")) == ((409, "in-progress"), ["1"])
    assert kind(first) == (204, "first")
    assert scene.upstream.times(target) == 1


async def test_another_payload_under_the_same_key_is_refused(scene: LiveScene, http: str) -> None:
    target, key = new_target(), new_key()
    await execute(scene, http, target, key, answer=(201, FIELDS), payload=b"one")

    assert kind(await scene.answer(http, target, key, b"two")) == (422, "key-reused")
    assert kind(await scene.answer(http, target, key, b"one")) == (201, "replayed")
    assert scene.upstream.times(target) == 1


async def test_large_bodies_pass_both_ways_and_are_given_again(scene: LiveScene, http: str) -> None:
    target, key = new_target(), new_key()
    answer = (200, (("content-type", "application/octet-stream"), ("content-length", str(len(LARGE)))))

    first = await execute(scene, http, target, key, answer=answer, body=LARGE, payload=LARGE)
    retry = await scene.answer(http, target, key, LARGE)

    assert kind(retry) == (200, "replayed")
    assert compared(retry) == compared(first)
    assert first.body == LARGE


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_that_has_no_body_is_given_again_without_one(
    scene: LiveScene, http: str, status: int
) -> None:
    target, key = new_target(), new_key()

    first = await execute(scene, http, target, key, answer=(status, (("etag", '"7"'),)), body=b"")
    retry = await scene.answer(http, target, key)

    assert (kind(retry), retry.whole) == ((status, "replayed"), True)
    assert compared(retry) == compared(first)
    assert (retry.body, retry.head.values("etag")) == (b"", ['"7"'])


async def test_the_answer_to_head_tells_of_a_body_that_it_has_not(scene: LiveScene, http: str) -> None:
    target, key = new_target(), new_key()
    fields = (("content-type", "text/plain"), ("content-length", "42"))
    async with scene.request(http, target, key, method="HEAD") as client:
        _, upstream = await scene.upstream.request(target)
        await upstream.send_head(response(200, *fields), ends=True)
        first = await client.message()
    async with scene.request(http, target, key, method="HEAD") as client:
        retry = await client.message()

    assert kind(retry) == (200, "replayed")
    assert compared(retry) == compared(first)
    assert (retry.head.values("content-length"), retry.body) == (["42"], b"")


@pytest.mark.parametrize(
    ("method", "status", "fields"),
    [
        ("POST", 201, (("content-length", "0"),)),
        ("POST", 204, ()),
        ("POST", 304, (("etag", '"a"'),)),
        ("HEAD", 200, (("content-length", "42"),)),
    ],
)
async def test_what_has_no_content_is_recorded_though_its_end_has_not_come(
    scene: LiveScene, http: str, method: str, status: int, fields: Fields
) -> None:
    target, key = new_target(), new_key()
    async with scene.request(http, target, key, method=method) as client:
        _, upstream = await scene.upstream.request(target)
        over = scene.upstream_http == HTTP1  # there its head is its end; over HTTP/2 END_STREAM does not come
        await upstream.send_head(response(status, *fields), ends=over)
        assert (await client.hear_head()).status == status

    async with scene.request(http, target, key, method=method) as client:
        replay = await client.message()
    assert (replay.head.status, replay.head.values("idempotent-replayed")) == (status, ["true"])
    assert scene.upstream.times(target) == 1


async def test_the_trailers_of_a_request_reach_the_upstream_and_do_not_count(
    scene: LiveScene, http: str
) -> None:
    target, key = new_target(), new_key()
    seen: Fields = ()
    answers: list[tuple[int, str]] = []
    for trailers in ((("x-checked", "yes"),), (("x-checked", "again"),)):
        async with scene.request(http, target, key, ends=False) as client:
            await client.send(b"payload")
            await client.end(trailers)
            if not answers:
                request, upstream = await scene.upstream.request(target)
                seen = request.trailers
                await upstream.send_head(response(201, ("content-length", "0")), ends=True)
            answers.append(kind(await client.message()))

    assert seen == (("x-checked", "yes"),)
    assert answers == [(201, "first"), (201, "replayed")]
