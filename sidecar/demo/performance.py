"""The guided run as a whole: the payments service, the stack in front of it, and scene after scene."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from sidecar.demo.client import Client
from sidecar.demo.payments import Ledger, payments, running
from sidecar.demo.scenes import SCRIPTS, Scene
from sidecar.supervision.logs import Sink
from sidecar.supervision.stack import Stack, StackOptions

# What a team with these endpoints would write: a payout without a key is a bug of its caller, and a transfer
# is slow, so it is executed whether or not the caller stays, and whoever asks again waits for it.
CONFIGURATION = """\
policies:
  - name: payouts
    match: {methods: [POST], paths: ["/v1/payouts/**"]}
    key: {required: true}
  - name: transfers
    match: {methods: [POST], paths: ["/v1/transfers/**"]}
    execution: detached
    in_progress: {action: wait, wait: 5s}
  - name: payments
    match: {methods: [POST], paths: ["/v1/payments/**"]}
"""

_STORE_TIMEOUT = "IDEMPOTENCY__STORE__TIMEOUT"
"""No scene is about it, and the machine may be busy."""


@dataclass(frozen=True, slots=True)
class Performance:
    """How it went. `seconds` includes starting the stack."""

    scenes: tuple[Scene, ...]
    seconds: float

    @property
    def as_promised(self) -> bool:
        """Whether every scene was played and every promise kept."""
        return len(self.scenes) == len(SCRIPTS) and all(scene.as_promised for scene in self.scenes)


class Theatre:
    """Everything needed to perform, and whom to tell about it."""

    def __init__(
        self, sink: Sink, *, on_ready: Callable[[str], None], on_scene: Callable[[Scene], None]
    ) -> None:
        """`on_ready` receives the URL once a request can pass, `on_scene` each scene once it was played."""
        self._sink = sink
        self._on_ready = on_ready
        self._on_scene = on_scene
        self._stack: Stack | None = None

    async def perform(self) -> Performance:
        """Start everything, play every scene, stop everything.

        Raises:
            SupervisionError: the stack cannot be started.
        """
        started = time.monotonic()
        ledger = Ledger()
        async with running(payments(ledger)) as upstream:
            self._stack = Stack(_options(upstream, self._sink))
            async with self._stack as stack:
                self._on_ready(stack.url)
                scenes = await self._play(stack.url, ledger)
        return Performance(tuple(scenes), round(time.monotonic() - started, 1))

    def hurry(self) -> None:
        """Make the stopping kill instead of wait."""
        if self._stack is not None:
            self._stack.hurry()

    async def _play(self, url: str, ledger: Ledger) -> list[Scene]:
        scenes = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            for script in SCRIPTS:
                scene = await script.play(Client(session, url), ledger)
                self._on_scene(scene)
                scenes.append(scene)
        return scenes


def _options(upstream: str, sink: Sink) -> StackOptions:
    """The embedded stack, whatever the environment says about the sidecars that run here in earnest."""
    return StackOptions(
        upstream=upstream, config_text=CONFIGURATION, sink=sink, environ=_neutral_environment()
    )


def _neutral_environment() -> dict[str, str]:
    neutral = {name: value for name, value in os.environ.items() if not name.startswith("IDEMPOTENCY__")}
    return neutral | {_STORE_TIMEOUT: "5s"}
