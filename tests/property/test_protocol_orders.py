"""Every order and split of messages against the real servicer, as Envoy's own ordering tests do it.

Whatever a peer sends, each message outside full duplex gets exactly one answer that is legal for its phase,
or the stream fails with a status: never a hang, never an empty answer, never a clean close with a message
unanswered. `envoy_account.py` keeps the account.
"""

import asyncio
import contextlib
import itertools
import math
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import grpc
import pytest
import pytest_asyncio
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.extproc.transport.grpcio import GrpcioTransport
from sidecar.extproc.transport.native import NativeTransport
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import Execution, KeyPlace, KeySource, Match, Mode, Policies, Policy
from tests.property.envoy_account import Given
from tests.property.orders import (
    ANYTHING,
    REQUEST_BODY,
    RESPONSE_BODY,
    TRAILERS,
    TYPED,
    Shape,
    every_order,
    merges,
    plain_shapes,
    request_head,
    response_body,
    response_head,
    shapes,
)
from tests.property.servicer import Peer, Servicer, serving

AT_ONCE = 32
"""How many streams are open at a time."""
T = TypeVar("T")
Case: TypeAlias = Callable[[Servicer, T], Coroutine[Any, Any, None]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


def policy(name: str) -> Policy:
    """A policy for the targets under its name."""
    return Policy(name, match=Match(paths=(PathPattern(f"/{name}/**"),)))


POLICIES = Policies(
    (
        policy("hold"),
        replace(policy("retry"), unknown=UnknownPolicy.RETRY),
        replace(policy("detached"), execution=Execution.DETACHED),
        replace(policy("derived"), key=KeySource("", KeyPlace.DERIVED)),
        replace(policy("shadow"), mode=Mode.SHADOW),
        replace(policy("both"), execution=Execution.DETACHED, unknown=UnknownPolicy.RETRY),
    )
)
WHOLE = Shape((REQUEST_BODY,), "last piece", True)
OPENINGS = {
    "no key": "hold",
    "malformed key": "hold",
    "new": "hold",
    "noted": "retry",
    "taking over": "retry",
    "detached": "detached",
    "detached and noted": "both",
    "recorded": "hold",
    "in flight": "hold",
    "key in the body": "derived",
    "in shadow": "shadow",
}
"""What the request whose messages follow is to the sidecar, and under which policy."""


@pytest_asyncio.fixture(
    scope="module", loop_scope="module", params=[GrpcioTransport, NativeTransport], ids=["grpcio", "native"]
)
async def servicer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Servicer]:
    path = tmp_path_factory.mktemp("servicer") / "ext_proc.sock"
    async with serving(request.param, path, POLICIES) as servicer:
        servicer.share = 1 if request.param is NativeTransport else 5
        yield servicer


async def for_each(servicer: Servicer, case: Case[T], items: Iterable[T]) -> int:
    """Try a case on every item, several at a time; how many there were."""
    remaining, tried = iter(items), 0
    while batch := list(itertools.islice(remaining, AT_ONCE)):
        async with asyncio.TaskGroup() as group:
            for item in batch:
                group.create_task(case(servicer, item))
        tried += len(batch)
    return tried


def thinned(servicer: Servicer, items: Iterable[T]) -> Iterable[T]:
    """All of them over the transport that is ours; a share over grpcio, which has tests enough of its own."""
    return itertools.islice(items, 0, None, servicer.share)


def new_key() -> str:
    return f'"{uuid.uuid4()}"'


# --- What Envoy would never send


async def record(servicer: Servicer, target: str, key: str) -> None:
    """Have a request executed and recorded."""
    async with servicer.stream() as peer:
        await peer.tell(*WHOLE.request(target, key), response_head(), response_body(RESPONSE_BODY, end=True))
        assert await peer.close() is grpc.StatusCode.OK


async def leave_unknown(servicer: Servicer, target: str, key: str) -> None:
    """Have a request forwarded, and its stream end before any response."""
    async with servicer.stream() as peer:
        await peer.tell(*WHOLE.request(target, key))
        assert await peer.close() is grpc.StatusCode.OK


