"""The upstream whose ledger is the judge: it writes down every whole request before it does anything else."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from enum import StrEnum

from tests.chaos.history import Execution, Identity, Key
from tests.chaos.http1_service import serve_http1
from tests.chaos.http2_service import PREFACE, serve_http2
from tests.chaos.service import Reply, Request
from tests.stack.ports import lasting_port

KEYLESS_PATH = "/keyless"
SLOW_S = 2.5
_POLL_S = 0.05


class Mood(StrEnum):
    """What the upstream does with a request of a key. It always does the work first."""

    GOOD = "good"
    SLOW = "slow"
    REFUSES = "503"
    BAD_GATEWAY = "502"
    CUTS = "cut"
    DROPS = "drop"
    REFUSES_STREAMS = "refused stream"
    """Over HTTP/2, and without any work; over HTTP/1.1, which has no such thing, it is good."""


STATUS: Mapping[Mood, int] = {Mood.REFUSES: 503, Mood.BAD_GATEWAY: 502}
"""What is answered; 201 where nothing else is said."""


class Upstream:
    """A server of HTTP/1.1 and HTTP/2 on a port of its own, which can go down and come back.

    `mood` is everybody's; a key's own first moods come before it.
    """

    def __init__(self, keys: Mapping[Identity, Key], clock: Callable[[], float]) -> None:
        self.ledger: list[Execution] = []
        self.incomplete = 0
        """Requests that ended before they were whole: not executed."""
        self.strangers: list[str] = []
        """Requests that nobody of the workload sent, in words."""
        self.mood = Mood.GOOD
        self.port = lasting_port()
        self._keys = keys
        self._clock = clock
        self._highest: dict[Identity, int] = {}
        self._seen: dict[Identity, int] = {}
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def idle(self) -> None:
        """Return when nothing is being worked on."""
        while any(execution.decided is None for execution in self.ledger):  # noqa: ASYNC110 - a poll suffices
            await asyncio.sleep(_POLL_S)

    async def open(self) -> None:
        """Listen, on the same port each time."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", self.port)

    async def close(self) -> None:
        """Refuse connections and break those that are there. The work that was begun is still done."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.sleep(0)

    async def finish(self) -> None:
        """Close, and let go of everything that still goes on."""
        await self.close()
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections[task] = writer
        task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            first = await reader.readexactly(len(PREFACE))
            serve = serve_http2 if first == PREFACE else serve_http1
            await serve(self, first, reader, writer)
        writer.transport.abort()

    # --- What its protocols ask of it

    async def answer(self, request: Request) -> Reply | None:
        """Execute a whole request, however long that takes and whoever still waits; None: nothing is said."""
        if request.target.startswith(KEYLESS_PATH):
            return Reply(200, (), b"keyless")
        execution = self._execution(request)
        if execution is None:
            self.strangers.append(f"{request.target} {dict(request.headers)}")
            return Reply(400, (), b"a stranger")
        return await self._work(execution)

    def broke_off(self) -> None:
        """A request ended before it was whole."""
        self.incomplete += 1

    def refuses_streams(self) -> bool:
        """Whether a request over HTTP/2 is to be refused unread (REFUSED_STREAM), and so not executed."""
        return self.mood is Mood.REFUSES_STREAMS

    def _execution(self, request: Request) -> Execution | None:
        """The ledger's new entry; None for a request that belongs to no key of the workload."""
        named = dict(request.headers)
        name = named.get("idempotency-key", "").strip('"')
        identity = Identity(request.target.split("/")[1], named.get("authorization", ""), name)
        if identity not in self._keys:
            return None
        execution = Execution(
            number=len(self.ledger) + 1,
            identity=identity,
            attempts=tuple(value for field, value in request.headers if field == "idempotency-attempt"),
            request_id=named.get("x-request-id", ""),
            payload=request.payload,
            arrived=self._clock(),
            mood=self._mood_for(identity),
        )
        self._fence(execution)
        self.ledger.append(execution)
        return execution

    def _fence(self, execution: Execution) -> None:
        """Where attempts may overtake one another, do what the attempt's number is for: refuse a late one."""
        attempt, highest = execution.attempt or 0, self._highest.get(execution.identity, 0)
        takes_over = self._keys[execution.identity].policy.takes_over
        execution.fenced = takes_over and attempt < highest
        self._highest[execution.identity] = max(attempt, highest)

    def _mood_for(self, identity: Identity) -> Mood:
        moods = self._keys[identity].first_moods
        seen = self._seen.get(identity, 0)
        self._seen[identity] = seen + 1
        return Mood(moods[seen]) if seen < len(moods) else self.mood

    async def _work(self, execution: Execution) -> Reply | None:
        key, mood = self._keys[execution.identity], Mood(execution.mood)
        try:
            if not execution.fenced:
                await asyncio.sleep(SLOW_S if mood is Mood.SLOW else key.work_s)
        finally:
            execution.decided = self._clock()
        if execution.fenced:
            return Reply(412, (), b"a later attempt was here")
        if mood is Mood.DROPS:
            return None
        execution.status = STATUS.get(mood, 201)
        fields = (
            ("content-type", "application/json"),
            ("x-execution", str(execution.number)),
            ("x-part", "one"),
            ("x-part", "two"),
            ("set-cookie", f"session={execution.number}"),
        )
        body = body_of(execution, key)
        return Reply(execution.status, fields, body, sized=key.sized, cut=mood is Mood.CUTS)


def body_of(execution: Execution, key: Key) -> bytes:
    """The body of its answer: whose it is on its first line, then padding that differs by execution."""
    claims = {
        "key": execution.identity.name,
        "caller": execution.identity.caller,
        "execution": execution.number,
        "request": execution.request_id,
    }
    filler = f"{execution.number} ".encode() * (key.response_size // 2)
    return json.dumps(claims).encode() + b"\n" + filler[: key.response_size]
