"""A pipeline without a network: time that only a test moves, and a server that answers when it is told to."""

import asyncio
import contextlib
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, cast
from unittest import mock

import hiredis

from sidecar.store.redis.packing import pack
from sidecar.store.redis.pipelining import Pipeline, Reply, Told

WITHIN_S = 0.25
"""What every command is given."""

MOMENT_S = WITHIN_S / 10


class ManualLoop:
    """What a pipeline asks of the event loop; nothing happens by itself."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.reported: list[dict[str, Any]] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, mock.Mock, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def time(self) -> float:
        return self.now

    def create_future(self) -> Reply:
        return asyncio.get_running_loop().create_future()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> mock.Mock:
        handle = mock.Mock(cancelled=False)
        handle.cancel = lambda: setattr(handle, "cancelled", True)
        heapq.heappush(self._timers, (when, next(self._numbers), handle, callback))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.reported.append(context)

    @property
    def timers(self) -> int:
        """How many timers stand."""
        return sum(not handle.cancelled for _, _, handle, _ in self._timers)

    def turn(self) -> None:
        """Run what was to run soon."""
        while self._soon:
            self._soon.popleft()()

    def advance(self, seconds: float) -> None:
        """Let time pass, and what is due happen at its time."""
        until = self.now + seconds
        while self._timers and self._timers[0][0] <= until:
            self.now, _, handle, callback = heapq.heappop(self._timers)
            if not handle.cancelled:
                callback()
                self.turn()
        self.now = until


class RecordingTransport:
    """Keeps what was written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.socket = mock.Mock(spec=["setsockopt"])
        self.aborted = False

    def get_extra_info(self, name: str) -> mock.Mock:
        assert name == "socket"
        return self.socket

    def write(self, data: bytes) -> None:
        assert not self.aborted
        self.writes.append(data)

    def abort(self) -> None:
        self.aborted = True


class Scene:
    """One pipeline, and the other end of it."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.transport = RecordingTransport()
        self.over: list[Pipeline] = []
        self.pipeline = Pipeline(self.over.append)
        self.pipeline._loop = cast("asyncio.AbstractEventLoop", self.loop)
        self._commands = hiredis.Reader()
        self._read = 0

    def open(self) -> None:
        self.pipeline.begin(cast("asyncio.StreamWriter", mock.Mock(transport=self.transport)))

    def send(self, *arguments: str | bytes | int) -> Reply:
        return self.pipeline.send(pack(arguments), WITHIN_S)

    def post(self, told: Told, *arguments: str | bytes | int) -> None:
        self.pipeline.post(pack(arguments), WITHIN_S, told)

    def received(self) -> Iterator[list[bytes]]:
        """The commands that reached the server since it was last asked, whole and in order."""
        for data in self.transport.writes[self._read :]:
            self._commands.feed(data)
        self._read = len(self.transport.writes)
        while (command := self._commands.gets()) is not False:
            yield command

    def reply(self, *lines: str) -> None:
        self.pipeline.data_received("".join(f"{line}\r\n" for line in lines).encode())


class Asker:
    """Who posts commands: notes each time it is told, and then does what it is given to do."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.told: list[Any] = []
        self._then = then

    def __call__(self, reply: object) -> None:
        self.told.append(reply)
        self._then()


def settled(reply: Reply) -> Any:
    """What came of a command: its reply, the exception it failed with, or None while it waits."""
    if not reply.done():
        return None
    with contextlib.suppress(asyncio.CancelledError):
        return reply.exception() or reply.result()
    return asyncio.CancelledError


def lost(scene: Scene) -> None:
    """The connection breaks."""
    scene.pipeline.connection_lost(ConnectionResetError(104, "Connection reset by peer"))


def closed(scene: Scene) -> None:
    """The server closes it."""
    scene.pipeline.eof_received()
    scene.pipeline.connection_lost(None)


class BugError(Exception):
    """In who is told."""


def fail() -> None:
    """Be told, and break."""
    raise BugError
