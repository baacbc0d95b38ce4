"""From a redis-py connection that has logged in to a transport of our own.

redis-py knows how to get in: addresses, TLS, credentials, the database. Its way of sending one command and
reading one reply costs several times what the exchange itself does, so from there on the transport is ours.
"""

import asyncio

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError


async def log_in(connection: Connection) -> None:
    """Connect and log in; where that fails or is cancelled, nothing stays open.

    Raises:
        redis.exceptions.RedisError: The server refused, or could not be reached.
        OSError: The same, from below.
    """
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # redis-py left this one unannotated
    except BaseException:
        await connection.disconnect(nowait=True)
        raise


async def hand_over(connection: Connection, protocol: asyncio.Protocol) -> asyncio.StreamWriter:
    """Give the transport of a connection that has logged in to `protocol`, and take it from redis-py.

    Returns:
        What owns the transport: asyncio closes the transport of a `StreamWriter` that nobody holds any more.

    Raises:
        redis.exceptions.ConnectionError: The server closed the connection, or sent what nobody asked for.
    """
    writer = _detach_writer(connection)
    writer.transport.set_protocol(protocol)
    # In this order no byte falls between the two: what came before is in redis-py's reader, where it is
    # looked for now, and what comes later goes to `protocol`. A byte found here answers no command of ours;
    # passed on, it would be taken for the first reply.
    if await connection.can_read() or writer.transport.is_closing():
        writer.transport.abort()
        raise RedisConnectionError("closed by the server, or out of step, as it was opened")
    return writer


def _detach_writer(connection: Connection) -> asyncio.StreamWriter:
    """Take the stream from redis-py, so that it neither uses nor closes it any more.

    redis-py has no public way to do so. Nothing else here looks at its private attributes, and
    `test_redis_handshake.py` says which one is missing should it rename them.
    """
    writer: asyncio.StreamWriter | None = connection._writer  # noqa: SLF001 - see above
    if writer is None:
        raise RedisConnectionError("closed while it was opened")
    connection._writer = connection._reader = None  # noqa: SLF001 - see above
    return writer