@contextlib.asynccontextmanager
async def opened(servicer: Servicer, name: str, *, end: bool) -> AsyncIterator[Peer]:
    """A stream with the head, not answered yet, of a request that is to the sidecar what the name says."""
    target, key = f"/{OPENINGS[name]}/{uuid.uuid4()}", new_key()
    if name == "recorded":
        await record(servicer, target, key)
    if name == "taking over":
        await leave_unknown(servicer, target, key)
    async with servicer.stream() as owner, servicer.stream() as peer:
        if name == "in flight":
            await owner.tell(request_head(target, key, end=True))
        own_key = {"no key": None, "malformed key": "?;"}.get(name, key)
        await peer.send(request_head(target, own_key, end=end))
        yield peer


async def check_end(servicer: Servicer, peer: Peer) -> None:
    """A stream that the servicer ended was failed; one that it did not end owes nothing."""
    ended_by_servicer = peer.status
    assert ended_by_servicer is not grpc.StatusCode.OK, "a clean close that Envoy did not ask for"
    assert await peer.close() in {grpc.StatusCode.OK, grpc.StatusCode.INTERNAL}
    assert ended_by_servicer is not None or peer.account.owes_nothing
    assert servicer.bugs() == []


@pytest.mark.parametrize("paced", [True, False], ids=["one by one", "all at once"])
async def test_any_three_messages_are_answered_or_fail_the_stream(servicer: Servicer, paced: bool) -> None:
    async def case(servicer: Servicer, names: tuple[str, ...]) -> None:
        messages = [ANYTHING[name] for name in names]
        async with servicer.stream() as peer:
            await (peer.tell if paced else peer.send)(*messages)
            await peer.settle()
            await check_end(servicer, peer)

    assert await for_each(servicer, case, every_order(3)) == 1 + 9 + 81 + 729


@pytest.mark.parametrize("paced", [True, False], ids=["one by one", "all at once"])
async def test_whatever_follows_the_head_of_a_request_is_answered_or_fails_the_stream(
    servicer: Servicer, paced: bool
) -> None:
    async def case(servicer: Servicer, item: tuple[str, bool, tuple[str, ...]]) -> None:
        name, end, rest = item
        async with opened(servicer, name, end=end) as peer:
            await peer.settle()
            await (peer.tell if paced else peer.send)(*(ANYTHING[each] for each in rest))
            await peer.settle()
            await check_end(servicer, peer)

    cases = itertools.product(OPENINGS, (False, True), every_order(2))
    assert await for_each(servicer, case, cases) == 11 * 2 * 91


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(OPENINGS)),
    end=st.booleans(),
    rest=st.lists(st.sampled_from(sorted(ANYTHING)), min_size=3, max_size=12),
    pauses=st.lists(st.booleans(), min_size=12, max_size=12),
)
async def test_longer_orders_of_any_pace_are_answered_or_fail_the_stream(
    servicer: Servicer, name: str, end: bool, rest: list[str], pauses: list[bool]
) -> None:
    async with opened(servicer, name, end=end) as peer:
        for message, pause in zip(rest, pauses, strict=False):
            if pause:
                await peer.settle()
            if peer.status is None:
                await peer.send(ANYTHING[message])
        await peer.settle()
        await check_end(servicer, peer)


# --- What Envoy sends


async def executed(servicer: Servicer, messages: list[bytes], *, paced: bool) -> list[pb.ProcessingResponse]:
    """Let a new key's messages pass in this order; the answers, of which each message has got one."""
    head, *rest = messages
    async with servicer.stream() as peer:
        await peer.tell(head)
        await (peer.tell if paced else peer.send)(*rest)
        await peer.settle()
        assert peer.status is None, peer.account
        assert await peer.close() is grpc.StatusCode.OK
    assert servicer.bugs() == []
    assert len(peer.account.answers) == len(messages)
    return peer.account.answers


