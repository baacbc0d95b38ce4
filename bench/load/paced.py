"""Load at a rate: requests leave when they are due, whether or not earlier ones are answered."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from bench.load.client import Connection, Response, connected

_CONNECTIONS = 64

Send = Callable[[Connection, int], None]
"""Writes request number N."""
Check = Callable[[Response, int], None]
"""Raises where the answer to request number N is not as it should be."""


class PacedClient:
    """Sends on the first of its connections that is free, and counts each delay from when it was due.

    A request that has to wait for a connection counts that as its own delay: a server that stands still must
    not hold back the requests that would show it.
    """

    def __init__(self, connections: list[Connection], send: Send, check: Check) -> None:
        self._free = deque(connections)
        self._returned = asyncio.Event()
        self._send = send
        self._check = check
        self._loop = asyncio.get_running_loop()
        self.latencies_s: list[float] = []

    async def run(self, rate: float, seconds: float) -> None:
        """Send `rate` requests a second for a time, and wait for the last answers.

        Raises:
            BenchError: There was no answer, or `check` refused one.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for number, due in self._schedule(self._loop.time(), rate, seconds):
                    if (ahead := due - self._loop.time()) > 0:
                        await asyncio.sleep(ahead)
                    group.create_task(self._exchange(await self._connection(), number, due))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    @staticmethod
    def _schedule(begun: float, rate: float, seconds: float) -> Iterator[tuple[int, float]]:
        return ((number, begun + number / rate) for number in range(round(rate * seconds)))

    async def _connection(self) -> Connection:
        while not self._free:
            self._returned.clear()
            await self._returned.wait()
        return self._free.popleft()

    async def _exchange(self, connection: Connection, number: int, due: float) -> None:
        self._send(connection, number)
        response = await connection.receive()
        self.latencies_s.append(self._loop.time() - due)
        self._free.append(connection)
        self._returned.set()
        self._check(response, number)


async def latencies(url: str, send: Send, check: Check, *, rate: float, seconds: float) -> list[float]:
    """How long each answer took, in seconds.

    Raises:
        BenchError: There was no answer, or `check` refused one.
    """
    async with connected(url, _CONNECTIONS) as connections:
        client = PacedClient(connections, send, check)
        await client.run(rate, seconds)
        return client.latencies_s
