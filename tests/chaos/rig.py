"""Everything that runs in a run: the store, the upstream, the stacks; and what the sidecars said."""

import asyncio
import contextlib
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
from redis.asyncio import Redis

from sidecar.supervision.errors import SupervisionError
from sidecar.supervision.logs import Sink
from sidecar.supervision.stack import Stack, StackOptions
from sidecar.telemetry.logging import FORMAT
from tests.chaos.history import Identity, Key
from tests.chaos.plan import STACKS, WORKERS
from tests.chaos.policies import PolicyUnderTest, configuration
from tests.chaos.store import ChaosStore
from tests.chaos.upstream import Upstream
from tests.stack.ports import lasting_port
from tests.store.redis_entries import SHOW

HEALING_LIMIT_S = 40.0
_PAUSE_S = 0.1
_KEPT_LINES = 40_000

_ORIGINS = ("http://127.0.0.1:{}", "h2c://127.0.0.1:{}")
"""How each stack speaks to the upstream."""


class Logs:
    """What the processes print: the last lines, and the ids of requests whose response could not be kept."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.unkept: set[str] = set()
        self.failures: list[str] = []
        """Streams that a sidecar failed: a protocol violation or a bug."""
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._clock = clock

    def sink(self, stack: int) -> Sink:
        """Where the processes of a stack print."""

        def take(name: str, line: str) -> None:
            self._lines.append(f"{self._clock():8.3f} stack {stack} {name} | {line}")
            self._understand(line)

        return take

    def about(self, *words: str) -> list[str]:
        """The lines that hold one of the words."""
        return [line for line in self._lines if any(word and word in line for word in words)]

    def _understand(self, line: str) -> None:
        if not line.startswith("{"):
            return
        with contextlib.suppress(json.JSONDecodeError):
            said = json.loads(line)
            if said.get("reason") == "not-kept":
                self.unkept.add(str(said.get("request_id")))
            if said.get("event") == "stream failed":
                self.failures.append(line)


class Rig:
    """The running parts."""

    def __init__(self, store: ChaosStore, upstream: Upstream, stacks: tuple[Stack, ...], logs: Logs) -> None:
        self.store = store
        self.upstream = upstream
        self.stacks = stacks
        self.logs = logs

    def port(self, stack: int) -> int:
        """Where Envoy of this stack listens."""
        return int(self.stacks[stack].url.rpartition(":")[2])

    async def healed(self) -> None:
        """Return once every part answers.

        Raises:
            RuntimeError: One does not, long after its last fault.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + HEALING_LIMIT_S
        while (why := await self._ailing()) is not None:
            if clock() > deadline:
                raise RuntimeError(f"not healed {HEALING_LIMIT_S:g} s after the last fault: {why}")
            await asyncio.sleep(_PAUSE_S)

    async def _ailing(self) -> str | None:
        timeout = aiohttp.ClientTimeout(total=2)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for stack in self.stacks:
                addresses = [*(f"{admin}/readyz" for admin in stack.admin_urls), f"{stack.url}/keyless"]
                for address in addresses:
                    try:
                        async with session.get(address) as answer:
                            if answer.status != 200:
                                return f"{address} answers {answer.status}"
                    except (OSError, aiohttp.ClientError) as error:
                        return f"{address}: {type(error).__name__}"
        return None

    async def entry(self, record_id: str) -> dict[str, str]:
        """What the store holds of an id, without the record's bytes."""
        client = Redis.from_url(self.store.url)
        try:
            flat = await client.eval(SHOW, 1, f"idem:{record_id}")
        finally:
            await client.aclose()
        found = dict(zip(flat[::2], flat[1::2], strict=True))
        return {_text(name): _shown(_text(name), value) for name, value in found.items()}


def _text(data: bytes | str) -> str:
    return data if isinstance(data, str) else data.decode(errors="replace")


def _shown(name: str, value: bytes | str) -> str:
    return f"{len(value)} bytes" if name in {"record", "fingerprint"} else _text(value)


@contextlib.asynccontextmanager
async def running(
    directory: Path, keys: tuple[Key, ...], policies: tuple[PolicyUnderTest, ...], logs: Logs
) -> AsyncIterator[Rig]:
    """Start everything; at the end of the block all of it is gone. Belongs into the main thread."""
    by_identity: dict[Identity, Key] = {key.identity: key for key in keys}
    store = ChaosStore(directory)
    upstream = Upstream(by_identity, asyncio.get_running_loop().time)
    async with contextlib.AsyncExitStack() as cleanup:
        cleanup.push_async_callback(store.kill)
        await store.start()
        cleanup.push_async_callback(upstream.finish)
        await upstream.open()
        stacks = tuple(
            Stack(_options(_ORIGINS[n].format(upstream.port), store.url, policies, logs.sink(n)))
            for n in range(STACKS)
        )
        for stack in stacks:
            await cleanup.enter_async_context(stack)
            cleanup.callback(stack.hurry)
        yield Rig(store, upstream, stacks, logs)


async def watch(rig: Rig) -> None:
    """Wait for as long as no stack gives up.

    Raises:
        RuntimeError: One did: its supervisor could not keep its processes alive.
    """
    try:
        async with asyncio.TaskGroup() as group:
            for stack in rig.stacks:
                group.create_task(stack.watch())
    except* SupervisionError as failures:
        raise RuntimeError(f"a stack gave up: {failures.exceptions[0]}") from None


def _options(origin: str, store: str, policies: tuple[PolicyUnderTest, ...], sink: Sink) -> StackOptions:
    """As `up` runs it, whatever the environment says about sidecars that run here in earnest."""
    neutral = {name: value for name, value in os.environ.items() if not name.startswith("IDEMPOTENCY")}
    return StackOptions(
        upstream=origin,
        listen=f"127.0.0.1:{lasting_port()}",
        config_text=configuration(policies),
        store=store,
        workers=WORKERS,
        sink=sink,
        environ={**neutral, FORMAT: "json"},
    )