async def retried(servicer: Servicer, target: str, key: str | None, shape: Shape, body: bytes) -> Given:
    """What a retry is answered, whose body comes in this shape."""
    if shape.pieces:
        *begun, _ = shape.pieces
        last = body[sum(map(len, begun)) :]
        shape = replace(shape, pieces=(*begun, last))
    async with servicer.stream() as peer:
        await peer.tell(*shape.request(target, key))
        assert await peer.close() is grpc.StatusCode.OK
    assert peer.account.given is not None, peer.account
    return peer.account.given


def forwards_first_attempt(answer: pb.ProcessingResponse, *, body: bool) -> bool:
    """Whether a head is let go as attempt 1, the rest to be shown."""
    (own,) = answer.request_headers.response.header_mutation.set_headers
    mode, streamed = answer.mode_override, pb.ProcessingMode.STREAMED
    return (
        (own.header.key, own.header.raw_value) == ("idempotency-attempt", b"1")
        and mode.response_body_mode == streamed
        and mode.response_trailer_mode == pb.ProcessingMode.SEND
        and mode.request_body_mode == (streamed if body else pb.ProcessingMode.NONE)
    )


@pytest.mark.parametrize("prefix", ["hold", "retry"])
async def test_bodies_of_every_split_pass_and_are_recorded_and_given_again(
    servicer: Servicer, prefix: str
) -> None:
    async def case(servicer: Servicer, item: tuple[Shape, Shape]) -> None:
        request, response = item
        target, key = f"/{prefix}/{uuid.uuid4()}", new_key()
        messages = [*request.request(target, key), *response.response()]

        head, *_ = await executed(servicer, messages, paced=True)
        retry = await retried(servicer, target, key, request, REQUEST_BODY)

        assert forwards_first_attempt(head, body=bool(request.pieces))
        assert retry.status == 201
        assert set(retry.fields) >= {*TYPED, ("idempotent-replayed", b"true")}
        assert (retry.body, retry.whole) == (RESPONSE_BODY if response.pieces else b"", True)
        recorded = response.end == "trailers" and not response.loses_trailers
        assert retry.trailers == (TRAILERS if recorded else ())
        if request.pieces:
            assert (await retried(servicer, target, key, request, b"abd")).status == 422

    splits = thinned(servicer, itertools.product(shapes(REQUEST_BODY), shapes(RESPONSE_BODY)))
    assert await for_each(servicer, case, splits) == math.ceil(25 * 25 / servicer.share)


@pytest.mark.parametrize("paced", [True, False], ids=["one by one", "all at once"])
async def test_a_response_may_begin_and_end_anywhere_in_its_request(servicer: Servicer, paced: bool) -> None:
    """It is given again only where the request was whole before the response was (decision 0008)."""

    async def case(servicer: Servicer, item: tuple[Shape, Shape, tuple[int, ...]]) -> None:
        request, response, sides = item
        target, key = f"/hold/{uuid.uuid4()}", new_key()
        messages = (iter(request.request(target, key)), iter(response.response()))

        await executed(servicer, [next(messages[side]) for side in sides], paced=paced)
        retry = await retried(servicer, target, key, request, REQUEST_BODY)

        if place(sides, 0, request.whole_at) < place(sides, 1, response.whole_at):
            assert (retry.status, retry.body) == (201, RESPONSE_BODY if response.pieces else b"")
        else:
            assert retry.status == 409
            assert b"urn:idempotency:response-not-stored" in retry.body

    tried = await for_each(servicer, case, thinned(servicer, overlapping()))
    assert tried > 1000 / servicer.share


def place(sides: tuple[int, ...], side: int, number: int) -> int:
    """Where the message with this number of a side stands in an order."""
    return [index for index, each in enumerate(sides) if each == side][number]


def overlapping() -> Iterable[tuple[Shape, Shape, tuple[int, ...]]]:
    """Some requests and some responses, and every order of their messages behind the request's head."""
    for request, response in itertools.product(plain_shapes(REQUEST_BODY), plain_shapes(RESPONSE_BODY)):
        for sides in merges(request.messages - 1, response.messages):
            yield request, response, (0, *sides)


