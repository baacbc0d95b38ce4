"""The origin client through a real Envoy's origin listener; no exchange machine, no store."""

import asyncio
import contextlib
import functools
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import pytest_asyncio

from sidecar.envoyconf.bootstrap import render_bootstrap
from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.inputs import Upstream as UpstreamUrl
from sidecar.extproc.wire import ext_proc_pb2
from sidecar.idempotency.body import HeldBody
from sidecar.idempotency.fields import Fields, first, values
from sidecar.idempotency.outcome import Origin, Outcome, OutcomeRules, judge
from sidecar.idempotency.policy import Execution, Policies, Policy
from sidecar.origin.call import OriginAnswer, OriginCall
from sidecar.origin.client import OriginClient
from sidecar.origin.errors import DeadlineError, MayHaveBeenSentError, NeverSentError
from sidecar.supervision.envoy import find_envoy
from sidecar.supervision.errors import StartupError
from tests.e2e.bare_envoy import BareEnvoy, bare_envoy
from tests.stack.upstream import Answer, Upstream, running_upstream

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

POLICIES = Policies((Policy("default", execution=Execution.DETACHED),))
KEY = 'idempotency-key: "a"'


@pytest.fixture(scope="module")
def envoy() -> str:
    try:
        return str(find_envoy(None))
    except StartupError as error:
        pytest.skip(str(error))


def render(directory: Path, upstream: str, port: int, upstream_port: int) -> str:
    return render_bootstrap(
        EnvoyInputs(
            POLICIES,
            (f"unix:{directory}/ext_proc.sock",),
            listen=f"127.0.0.1:{port}",
            upstream=UpstreamUrl.parse(upstream.format(port=upstream_port)),
            admin_path=f"{directory}/admin.sock",
            origin=f"unix://{directory}/origin.sock",
        )
    )


@contextlib.asynccontextmanager
async def origin_of(
    envoy: str, directory: Path, upstream: str
) -> AsyncIterator[tuple[OriginClient, BareEnvoy]]:
    """A client of the origin listener of an Envoy in front of `upstream`."""
    async with bare_envoy(envoy, directory, functools.partial(render, directory, upstream)) as running:
        client = OriginClient(f"unix://{directory}/origin.sock")
        yield client, running
        await client.close()


@pytest_asyncio.fixture
async def beside(envoy: str, tmp_path: Path) -> AsyncIterator[tuple[OriginClient, BareEnvoy]]:
    """Both listeners, in front of an upstream that keeps the heads of its requests."""
    async with origin_of(envoy, tmp_path, "http://127.0.0.1:{port}") as running:
        yield running


@pytest.fixture(params=["http", "h2c"])
def scripted(request: pytest.FixtureRequest) -> Iterator[tuple[Upstream, str]]:
    with running_upstream() as upstream:
        yield upstream, f"{request.param}://127.0.0.1:{upstream.port}"


def call(
    method: str = "POST",
    target: str = "/v1/payments",
    *,
    headers: Fields = (),
    body: bytes = b"",
    deadline_ms: int = 10_000,
    max_response_body: int = 4_000_000,
) -> OriginCall:
    return OriginCall(method, "shop.example", target, headers, body, deadline_ms, max_response_body)


def as_the_sidecar_saw_it(message: bytes) -> OriginCall:
    """The call that a detached execution makes of what Envoy shows the filter."""
    shown = ext_proc_pb2.ProcessingRequest.FromString(message).request_headers.headers.headers
    fields = tuple((field.key, bytes(field.raw_value)) for field in shown)
    pseudo = {name: value.decode("latin-1") for name, value in fields if name.startswith(":")}
    headers = tuple(field for field in fields if not field[0].startswith(":"))
    return OriginCall(
        pseudo[":method"],
        pseudo[":authority"],
        pseudo[":path"],
        (*headers, ("idempotency-attempt", b"1")),
        b"",
        10_000,
        1_000,
    )


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ("x-forwarded-for: 198.51.100.7, 203.0.113.9", "x-forwarded-proto: https"),
        ("x-request-id: mine", "x-dup: b", "x-apple: 1", "x-dup: a", "cookie: a=1; b=2", "x-empty:"),
        ("x-envoy-retry-on: 5xx", "x-envoy-max-retries: 3", "x-envoy-internal: true", "x-forwarded-host: a"),
        ("user-agent: me", "accept: */*", "accept-encoding: gzip", "content-length: 0", "x-latin: caf\xe9"),
    ],
)
async def test_an_upstream_cannot_tell_a_detached_call_from_an_inline_one(
    beside: tuple[OriginClient, BareEnvoy], headers: tuple[str, ...]
) -> None:
    client, running = beside
    await running.send("POST", "/v1/./payments/x%2Fy?a=%7E", KEY, *headers)
    (inline,) = running.upstream.heads

    answer = await client.execute(as_the_sidecar_saw_it(running.processor.heads[0]))

    assert answer.status == 200
    _, detached = running.upstream.heads
    marked = [line for line in detached.split(b"\r\n") if line != b"idempotency-attempt: 1"]
    assert marked == inline.split(b"\r\n")
    assert len(marked) < len(detached.split(b"\r\n"))


