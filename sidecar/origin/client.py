"""The client: bounded, never repeating, with a connection of its own for every call."""

import asyncio

from sidecar.origin.address import Address
from sidecar.origin.call import OriginAnswer, OriginCall
from sidecar.origin.connection import Connection, request_of
from sidecar.origin.errors import DeadlineError, NeverSentError


class OriginClient:
    """Makes calls at one origin: a unix socket, or host and port in the clear.

    A call is made once. Nothing is followed, decoded, remembered, or added to what the call says.

    No connection is used twice. A server may close an idle one at any moment, and a request that crosses such
    a close on the wire has an outcome that nobody knows; a new connection either is there, or nothing was
    sent. Over a unix socket that costs next to nothing (`docs/decisions/0010-the-origin-client.md`).
    """

    def __init__(self, url: str, *, max_concurrent: int = 256) -> None:
        """Nothing is connected before the first call.

        Args:
            url: `unix:///absolute/path` or `http://host:port`.
            max_concurrent: How many calls run at once; further ones wait within their deadline.

        Raises:
            ValueError: The URL is neither.
        """
        self._address = Address.parse(url)
        self._max_concurrent = max_concurrent
        self._slots = asyncio.Semaphore(max_concurrent)
        self._busy: set[Connection] = set()
        self._closed = False

    async def execute(self, call: OriginCall) -> OriginAnswer:
        """Make the call and return its complete answer, whatever its status.

        Raises:
            NeverSentError: Nothing was written: it could not be, or there was no connection to be had or
                no place among `max_concurrent` before the deadline.
            DeadlineError: It was begun, and the deadline passed.
            MayHaveBeenSentError: It was begun, and the answer is missing, stops short or is malformed.
        """
        request = request_of(call)
        deadline = asyncio.get_running_loop().time() + call.deadline_ms / 1000
        await self._take_slot(deadline)
        try:
            connection = await self._connected(deadline)
            self._busy.add(connection)
            try:
                async with asyncio.timeout_at(deadline):
                    return await connection.exchange(request, call)
            except TimeoutError:
                raise DeadlineError(f"no whole answer came within {call.deadline_ms} ms") from None
            finally:
                self._busy.discard(connection)
        finally:
            self._slots.release()

    @property
    def in_flight(self) -> int:
        """How many calls are under way at this moment."""
        return len(self._busy)

    async def close(self) -> None:
        """End the calls under way, as `MayHaveBeenSentError`; later ones never start."""
        self._closed = True
        for connection in self._busy:
            connection.close()
        await asyncio.sleep(0)  # the event loop closes the sockets in its next round

    async def _take_slot(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            raise NeverSentError(
                f"{self._max_concurrent} calls to the origin were under way (origin.max_concurrent)"
            ) from None

    async def _connected(self, deadline: float) -> Connection:
        if self._closed:
            raise NeverSentError("the client of the origin is closed")
        url = self._address.url
        try:
            async with asyncio.timeout_at(deadline):
                return await self._address.connect()
        except TimeoutError:
            raise NeverSentError(f"the origin {url} took no connection before the deadline") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise NeverSentError(f"the origin {url} cannot be reached: {reason}") from None