# --- A duplicate whose body is read


async def test_a_duplicates_body_is_compared_however_it_is_cut(servicer: Servicer) -> None:
    target, key = f"/hold/{uuid.uuid4()}", new_key()
    await record(servicer, target, key)

    async def case(servicer: Servicer, item: tuple[Shape, bytes]) -> None:
        shape, body = item
        retry = await retried(servicer, target, key, shape, body)
        expected = (201, RESPONSE_BODY) if body == REQUEST_BODY else (422, retry.body)
        assert (retry.status, retry.body) == expected

    with_body = [shape for shape in shapes(REQUEST_BODY) if shape.pieces]
    bodies = (REQUEST_BODY, b"abd", b"abcd", b"ab")
    assert await for_each(servicer, case, itertools.product(with_body, bodies)) == 24 * 4


async def test_a_takeover_reads_its_request_and_forwards_it_as_it_came(servicer: Servicer) -> None:
    """Under `unknown: retry`, after an owner whose stream ended behind its request."""

    async def case(servicer: Servicer, shape: Shape) -> None:
        target, key = f"/retry/{uuid.uuid4()}", new_key()
        await leave_unknown(servicer, target, key)
        async with servicer.stream() as peer:
            await peer.tell(*shape.request(target, key))
            assert bytes(peer.account.echoed) == REQUEST_BODY
            await peer.tell(response_head(), response_body(RESPONSE_BODY, end=True))
            assert await peer.close() is grpc.StatusCode.OK
        assert (await retried(servicer, target, key, shape, REQUEST_BODY)).body == RESPONSE_BODY

    with_body = [shape for shape in shapes(REQUEST_BODY) if shape.pieces]
    assert await for_each(servicer, case, with_body) == 24


async def test_a_request_that_is_read_for_its_key_is_forwarded_as_it_came_and_given_again(
    servicer: Servicer,
) -> None:
    async def case(servicer: Servicer, shape: Shape) -> None:
        target = f"/derived/{uuid.uuid4()}"
        async with servicer.stream() as peer:
            await peer.tell(*shape.request(target, None))
            assert bytes(peer.account.echoed) == REQUEST_BODY
            await peer.tell(response_head(), response_body(RESPONSE_BODY, end=True))
            assert await peer.close() is grpc.StatusCode.OK
        assert (await retried(servicer, target, None, shape, REQUEST_BODY)).body == RESPONSE_BODY

    with_body = [shape for shape in shapes(REQUEST_BODY) if shape.pieces]
    assert await for_each(servicer, case, with_body) == 24


@pytest.mark.parametrize("paced", [True, False], ids=["one by one", "all at once"])
async def test_in_shadow_every_message_passes_in_every_order_of_request_and_response(
    servicer: Servicer, paced: bool
) -> None:
    async def case(servicer: Servicer, item: tuple[Shape, Shape, tuple[int, ...]]) -> None:
        request, response, sides = item
        messages = (iter(request.request(f"/shadow/{uuid.uuid4()}", new_key())), iter(response.response()))

        answers = await executed(servicer, [next(messages[side]) for side in sides], paced=paced)

        assert all(not answer.request_headers.response.HasField("header_mutation") for answer in answers)
        assert all(not answer.HasField("immediate_response") for answer in answers)

    assert await for_each(servicer, case, itertools.islice(overlapping(), 0, None, 7)) > 100


async def test_a_detached_execution_answers_its_request_however_it_is_cut(servicer: Servicer) -> None:
    async def case(servicer: Servicer, shape: Shape) -> None:
        target, key = f"/detached/{uuid.uuid4()}", new_key()
        first = await retried(servicer, target, key, shape, REQUEST_BODY)
        retry = await retried(servicer, target, key, shape, REQUEST_BODY)
        assert (first.status, first.body) == (201, REQUEST_BODY if shape.pieces else b"")
        assert (retry.status, retry.body) == (first.status, first.body)
        assert ("idempotent-replayed", b"true") in retry.fields

    assert await for_each(servicer, case, shapes(REQUEST_BODY)) == 25