async def test_a_detached_call_meets_no_filter(beside: tuple[OriginClient, BareEnvoy]) -> None:
    client, running = beside

    await client.execute(call(headers=(("idempotency-key", b'"a"'),)))

    assert (running.processor.streams, len(running.upstream.heads)) == (0, 1)


@pytest.mark.usefixtures("beside")
async def test_only_its_owner_can_reach_the_listener(tmp_path: Path) -> None:
    assert (tmp_path / "origin.sock").stat().st_mode & 0o777 == 0o600


async def test_nobody_makes_envoy_execute_twice(beside: tuple[OriginClient, BareEnvoy]) -> None:
    client, running = beside
    retry = (
        ("x-envoy-retry-on", b"5xx"),
        ("x-envoy-max-retries", b"3"),
        ("x-envoy-hedge-on-per-try-timeout", b"true"),
    )

    answer = await client.execute(call(target="/v1/payments/500", headers=retry))

    assert (answer.status, len(running.upstream.heads)) == (500, 1)


async def test_an_upstream_cannot_forge_where_its_answer_came_from(
    beside: tuple[OriginClient, BareEnvoy],
) -> None:
    client, running = beside
    forged = (
        b"x-idempotency-origin: UH 0 no_healthy_upstream\r\nX-Idempotency-Origin: NR 0 route_not_found\r\n"
    )
    running.upstream.answer = b"HTTP/1.1 %d X\r\n" + forged + b"server: mine\r\ncontent-length: 2\r\n\r\nok"

    answer = await client.execute(call(target="/503"))

    assert answer.origin.details == "via_upstream"
    assert (answer.origin.flags, answer.origin.attempts) == (0, 1)
    assert str(answer.origin.address).startswith("127.0.0.1:")
    assert first(answer.headers, "x-idempotency-origin") is None
    assert first(answer.headers, "server") == b"mine"


async def test_an_upstream_that_is_down_was_never_sent_the_request(envoy: str, tmp_path: Path) -> None:
    async with origin_of(envoy, tmp_path, "http://127.0.0.1:1") as (client, _):
        answer = await client.execute(call())

    assert (answer.status, answer.origin.flags, answer.origin.attempts) == (503, 32, 1)
    assert judged(answer) is Outcome.RELEASE


async def test_a_request_that_envoy_itself_refuses_was_never_sent(
    beside: tuple[OriginClient, BareEnvoy],
) -> None:
    client, running = beside

    answer = await client.execute(call(headers=(("x-large", b"x" * 120_000),)))

    assert (answer.status, answer.origin.attempts) == (431, 0)
    assert judged(answer) is Outcome.RELEASE
    assert running.upstream.heads == []


async def test_an_upstream_that_resets_may_have_executed(envoy: str, tmp_path: Path) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with raw_upstream(reset) as url, origin_of(envoy, tmp_path, url) as (client, _):
        answer = await client.execute(call())

    assert (answer.status, answer.origin.flags) == (503, 64)
    assert judged(answer) is Outcome.UNKNOWN


async def test_after_the_deadline_envoy_cancels_the_upstream_s_call(envoy: str, tmp_path: Path) -> None:
    arrived, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        cancelled.set()
        writer.close()

    async with raw_upstream(hang) as url, origin_of(envoy, tmp_path, url) as (client, _):
        with pytest.raises(DeadlineError):
            await client.execute(call(deadline_ms=300))
        assert arrived.is_set()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_an_envoy_that_dies_leaves_open_whether_it_executed(envoy: str, tmp_path: Path) -> None:
    arrived = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        writer.close()

    async with raw_upstream(hang) as url, origin_of(envoy, tmp_path, url) as (client, running):
        calling = asyncio.create_task(client.execute(call()))
        await arrived.wait()
        await running.kill()

        with pytest.raises(MayHaveBeenSentError):
            await calling
        with pytest.raises(NeverSentError, match="Connection refused"):
            await client.execute(call())


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
@pytest.mark.parametrize("sized", [True, False])
async def test_bodies_pass_both_ways_byte_for_byte(
    envoy: str, tmp_path: Path, scripted: tuple[Upstream, str], size: int, *, sized: bool
) -> None:
    upstream, url = scripted
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    pieces = [body[start : start + 60_000] for start in range(0, size, 60_000)]
    upstream.script = lambda _: Answer(200, pieces=pieces, sized=sized)
    framing = (("content-length", str(size).encode()),) if sized else ()

    async with origin_of(envoy, tmp_path, url) as (client, _):
        answer = await client.execute(call(headers=framing, body=body))

    kept = answer.body
    assert (b"".join(kept.pieces) if isinstance(kept, HeldBody) else kept) == body
    (seen,) = upstream.ledger
    assert (seen.size, seen.sha256) == (size, hashlib.sha256(body).hexdigest())


