"""The service behind Envoy, over real sockets, spoken to by the bench's own client."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bench import upstream_control
from bench.errors import BenchError
from bench.load.client import Connection as Client
from bench.load.client import Response, connected
from bench.upstream import Connection, Service, body_of, response_of


@pytest.fixture
async def url() -> AsyncIterator[str]:
    service = Service()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with connected(url) as (connection,):
        yield connection


async def raw(url: str, *pieces: bytes) -> bytes:
    """Send pieces one after the other; the first of what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.close()
    return head


@pytest.mark.parametrize("size", [42, 100, 10_000])
def test_a_body_has_exactly_the_size_that_was_asked_for(size: int) -> None:
    body = body_of(size)

    assert len(body) == size
    assert (body[:1], body[-1:]) == (b"{", b"}")


def test_no_bytes_are_no_body() -> None:
    assert body_of(0) == b""
    assert response_of(b"").endswith(b"content-length: 0\r\n\r\n")


def test_a_size_too_small_for_json_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: 0, or"):
        body_of(3)


async def test_the_path_says_how_large_the_response_is(client: Client) -> None:
    response = await client.request("/500/call", "key", b"{}")

    assert (response.status, len(response.body)) == (200, 500)
    assert response.headers["content-type"] == "application/json"


async def test_requests_are_executed_one_after_the_other_on_one_connection(url: str, client: Client) -> None:
    for size in (100, 0, 200):
        assert len((await client.request(f"/{size}/call", None, b"x" * size)).body) == size

    assert (await upstream_control.counts(url)).executed == 3


async def test_a_large_body_is_read_to_its_end(url: str, client: Client) -> None:
    response = await client.request("/100/upload", "key", b"x" * 2_000_000)

    assert response.status == 200
    assert (await upstream_control.counts(url)).executed == 1


async def test_a_head_in_pieces_is_put_together(url: str) -> None:
    head = await raw(url, b"POST /100/call HTT", b"P/1.1\r\nContent-Le", b"ngth: 2\r\n\r", b"\n{", b"}")

    assert head.startswith(b"HTTP/1.1 200")


async def test_a_chunked_body_ends_with_its_last_chunk(url: str) -> None:
    head = b"POST /100/call HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

    assert (await raw(url, head, b"5\r\nhello\r\n", b"0\r\n", b"\r\n")).startswith(b"HTTP/1.1 200")
    assert (await raw(url, head + b"2\r\nhi\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert (await upstream_control.counts(url)).executed == 2


async def test_a_held_request_is_answered_when_it_is_released(url: str, client: Client) -> None:
    client.send("/100/hold", "key", b"{}")
    await upstream_control.until_held(url, 1)
    assert (await upstream_control.counts(url)).executed == 1

    await upstream_control.release(url)

    assert (await client.receive()).status == 200
    assert (await upstream_control.counts(url)).held == 0


async def test_a_held_request_whose_client_left_does_not_disturb_the_others(url: str, client: Client) -> None:
    async with connected(url) as (leaving,):
        leaving.send("/100/hold", "key", b"{}")
        client.send("/100/hold", "key", b"{}")
        await upstream_control.until_held(url, 2)

    await upstream_control.release(url)

    assert (await client.receive()).status == 200


async def test_the_client_says_where_nobody_listens() -> None:
    with pytest.raises(BenchError, match="cannot be reached"):
        await Client.open("http://127.0.0.1:1")


async def test_the_client_says_when_no_response_comes() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connected(url) as (client,):
            with pytest.raises(BenchError, match="no response"):
                await client.request("/100/call", None, b"")


async def test_the_client_reads_chunked_responses() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nIdempotency-Replayed: true\r\n\r\n"
        )
        writer.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connected(url) as (client,):
            response = await client.request("/x", None, b"")
    assert (response.status, response.body, response.replayed) == (201, b"abcde", True)


def test_a_replay_says_so_in_either_spelling() -> None:
    assert Response(200, {"idempotent-replayed": "true"}, b"").replayed
    assert Response(200, {"idempotency-replayed": "true"}, b"").replayed
    assert not Response(200, {}, b"").replayed
