"""Waiting until an id leaves in flight: woken by the server, with polling behind it.

A transition that ends in_flight publishes on the id's channel, `prefix:ID:settled`, in the same atomic step
(`entry.lua`). However many wait for an id, it is watched once: one subscription, one poll. All ids of a
store share one connection. A user of an ACL needs the channels `&prefix:*`, as it needs the keys `~prefix:*`.

No wake-up is lost. The state is looked at only after the server has confirmed the subscription. If the id
was settled before that look, the look finds it so; if after it, the message is sent to a connection that
is subscribed by then. Whoever joins a watch that stands already is covered by the same argument, since the
subscription has stood without a gap; and a watch that ended is no longer found, so a new one is begun.
What the argument cannot cover is a message lost with its connection: then every watch subscribes and looks
again at once, and one that nobody noticed to be lost (a link that went silent) costs `POLL_MS`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from sidecar.store.port import StoreError, StoreUnavailableError
from sidecar.store.redis.address import Address
from sidecar.store.redis.errors import port_error
from sidecar.store.redis.subscriptions import Subscriptions

POLL_MS = 500
"""How often the state is looked at although nothing was heard, in milliseconds."""

_SETTLED = ":settled"


class _Watch:
    """An entry somebody waits for."""

    def __init__(self, entry: str) -> None:
        self.entry = entry
        self.waiting = 0
        self.over = asyncio.Event()
        self.look = asyncio.Event()
        self.error: StoreError | None = None
        self.task: asyncio.Task[None]


class Waiting:
    """Everything that waits at one store.

    Args:
        address: The server.
        timeout_ms: How long the server may take to confirm a subscription, in milliseconds.
        lease_left: Asks for an entry how many milliseconds it stays in flight by itself, 0 if it is not;
            raises the port's errors.
    """

    def __init__(
        self, address: Address, timeout_ms: int, lease_left: Callable[[str], Awaitable[int]]
    ) -> None:
        self._place = address.place
        self._timeout_ms = timeout_ms
        self._lease_left = lease_left
        self._watches: dict[str, _Watch] = {}
        self._subscriptions = Subscriptions(
            address, timeout_ms / 1000, heard=self._on_message, lost=self._on_loss
        )

    async def wait(self, entry: str, timeout_ms: int) -> None:
        """Return when the entry may have left in flight, at the latest after `timeout_ms`.

        Raises:
            StoreError: The store did not answer, or its answer could not be read.
        """
        watch = self._watches.get(entry) or self._begin(entry)
        watch.waiting += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_ms / 1000):
                    await watch.over.wait()
        finally:
            watch.waiting -= 1
            if not watch.waiting:
                self._stop(watch)
        if watch.error is not None:
            # One of its own for each who waits: a raised exception collects its raiser's traceback.
            raise type(watch.error)(*watch.error.args)

    async def close(self) -> None:
        """Close the connection; whoever still waits fails."""
        watches = list(self._watches.values())
        for watch in watches:
            watch.error = StoreUnavailableError(f"wait on {self._place}: the store was closed")
            self._stop(watch)
        await asyncio.gather(*(watch.task for watch in watches), return_exceptions=True)
        await self._subscriptions.close()

    def _begin(self, entry: str) -> _Watch:
        watch = self._watches[entry] = _Watch(entry)
        watch.task = asyncio.create_task(self._keep_watch(watch))
        return watch

    def _stop(self, watch: _Watch) -> None:
        self._end(watch)
        watch.task.cancel()

    def _end(self, watch: _Watch) -> None:
        """Wake whoever waits; the entry may be watched anew from here on."""
        if self._watches.get(watch.entry) is watch:
            del self._watches[watch.entry]
            self._subscriptions.leave(watch.entry + _SETTLED)
        watch.over.set()

    async def _keep_watch(self, watch: _Watch) -> None:
        try:
            while True:
                watch.look.clear()
                await self._subscriptions.listen(watch.entry + _SETTLED)
                left_ms = await self._lease_left(watch.entry)
                if left_ms <= 0:
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(POLL_MS, left_ms + 1) / 1000):
                        await watch.look.wait()
        except StoreError as error:
            watch.error = error
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            watch.error = port_error("wait", self._place, error, self._timeout_ms)
        finally:
            self._end(watch)

    def _on_message(self, channel: str) -> None:
        watch = self._watches.get(channel.removesuffix(_SETTLED))
        if watch is not None:
            self._stop(watch)

    def _on_loss(self) -> None:
        for watch in self._watches.values():
            watch.look.set()
