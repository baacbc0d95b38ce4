"""One connection that listens to any number of channels while listeners come and go."""

import asyncio
from collections import deque
from collections.abc import Callable

from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from sidecar.store.redis.address import Address


class Subscriptions:
    """Channels listened to over one connection, opened for the first of them and kept from then on.

    Args:
        address: The server.
        limit_s: How long the server may take to confirm a channel, connecting included, in seconds.
        heard: Told of each message's channel.
        lost: Told when a connection ended: its channels are listened to again only for whoever asks again.
    """

    def __init__(
        self, address: Address, limit_s: float, *, heard: Callable[[str], None], lost: Callable[[], None]
    ) -> None:
        self._address = address
        self._limit_s = limit_s
        self._heard = heard
        self._lost = lost
        self._session: _Session | None = None
        self._sessions: set[_Session] = set()  # those whose tasks have not ended

    async def listen(self, channel: str) -> None:
        """Return once whatever is published on `channel` from now on is heard; at once if it is already.

        Raises:
            redis.exceptions.RedisError: The server refused, or could not be reached.
            OSError: The same, from below; `TimeoutError` if it did not confirm in time.
        """
        session = self._session
        if session is None or session.over:
            session = self._open()
        try:
            async with asyncio.timeout(self._limit_s):
                await session.listen(channel)
        except TimeoutError:
            # Nothing tells a connection that is silently gone from one that is slow. Only a new one will do.
            session.give_up()
            raise

    def leave(self, channel: str) -> None:
        """Listen to `channel` no longer; a message already on its way may still be heard."""
        if self._session is not None:
            self._session.leave(channel)

    async def close(self) -> None:
        """Close the connection; whoever still waits for a confirmation fails."""
        sessions = list(self._sessions)
        for session in sessions:
            session.give_up()
        await asyncio.gather(*(session.task for session in sessions), return_exceptions=True)

    def _open(self) -> "_Session":
        session = self._session = _Session(self._address.connection(), self._heard)
        self._sessions.add(session)
        session.task.add_done_callback(lambda _: self._ended(session))
        return session

    def _ended(self, session: "_Session") -> None:
        self._sessions.discard(session)
        self._lost()


class _Session:
    """One connection, from its opening to its end. Commands are sent by one task and confirmed in order."""

    def __init__(self, connection: Connection, heard: Callable[[str], None]) -> None:
        self._connection = connection
        self._heard = heard
        self._channels: dict[str, asyncio.Future[None]] = {}  # done once the server has confirmed
        self._orders: asyncio.Queue[tuple[str, str, asyncio.Future[None] | None]] = asyncio.Queue()
        self._unconfirmed: deque[asyncio.Future[None] | None] = deque()
        self.over = False
        self.task = asyncio.create_task(self._run())

    async def listen(self, channel: str) -> None:
        confirmed = self._channels.get(channel)
        if confirmed is None:
            confirmed = self._channels[channel] = asyncio.get_running_loop().create_future()
            self._orders.put_nowait(("SUBSCRIBE", channel, confirmed))
        await confirmed

    def leave(self, channel: str) -> None:
        if self._channels.pop(channel, None) is not None:
            self._orders.put_nowait(("UNSUBSCRIBE", channel, None))

    def give_up(self) -> None:
        self.over = True
        self.task.cancel()

    async def _run(self) -> None:
        error: Exception = RedisConnectionError("the connection was given up")
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]  # unannotated in redis-py
            async with asyncio.TaskGroup() as both:
                both.create_task(self._send())
                both.create_task(self._receive())
        except* (RedisError, OSError) as errors:
            error = next(iter(errors.exceptions))
        finally:
            self.over = True
            for confirmed in self._channels.values():
                if not confirmed.done():
                    confirmed.set_exception(error)
            await self._connection.disconnect(nowait=True)

    async def _send(self) -> None:
        while True:
            command, channel, confirmed = await self._orders.get()
            self._unconfirmed.append(confirmed)
            await self._connection.send_command(command, channel)

    async def _receive(self) -> None:
        while True:
            try:
                reply = await self._connection.read_response()
            except ResponseError as refusal:
                self._answered(refusal)
                continue
            match reply:
                case [b"message", bytes() as channel, _]:
                    self._heard(channel.decode())
                case _:  # `subscribe` or `unsubscribe`: nothing else is asked for
                    self._answered(None)

    def _answered(self, refusal: ResponseError | None) -> None:
        """The oldest command that was sent is confirmed, or refused."""
        confirmed = self._unconfirmed.popleft()
        if confirmed is None or confirmed.done():
            return
        if refusal is None:
            confirmed.set_result(None)
        else:
            confirmed.set_exception(refusal)
