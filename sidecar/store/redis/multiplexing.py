"""All commands of a worker over one connection, replaced when it is lost or no longer answers."""

import asyncio

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from sidecar.store.redis.address import Address
from sidecar.store.redis.handshake import hand_over, log_in
from sidecar.store.redis.packing import Argument, Packed, pack
from sidecar.store.redis.pipelining import Pipeline, Reply, Told


class Multiplexer:
    """One connection at a time that takes commands, opened for the first of them and kept.

    Nothing is sent twice: a command whose connection was lost fails, for the server may have executed it, and
    whether it may be repeated is for the caller to know. The next command opens a new connection.

    One connection is being opened at a time, and commands wait for it in its queue. Where it cannot be had,
    whoever waits fails with the reason at once. Where it only takes too long, each fails at the end of its
    own time, and for those with time left another one is tried: a server that came back must not be waited
    for behind a packet sent when it was away.

    Besides the one in use there may be those that are retired (see `Pipeline`). One is retired at most once
    in the time of a command, and over within that time, so there are seldom two.

    Args:
        address: The server.
        timeout_s: How long one command may take, waiting for the connection included, in seconds.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._current: Pipeline | None = None
        self._pipelines: set[Pipeline] = set()  # those that are not over
        self._opening: asyncio.Task[None] | None = None

    def call(self, command: tuple[Argument, ...]) -> Reply:
        """Send one command; what is returned is to be awaited, or cancelled.

        Raises:
            OverloadError: Too many commands, or bytes, wait already; nothing was sent.
        """
        pipeline = self._current
        if pipeline is None or not pipeline.accepting:
            pipeline = self._begin()
        return pipeline.send(pack(command), self._timeout_s)

    def post(self, command: Packed, told: Told) -> None:
        """Send one command; who asks is told the reply, or the exception that there is instead.

        Raises:
            OverloadError: As for `call`.
        """
        self._accepting().post(command, self._timeout_s, told)

    async def close(self) -> None:
        """Close every connection; commands under way fail."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for pipeline in list(self._pipelines):
            pipeline.end(RedisConnectionError("the store was closed"))

    def _accepting(self) -> Pipeline:
        pipeline = self._current
        return self._begin() if pipeline is None or not pipeline.accepting else pipeline

    def _begin(self) -> Pipeline:
        # No other one is being opened: while it is, it takes commands.
        pipeline = self._current = Pipeline(self._pipelines.discard)
        self._pipelines.add(pipeline)
        self._opening = asyncio.create_task(self._open(pipeline))
        return pipeline

    async def _open(self, pipeline: Pipeline) -> None:
        try:
            pipeline.begin(await self._connected(pipeline))
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            pipeline.end(error)
        except BaseException:  # nobody may wait for a connection that will not come
            pipeline.end(RedisConnectionError("given up while it was opened"))
            raise

    async def _connected(self, pipeline: Pipeline) -> asyncio.StreamWriter:
        while True:
            connection = self._address.connection()
            try:
                async with asyncio.timeout(self._timeout_s):
                    await log_in(connection)
            except TimeoutError:
                if not len(pipeline):
                    raise
            else:
                return await hand_over(connection, pipeline)
