"""Whatever happens to a connection, in whatever order, a command gets its own reply or none."""

import asyncio
import random
from collections import deque
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError

from sidecar.store.redis.packing import JOINED_BELOW
from sidecar.store.redis.pipelining import Reply
from tests.unit.store.pipeline_scene import MOMENT_S, WITHIN_S, Asker, BugError, Scene, fail, settled

Step = tuple[str, int]
COUNTS = {
    "send": st.integers(1, 3),
    "post": st.integers(1, 3),
    "answer": st.integers(1, 4),
    "cancel": st.integers(0, 30),
    "advance": st.integers(1, 12),
    **dict.fromkeys(
        ["post_a_bug", "post_again", "send_a_big_one", "turn", "pause", "resume", "open", "close"], st.just(1)
    ),
}
STEPS = st.lists(st.one_of(*(st.tuples(st.just(name), count) for name, count in COUNTS.items())), max_size=60)


class ScriptedServer:
    """Answers every command it received with the command's own number, cut into pieces anywhere."""

    def __init__(self, seed: int) -> None:
        self.scene = Scene()
        self.replies: dict[bytes, Reply] = {}
        self.askers: dict[bytes, Asker] = {}
        self._cuts = random.Random(seed)
        self._received: deque[bytes] = deque()
        self._opened = False

    def send(self, count: int, body: bytes = b"") -> None:
        for _ in range(count if self.scene.pipeline.accepting else 0):
            number = self._next_number()
            self.replies[number] = self.scene.send("SET", number, body)

    def post(self, count: int, then: Callable[[], object] = lambda: None) -> None:
        for _ in range(count if self.scene.pipeline.accepting else 0):
            number = self._next_number()
            self.askers[number] = Asker(then)
            self.scene.post(self.askers[number], "SET", number)

    def post_a_bug(self, _: int) -> None:
        self.post(1, fail)

    def post_again(self, _: int) -> None:
        """Post a command whose asker posts another one as soon as it is told."""
        self.post(1, lambda: self.post(1))

    def _next_number(self) -> bytes:
        return b"%d" % (len(self.replies) + len(self.askers))

    def send_a_big_one(self, _: int) -> None:
        self.send(1, b"r" * JOINED_BELOW)

    def turn(self, _: int) -> None:
        self.scene.loop.turn()

    def answer(self, count: int) -> None:
        self._received.extend(command[1] for command in self.scene.received())
        numbers = [self._received.popleft() for _ in range(min(count, len(self._received)))]
        data = b"".join(b"$%d\r\n%b\r\n" % (len(number), number) for number in numbers)
        while data:
            cut = self._cuts.randint(1, len(data))
            self.scene.pipeline.data_received(data[:cut])
            data = data[cut:]

    def cancel(self, number: int) -> None:
        if reply := self.replies.get(b"%d" % number):
            reply.cancel()

    def advance(self, moments: int) -> None:
        self.scene.loop.advance(moments * MOMENT_S)

    def pause(self, _: int) -> None:
        if self._opened:
            self.scene.pipeline.pause_writing()

    def resume(self, _: int) -> None:
        if self._opened:
            self.scene.pipeline.resume_writing()

    def open(self, _: int) -> None:
        if not self._opened:
            self._opened = True
            self.scene.open()

    def close(self, _: int) -> None:
        if self._opened:
            self.scene.pipeline.connection_lost(None)

    def finish(self) -> None:
        """Answer whatever is still wanted, then let all time pass."""
        self.open(1)
        self.resume(1)
        self.turn(1)
        self.answer(len(self.replies) + len(self.askers))
        self.scene.loop.advance(3 * WITHIN_S)


@given(steps=STEPS, seed=st.integers(0, 2**32))
def test_whatever_happens_a_command_gets_its_own_reply_or_none(steps: list[Step], seed: int) -> None:
    async def scenario() -> None:
        server = ScriptedServer(seed)
        for name, count in steps:
            getattr(server, name)(count)
        server.finish()
        for number, reply in server.replies.items():
            outcome = settled(reply)
            failed = isinstance(outcome, (TimeoutError, RedisConnectionError))
            assert failed or outcome in (number, asyncio.CancelledError), (number, outcome)
        for number, asker in server.askers.items():
            (outcome,) = asker.told
            failed = isinstance(outcome, (TimeoutError, RedisConnectionError))
            assert failed or outcome == number, (number, outcome)
        assert {type(context["exception"]) for context in server.scene.loop.reported} <= {BugError}
        assert len(server.scene.pipeline) == 0
        assert server.scene.loop.timers == 0

    asyncio.run(scenario())
