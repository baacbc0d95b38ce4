"""What the origin is sent: what the call says, and nothing else."""

from pathlib import Path

import pytest

from sidecar.origin.call import OriginCall
from sidecar.origin.errors import NeverSentError
from tests.unit.origin.scripted_origin import CREATED, call, says, scripted_origin


async def sent(tmp_path: Path, made: OriginCall) -> bytes:
    """The bytes of one call's request."""
    async with scripted_origin(tmp_path / "o.sock", says(CREATED)) as origin:
        await origin.client.execute(made)
        return await origin.finished.get()


async def test_a_request_is_written_byte_for_byte_with_host_first(tmp_path: Path) -> None:
    headers = (
        ("x-zebra", b"1"),
        ("cookie", b"a=1"),
        ("x-dup", b"first"),
        ("x-apple", b"caf\xe9 \xff"),
        ("x-dup", b"second"),
        ("x-empty", b""),
        ("content-length", b"4"),
        ("idempotency-attempt", b"2"),
    )

    assert await sent(tmp_path, call(headers=headers, body=b"\x00\xffhi")) == (
        b"POST /v1/payments HTTP/1.1\r\nhost: shop.example\r\nx-zebra: 1\r\ncookie: a=1\r\nx-dup: first\r\n"
        b"x-apple: caf\xe9 \xff\r\nx-dup: second\r\nx-empty: \r\ncontent-length: 4\r\n"
        b"idempotency-attempt: 2\r\n\r\n\x00\xffhi"
    )


async def test_nothing_is_added_to_a_request_without_headers(tmp_path: Path) -> None:
    assert (
        await sent(tmp_path, call("DELETE")) == b"DELETE /v1/payments HTTP/1.1\r\nhost: shop.example\r\n\r\n"
    )


async def test_a_target_is_not_normalised(tmp_path: Path) -> None:
    target = '/a/../b//c%2F%7e?x="y"&z={1}|\\&empty'

    assert (await sent(tmp_path, call("GET", target))).startswith(
        b"GET " + target.encode() + b" HTTP/1.1\r\n"
    )


async def test_a_body_without_a_length_goes_in_chunks_as_it_came(tmp_path: Path) -> None:
    request = await sent(tmp_path, call(body=b"hello"))

    assert request.endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


async def test_the_length_is_the_body_s_whatever_the_header_says(tmp_path: Path) -> None:
    headers = (("content-length", b"999"), ("content-length", b"999"))
    request = await sent(tmp_path, call(headers=headers, body=b"hello"))

    assert request.endswith(b"\r\nhost: shop.example\r\ncontent-length: 5\r\n\r\nhello")


async def test_an_empty_body_keeps_its_length(tmp_path: Path) -> None:
    request = await sent(tmp_path, call(headers=(("content-length", b"0"),)))

    assert request.endswith(b"\r\ncontent-length: 0\r\n\r\n")


async def test_what_belongs_to_the_client_s_connection_is_left_out(tmp_path: Path) -> None:
    headers = (
        ("host", b"elsewhere"),
        ("connection", b"close"),
        ("transfer-encoding", b"chunked"),
        ("te", b"trailers"),
        ("x-kept", b"1"),
    )

    assert (await sent(tmp_path, call("GET", headers=headers))).endswith(
        b"host: shop.example\r\nx-kept: 1\r\n\r\n"
    )


@pytest.mark.parametrize("framing", [(), (("content-length", b"1"),)])
async def test_a_large_body_arrives_whole(tmp_path: Path, framing: tuple[tuple[str, bytes], ...]) -> None:
    body = bytes(range(256)) * 12_000

    request = await sent(tmp_path, call(headers=framing, body=body))

    head, _, rest = request.partition(b"\r\n\r\n")
    received = rest if framing else _unchunked(rest)
    assert received == body
    assert head.startswith(b"POST ")


def _unchunked(rest: bytes) -> bytes:
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize(
    "made",
    [
        call(headers=(("x-bad", b"a\r\nb: c"),)),
        call(headers=(("x bad", b"1"),)),
        call(target="/a b"),
        call(target="/€"),
        call(method="GE T"),
    ],
)
async def test_what_http_cannot_say_is_never_sent(tmp_path: Path, made: OriginCall) -> None:
    async with scripted_origin(tmp_path / "o.sock", says(CREATED)) as origin:
        with pytest.raises(NeverSentError, match="cannot be written as HTTP"):
            await origin.client.execute(made)

        assert origin.connections == 0
