"""What comes back: the answer as it was sent, complete, or none."""

import asyncio
from pathlib import Path
from unittest.mock import Mock

import pytest

from sidecar.idempotency.body import PIECE_BYTES, HeldBody
from sidecar.idempotency.outcome import Origin
from sidecar.origin import connection
from sidecar.origin.call import OriginAnswer, OriginCall
from sidecar.origin.errors import DeadlineError, MayHaveBeenSentError
from tests.unit.origin.scripted_origin import CREATED, call, read_request, says, scripted_origin


async def answered(tmp_path: Path, answer: bytes, made: OriginCall | None = None) -> OriginAnswer:
    async with scripted_origin(tmp_path / "o.sock", says(answer)) as origin:
        return await origin.client.execute(made or call())


async def test_headers_keep_their_order_their_repetitions_and_their_bytes(tmp_path: Path) -> None:
    answer = await answered(
        tmp_path,
        b"HTTP/1.1 201 Created\r\nB-Second: 1\r\nSet-Cookie: a=1\r\nA-First: caf\xe9\r\nSet-Cookie: b=2\r\n"
        b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x00",
    )

    assert answer.status == 201
    assert answer.headers == (
        ("b-second", b"1"),
        ("set-cookie", b"a=1"),
        ("a-first", b"caf\xe9"),
        ("set-cookie", b"b=2"),
        ("content-encoding", b"gzip"),
        ("content-length", b"3"),
    )
    assert answer.body == b"\x1f\x8b\x00", "it is not decoded"


async def test_chunks_are_joined_and_their_trailers_kept(tmp_path: Path) -> None:
    answer = await answered(
        tmp_path,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, x-gone\r\nx-gone: 1\r\n"
        b"trailer: x-sum\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n",
    )

    assert (answer.headers, answer.body) == ((("trailer", b"x-sum"),), b"hello")
    assert answer.trailers == (("x-sum", b"1"), ("x-sum", b"2"))


async def test_interim_answers_are_dropped(tmp_path: Path) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    answer = await answered(tmp_path, interim + b"HTTP/1.1 204 No Content\r\n\r\n")

    assert (answer.status, answer.headers, answer.body) == (204, (), b"")


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", b"200 OK"), ("GET", b"304 Not Modified"), ("GET", b"204 No Content")]
)
async def test_answers_without_a_body_end_with_their_head(tmp_path: Path, method: str, status: bytes) -> None:
    answer = await answered(tmp_path, b"HTTP/1.1 " + status + b"\r\nx-size: 5\r\n\r\n", call(method))

    assert (answer.headers, answer.body) == ((("x-size", b"5"),), b"")


async def test_the_length_of_what_head_would_have_got_is_kept(tmp_path: Path) -> None:
    answer = await answered(tmp_path, b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", call("HEAD"))

    assert answer.headers == (("content-length", b"5"),)


async def test_redirects_are_answers(tmp_path: Path) -> None:
    answer = await answered(tmp_path, b"HTTP/1.1 307 T\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n")

    assert (answer.status, answer.headers[0]) == (307, ("location", b"/other"))


async def test_an_answer_over_the_limit_is_read_to_its_end_and_let_go(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n"
    large, fitting = call(max_response_body=100_000), call(max_response_body=100_001)

    assert (await answered(tmp_path, head + b"x" * 100_001, large)).body is None
    assert (await answered(tmp_path, head + b"x" * 100_001, fitting)).body == b"x" * 100_001


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
async def test_a_large_answer_is_kept_in_pieces(tmp_path: Path, chunked: bool) -> None:
    sent = bytes(range(256)) * 3000
    framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(sent)
    parts = [sent[start : start + 50_000] for start in range(0, len(sent), 50_000)]
    body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b"")) if chunked else sent
    head = b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"

    answer = await answered(tmp_path, head + body, call(max_response_body=len(sent)))

    assert isinstance(answer.body, HeldBody)
    assert b"".join(answer.body.pieces) == sent
    assert answer.body.count == -(-len(sent) // PIECE_BYTES)
    over = await answered(tmp_path, head + body, call(max_response_body=len(sent) - 1))
    assert over.body is None


async def test_an_answer_over_the_limit_that_stops_short_is_not_complete(tmp_path: Path) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n123456")
        await writer.drain()

    async with scripted_origin(tmp_path / "o.sock", cut) as origin:
        with pytest.raises(MayHaveBeenSentError) as caught:
            await origin.client.execute(call(max_response_body=2))

    assert caught.value.response_began


async def test_the_end_of_the_connection_ends_an_answer_that_has_no_other_end(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        writer.write_eof()
        await reader.read()

    async with scripted_origin(tmp_path / "o.sock", script) as origin:
        assert (await origin.client.execute(call())).body == b"all of it"


@pytest.mark.parametrize(
    ("answer", "began"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\ncont", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n123", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", True),
        (b"GARBAGE\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nx-large: " + b"x" * 200_000, False),
    ],
)
async def test_an_answer_that_is_none_leaves_open_whether_it_executed(
    tmp_path: Path, answer: bytes, began: bool
) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(answer)
        await writer.drain()

    async with scripted_origin(tmp_path / "o.sock", script) as origin:
        with pytest.raises(MayHaveBeenSentError) as caught:
            await origin.client.execute(call())

    assert caught.value.response_began is began
    assert not isinstance(caught.value, DeadlineError)


async def test_a_bug_in_reading_an_answer_ends_the_call_and_asks_h11_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "provenance", Mock(side_effect=LookupError("a bug")))
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with scripted_origin(tmp_path / "o.sock", says(CREATED)) as origin:
        with pytest.raises(MayHaveBeenSentError, match="a bug"):
            await origin.client.execute(call())


async def test_an_early_answer_counts_though_the_request_was_never_read(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        await writer.drain()

    async with scripted_origin(tmp_path / "o.sock", script) as origin:
        answer = await origin.client.execute(call(body=b"x" * 5_000_000))

    assert (answer.status, answer.body) == (413, b"no")


async def test_the_origin_is_what_the_listener_says_and_its_header_goes_no_further(tmp_path: Path) -> None:
    answer = await answered(
        tmp_path,
        b"HTTP/1.1 503 X\r\nX-Idempotency-Origin: UF 1 why{because} 127.0.0.1:1\r\ncontent-length: 0\r\n\r\n",
    )

    assert answer.origin == Origin("why{because}", 32, "127.0.0.1:1", 1)
    assert answer.headers == (("content-length", b"0"),)
