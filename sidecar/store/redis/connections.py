"""A bounded set of connections to one Redis server, safe to cancel at any point.

redis-py's own pool gives a connection back behind a lock; a command that is cancelled while it waits for
that lock never gives it back, and a busy pool loses one slot for good with each time-out. Here giving back
awaits nothing. redis-py does what it is best at: the protocol, TLS, authentication and hiredis.
"""

import asyncio
from typing import TypeAlias

from redis.asyncio.connection import Connection
from redis.exceptions import ResponseError

from sidecar.store.redis.address import Address

Argument: TypeAlias = str | bytes | int


class Connections:
    """Up to `limit` connections, opened when needed and kept; further commands wait their turn.

    Args:
        address: The server.
        limit: The most connections open at a time.
    """

    def __init__(self, address: Address, limit: int) -> None:
        self._address = address
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[Connection] = []  # used from its end: the warmest first
        self._busy: set[Connection] = set()

    async def call(self, *command: Argument) -> object:
        """Send one command and return its reply.

        Raises:
            redis.exceptions.RedisError: The server refused, or could not be reached.
            OSError: The same, from below.
        """
        async with self._slots:
            connection = self._idle.pop() if self._idle else self._address.connection()
            self._busy.add(connection)
            try:
                reply = await _exchange(connection, command)
            except ResponseError:
                self._idle.append(connection)  # a refusal is a whole reply
                raise
            except BaseException:
                # A reply may still be on its way, and the next command would take it for its own.
                await connection.disconnect(nowait=True)
                raise
            else:
                self._idle.append(connection)
                return reply
            finally:
                self._busy.discard(connection)

    async def close(self) -> None:
        """Close every connection; commands under way fail."""
        connections = [*self._idle, *self._busy]
        self._idle.clear()
        for connection in connections:
            await connection.disconnect(nowait=True)


async def _exchange(connection: Connection, command: tuple[Argument, ...]) -> object:
    await _open(connection)
    if await connection.can_read():  # the server closed it while it was idle, or said what nobody asked for
        await connection.disconnect(nowait=True)
        await _open(connection)
    await connection.send_command(*command)
    reply: object = await connection.read_response()
    return reply


async def _open(connection: Connection) -> None:
    """Connect and log in, where that has not happened yet."""
    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py left this one unannotated
