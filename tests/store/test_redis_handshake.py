"""What is taken from redis-py, checked against the redis-py that is installed."""

import asyncio
from typing import cast

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from sidecar.store.redis.address import Address
from sidecar.store.redis.handshake import hand_over, log_in
from tests.stack.ports import lasting_port
from tests.stack.valkey import Server
from tests.store.redis_links import scripted_server


class Listener(asyncio.Protocol):
    """Keeps what arrives."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard.put_nowait(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost.set()


async def test_redis_py_keeps_its_stream_where_the_handshake_takes_it_from(valkey: Server) -> None:
    connection = Address.parse(valkey.url).connection()
    await log_in(connection)
    assert isinstance(connection._writer, asyncio.StreamWriter)
    assert isinstance(connection._reader, asyncio.StreamReader)
    await connection.disconnect()


async def test_what_was_handed_over_is_no_longer_redis_pys(valkey: Server) -> None:
    connection, listener = Address.parse(valkey.url).connection(), Listener()
    await log_in(connection)
    writer = await hand_over(connection, listener)
    assert not connection.is_connected
    await connection.disconnect()
    del connection
    writer.transport.write(b"PING\r\n")
    assert await listener.heard.get() == b"+PONG\r\n"
    writer.transport.abort()
    await listener.lost.wait()


async def test_the_database_of_the_url_is_selected(valkey: Server) -> None:
    connection, listener = Address.parse(valkey.url.removesuffix("0") + "3").connection(), Listener()
    await log_in(connection)
    writer = await hand_over(connection, listener)
    writer.transport.write(b"CLIENT INFO\r\n")
    assert b" db=3 " in await listener.heard.get()
    writer.transport.abort()


async def test_bytes_that_redis_py_has_read_already_are_not_lost_but_refused() -> None:
    async with scripted_server(lambda _: b"+OK\r\n", after_greeting=b"+stray\r\n") as url:
        connection = Address.parse(url).connection()
        await log_in(connection)
        with pytest.raises(RedisConnectionError, match="out of step"):
            await hand_over(connection, Listener())


async def test_a_connection_that_is_closed_as_it_is_handed_over_is_refused(valkey: Server) -> None:
    connection = Address.parse(valkey.url).connection()
    await log_in(connection)
    cast("asyncio.StreamWriter", connection._writer).close()
    with pytest.raises(RedisConnectionError, match="closed by the server"):
        await hand_over(connection, Listener())


async def test_a_login_that_failed_leaves_nothing_open() -> None:
    connection = Address.parse(f"redis://127.0.0.1:{lasting_port()}").connection()
    with pytest.raises(RedisConnectionError):
        await log_in(connection)
    assert not connection.is_connected
    with pytest.raises(RedisConnectionError, match="closed while it was opened"):
        await hand_over(connection, Listener())