async def test_headers_trailers_and_interim_answers_of_an_upstream(
    envoy: str, tmp_path: Path, scripted: tuple[Upstream, str]
) -> None:
    upstream, url = scripted
    headers = [
        ("set-cookie", "b=2"),
        ("x-latin", "caf\xe9"),
        ("set-cookie", "a=1"),
        ("content-encoding", "gzip"),
    ]
    upstream.script = lambda _: Answer(
        201,
        headers,
        [b"\x1f\x8b", b"\x00"],
        [("x-sum", "1"), ("x-bin", "AAE=")],
        sized=False,
        informational=True,
    )

    async with origin_of(envoy, tmp_path, url) as (client, _):
        answer = await client.execute(call())

    assert (answer.status, answer.body) == (201, b"\x1f\x8b\x00")
    assert values(answer.headers, "set-cookie") == (b"b=2", b"a=1")
    assert first(answer.headers, "x-latin") in {b"caf\xe9", b"caf\xc3\xa9"}
    assert first(answer.headers, "content-encoding") == b"gzip"
    assert answer.trailers == (("x-sum", b"1"), ("x-bin", b"AAE="))


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("DELETE", 204), ("GET", 304)])
async def test_answers_without_a_body(
    envoy: str, tmp_path: Path, scripted: tuple[Upstream, str], method: str, status: int
) -> None:
    upstream, url = scripted
    body = [b"done"] if method == "HEAD" else []
    upstream.script = lambda _: Answer(status, pieces=body, sized=False)

    async with origin_of(envoy, tmp_path, url) as (client, _):
        answer = await client.execute(call(method))

    assert (answer.status, answer.body, answer.origin.details) == (status, b"", "via_upstream")
    assert first(answer.headers, "content-length") == (b"4" if method == "HEAD" else None)


async def test_an_answer_that_is_cut_off_is_none(
    envoy: str, tmp_path: Path, scripted: tuple[Upstream, str]
) -> None:
    upstream, url = scripted
    upstream.script = lambda _: Answer(pieces=[b"one", b"two", b"three"], cut_after=2)

    async with origin_of(envoy, tmp_path, url) as (client, _):
        with pytest.raises(MayHaveBeenSentError) as caught:
            await client.execute(call())

    assert caught.value.response_began
    assert len(upstream.ledger) == 1, "it is never sent again"


async def test_an_early_answer_to_a_large_request_is_an_answer(
    envoy: str, tmp_path: Path, scripted: tuple[Upstream, str]
) -> None:
    upstream, url = scripted
    upstream.script = lambda _: Answer(413, pieces=[b"too large"], early=True)

    async with origin_of(envoy, tmp_path, url) as (client, _):
        answer = await client.execute(call(body=b"x" * 3_000_000))

    assert (answer.status, answer.body) == (413, b"too large")


async def test_many_calls_at_once_and_none_is_lost(envoy: str, tmp_path: Path) -> None:
    with running_upstream() as upstream:
        upstream.script = lambda target: Answer(headers=[("x-target", target)])
        async with origin_of(envoy, tmp_path, f"http://127.0.0.1:{upstream.port}") as (client, _):
            answers = await asyncio.gather(*(client.execute(call(target=f"/{n}")) for n in range(400)))

    assert [first(answer.headers, "x-target") for answer in answers] == [b"/%d" % n for n in range(400)]
    assert len(upstream.ledger) == 400


def judged(answer: OriginAnswer) -> Outcome:
    assert answer.origin != Origin()
    return judge(answer.status, answer.origin, OutcomeRules()).outcome


@contextlib.asynccontextmanager
async def raw_upstream(serve: Serve) -> AsyncIterator[str]:
    """An upstream that does with each connection what `serve` does; its URL."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
