"""One connection's queue: whose a reply is, what is late, what is too much, and how it ends."""

import asyncio
import random
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoScriptError, ReadOnlyError

from sidecar.store.redis import pipelining
from sidecar.store.redis.packing import JOINED_BELOW
from sidecar.store.redis.pipelining import OverloadError, Reply
from tests.unit.store.pipeline_scene import WITHIN_S, Asker, Scene, settled

MOMENT_S = WITHIN_S / 10


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    scene.open()
    return scene


# Sending


async def test_commands_of_one_turn_of_the_loop_are_written_at_once(scene: Scene) -> None:
    for number in range(3):
        scene.send("GET", number)
    assert scene.transport.writes == []
    scene.loop.turn()
    assert scene.transport.writes == [
        b"*2\r\n$3\r\nGET\r\n$1\r\n0\r\n*2\r\n$3\r\nGET\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$1\r\n2\r\n"
    ]


async def test_a_big_argument_is_written_as_it_is_between_what_is_joined(scene: Scene) -> None:
    great = b"r" * JOINED_BELOW
    scene.send("GET", "a")
    scene.send("SET", "b", great)
    scene.send("GET", "c")
    scene.loop.turn()
    assert len(scene.transport.writes) == 3
    assert scene.transport.writes[1] is great
    assert list(scene.received()) == [[b"GET", b"a"], [b"SET", b"b", great], [b"GET", b"c"]]


async def test_nothing_is_written_while_the_server_does_not_read(scene: Scene) -> None:
    scene.pipeline.pause_writing()
    reply = scene.send("GET", "a")
    scene.loop.turn()
    assert scene.transport.writes == []
    scene.pipeline.resume_writing()
    assert list(scene.received()) == [[b"GET", b"a"]]
    scene.reply("+a")
    assert settled(reply) == b"a"


async def test_a_pause_in_the_middle_of_writing_keeps_the_commands_behind(scene: Scene) -> None:
    def write_and_pause(data: bytes) -> None:
        scene.transport.writes.append(data)
        scene.pipeline.pause_writing()

    scene.transport.write = write_and_pause  # type: ignore[method-assign]  # a transport that is soon full
    replies = [scene.send("SET", number, b"r" * JOINED_BELOW) for number in range(3)]
    scene.loop.turn()
    assert len(list(scene.received())) == 1
    for _ in replies:
        scene.pipeline.resume_writing()
    assert [command[1] for command in scene.received()] == [b"1", b"2"]


async def test_what_waits_for_the_connection_is_sent_in_order_once_it_is_open() -> None:
    scene = Scene()
    replies = [scene.send("GET", number) for number in range(3)]
    scene.loop.turn()
    scene.open()
    assert [command[1] for command in scene.received()] == [b"0", b"1", b"2"]
    scene.reply("+0", "+1", "+2")
    assert [settled(reply) for reply in replies] == [b"0", b"1", b"2"]


async def test_what_is_wanted_no_more_when_the_connection_opens_is_never_sent() -> None:
    scene = Scene()
    late = scene.send("GET", "late")
    scene.loop.advance(WITHIN_S / 2)
    cancelled, wanted = scene.send("GET", "cancelled"), scene.send("GET", "wanted")
    cancelled.cancel()
    scene.loop.advance(WITHIN_S / 2)
    assert isinstance(settled(late), TimeoutError)
    assert scene.pipeline.accepting
    scene.open()
    assert list(scene.received()) == [[b"GET", b"wanted"]]
    scene.reply("+w")
    assert settled(wanted) == b"w"


# Replies


async def test_replies_go_to_their_commands_in_order(scene: Scene) -> None:
    replies = [scene.send("GET", number) for number in range(4)]
    scene.loop.turn()
    scene.reply("+zero", ":1", "*2", ":2", "$-1", "$5", "three")
    assert [settled(reply) for reply in replies] == [b"zero", 1, [2, None], b"three"]


async def test_an_error_reply_fails_its_command_and_no_other(scene: Scene) -> None:
    first, second, third = (scene.send("GET", number) for number in range(3))
    scene.loop.turn()
    scene.reply("-NOSCRIPT No matching script.", "-READONLY You can't write.", "+third")
    assert isinstance(settled(first), NoScriptError)
    assert isinstance(settled(second), ReadOnlyError)
    assert settled(third) == b"third"
    assert scene.pipeline.accepting


async def test_the_reply_of_a_cancelled_command_is_dropped(scene: Scene) -> None:
    cancelled, other = scene.send("GET", "a"), scene.send("GET", "b")
    scene.loop.turn()
    cancelled.cancel()
    scene.reply("+a", "+b")
    assert settled(other) == b"b"
    assert len(scene.pipeline) == 0


@pytest.mark.parametrize("sent", [0, 1])
async def test_a_reply_to_nothing_ends_the_connection(scene: Scene, sent: int) -> None:
    replies = [scene.send("GET", number) for number in range(sent)]
    scene.loop.turn()
    unsent = scene.send("GET", "unsent")
    scene.reply(*("+a" for _ in replies), "+nobody's")
    assert all(settled(reply) == b"a" for reply in replies)
    assert isinstance(settled(unsent), InvalidResponse)
    assert scene.transport.aborted


@pytest.mark.parametrize("nonsense", ["HTTP/1.1 400 Bad Request", ":four", "-MOVED nowhere"])
async def test_what_is_not_resp_ends_the_connection(scene: Scene, nonsense: str) -> None:
    replies = [scene.send("GET", number) for number in range(2)]
    scene.loop.turn()
    scene.reply(nonsense)
    assert all(isinstance(settled(reply), InvalidResponse) for reply in replies)
    assert scene.transport.aborted
    assert scene.over == [scene.pipeline]


# Time


async def test_a_command_without_a_reply_in_time_fails_and_retires_the_connection(scene: Scene) -> None:
    late = scene.send("GET", "late")
    scene.loop.advance(WITHIN_S / 2)
    later = scene.send("GET", "later")
    scene.loop.turn()
    scene.loop.advance(WITHIN_S / 2)
    assert isinstance(settled(late), TimeoutError)
    assert settled(later) is None
    assert not scene.pipeline.accepting
    assert not scene.transport.aborted


async def test_a_late_reply_is_dropped_and_the_next_one_belongs_to_the_next(scene: Scene) -> None:
    scene.send("GET", "late")
    scene.loop.advance(MOMENT_S)
    later = scene.send("GET", "later")
    scene.loop.turn()
    scene.loop.advance(WITHIN_S - MOMENT_S)
    scene.reply("+late")
    assert settled(later) is None
    scene.reply("+later")
    assert settled(later) == b"later"


async def test_a_retired_connection_closes_when_the_last_one_is_answered(scene: Scene) -> None:
    scene.send("GET", "late")
    scene.loop.advance(MOMENT_S)
    scene.send("GET", "later")
    scene.loop.turn()
    scene.loop.advance(WITHIN_S - MOMENT_S)
    scene.reply("+late", "+later")
    assert scene.transport.aborted
    assert scene.over == [scene.pipeline]


async def test_a_retired_connection_closes_when_the_last_one_is_overdue(scene: Scene) -> None:
    replies = []
    for _ in range(3):
        replies.append(scene.send("GET", "a"))
        scene.loop.turn()
        scene.loop.advance(MOMENT_S)
    scene.loop.advance(WITHIN_S)
    assert all(isinstance(settled(reply), TimeoutError) for reply in replies)
    assert scene.transport.aborted
    assert scene.loop.timers == 0


async def test_what_was_not_written_when_its_time_was_over_is_never_sent(scene: Scene) -> None:
    written = scene.send("GET", "written")
    scene.loop.turn()
    scene.pipeline.pause_writing()
    scene.loop.advance(MOMENT_S)
    unwritten = scene.send("GET", "unwritten")
    scene.loop.advance(MOMENT_S)
    last = scene.send("GET", "last")
    scene.reply("+written")
    assert settled(written) == b"written"
    scene.loop.advance(WITHIN_S - MOMENT_S)
    assert isinstance(settled(unwritten), TimeoutError)
    assert not scene.pipeline.accepting
    scene.pipeline.resume_writing()
    assert [command[1] for command in scene.received()] == [b"written", b"last"]
    scene.reply("+last")
    assert settled(last) == b"last"


async def test_one_timer_is_enough_however_many_commands_there_are(scene: Scene) -> None:
    for _ in range(100):
        scene.send("GET", "a")
        scene.loop.turn()
        assert scene.loop.timers == 1
        scene.reply("+a")
        scene.loop.advance(MOMENT_S)
    scene.loop.advance(WITHIN_S)
    assert scene.loop.timers == 0
    assert scene.pipeline.accepting


async def test_a_command_whose_caller_is_gone_retires_a_connection_that_does_not_answer_it(
    scene: Scene,
) -> None:
    scene.send("GET", "a").cancel()
    scene.loop.turn()
    scene.loop.advance(WITHIN_S)
    assert not scene.pipeline.accepting
    assert scene.transport.aborted


# Ends


def lost(scene: Scene) -> None:
    scene.pipeline.connection_lost(ConnectionResetError(104, "Connection reset by peer"))


def closed(scene: Scene) -> None:
    scene.pipeline.eof_received()
    scene.pipeline.connection_lost(None)


@pytest.mark.parametrize("end", [lost, closed])
async def test_a_lost_connection_fails_whoever_waits_at_once_sent_or_not(
    scene: Scene, end: Callable[[Scene], None]
) -> None:
    cancelled, sent = scene.send("GET", "cancelled"), scene.send("GET", "sent")
    cancelled.cancel()
    scene.loop.turn()
    scene.reply("$9", "half a ")
    unsent = scene.send("GET", "unsent")
    end(scene)
    scene.loop.turn()
    for reply in (sent, unsent):
        assert isinstance(settled(reply), (ConnectionResetError, RedisConnectionError))
    assert scene.over == [scene.pipeline]
    assert not scene.pipeline.accepting
    assert scene.loop.timers == 0


async def test_nothing_that_comes_after_the_end_is_anybodys(scene: Scene) -> None:
    reply = scene.send("GET", "a")
    scene.loop.turn()
    closed(scene)
    scene.reply("+a")
    scene.pipeline.resume_writing()
    assert isinstance(settled(reply), RedisConnectionError)
    assert scene.over == [scene.pipeline]


# Who is told


def answered(scene: Scene) -> None:
    scene.reply("+a", "+b", "+c")


def overdue(scene: Scene) -> None:
    scene.loop.advance(WITHIN_S)


ENDS: list[tuple[Callable[[Scene], None], list[type[object]]]] = [
    (answered, [bytes] * 3),
    (overdue, [TimeoutError] * 3),
    (lost, [ConnectionResetError] * 3),
    (closed, [RedisConnectionError] * 3),
]
every_end = pytest.mark.parametrize(("end", "kinds"), ENDS, ids=[end.__name__ for end, _ in ENDS])


class BugError(Exception):
    """In who is told."""


def fail() -> None:
    raise BugError


async def test_who_posts_is_told_its_reply_or_the_error_that_there_is_instead(scene: Scene) -> None:
    askers = [Asker() for _ in range(3)]
    for number, asker in enumerate(askers):
        scene.post(asker, "GET", number)
    scene.loop.turn()
    assert [command[1] for command in scene.received()] == [b"0", b"1", b"2"]
    scene.reply("+zero", "-NOSCRIPT No matching script.", "$-1")
    (zero,), (error,), (nothing,) = (asker.told for asker in askers)
    assert (zero, nothing) == (b"zero", None)
    assert isinstance(error, NoScriptError)


async def test_who_was_told_that_the_time_is_over_is_not_told_the_late_reply(scene: Scene) -> None:
    late, later = Asker(), Asker()
    scene.post(late, "GET", "late")
    scene.loop.advance(MOMENT_S)
    scene.post(later, "GET", "later")
    scene.loop.turn()
    scene.loop.advance(WITHIN_S - MOMENT_S)
    scene.reply("+late", "+later")
    (error,) = late.told
    assert isinstance(error, TimeoutError)
    assert later.told == [b"later"]


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("end", [lost, closed])
async def test_a_lost_connection_is_told_once_to_everybody_sent_or_not(
    scene: Scene, end: Callable[[Scene], None], sent: bool
) -> None:
    askers = [Asker() for _ in range(3)]
    for asker in askers:
        scene.post(asker, "GET", "a")
    if sent:
        scene.loop.turn()
    end(scene)
    scene.loop.turn()
    scene.loop.advance(2 * WITHIN_S)
    for asker in askers:
        (error,) = asker.told
        assert isinstance(error, (ConnectionResetError, RedisConnectionError))


@every_end
async def test_a_bug_in_who_is_told_is_reported_and_costs_nobody_else_the_reply(
    scene: Scene, end: Callable[[Scene], None], kinds: list[type[object]]
) -> None:
    askers = [Asker(fail), Asker(), Asker(fail)]
    for asker in askers:
        scene.post(asker, "GET", "a")
    reply = scene.send("GET", "promised")
    scene.loop.turn()
    end(scene)
    if end is answered:
        scene.reply("+d")
    assert [len(asker.told) for asker in askers] == [1, 1, 1]
    assert [type(asker.told[0]) for asker in askers] == kinds
    assert type(settled(reply)) is kinds[0]
    assert [type(context["exception"]) for context in scene.loop.reported] == [BugError, BugError]
    assert {context["protocol"] for context in scene.loop.reported} == {scene.pipeline}


async def test_a_bug_in_who_is_told_leaves_an_open_connection_as_it_is(scene: Scene) -> None:
    scene.post(Asker(fail), "GET", "a")
    scene.loop.turn()
    scene.reply("+a")
    asker = Asker()
    scene.post(asker, "GET", "b")
    scene.loop.turn()
    scene.reply("+b")
    assert asker.told == [b"b"]
    assert scene.pipeline.accepting
    assert scene.over == []


async def test_who_is_told_the_reply_may_send_the_next_command_at_once(scene: Scene) -> None:
    second, third = Asker(), Asker()
    first = Asker(lambda: scene.post(third, "GET", "third"))
    scene.post(first, "GET", "first")
    scene.post(second, "GET", "second")
    scene.loop.turn()
    scene.reply("+first", "+second")
    assert (first.told, second.told, third.told) == ([b"first"], [b"second"], [])
    scene.loop.turn()
    scene.reply("+third")
    assert third.told == [b"third"]


@pytest.mark.parametrize("end", [lost, closed])
async def test_who_is_told_that_the_connection_is_lost_may_send_again_on_another(
    scene: Scene, end: Callable[[Scene], None]
) -> None:
    other = Scene()
    other.open()
    again: list[Asker] = []

    def send_again() -> None:
        assert not scene.pipeline.accepting
        assert scene.over == [scene.pipeline]
        again.append(Asker())
        other.post(again[-1], "GET", "again")

    askers = [Asker(send_again) for _ in range(3)]
    for asker in askers:
        scene.post(asker, "GET", "a")
    scene.loop.turn()
    end(scene)
    other.loop.turn()
    other.reply("+a", "+b", "+c")
    assert scene.loop.reported == []
    assert [len(asker.told) for asker in askers] == [1, 1, 1]
    assert [asker.told for asker in again] == [[b"a"], [b"b"], [b"c"]]


async def test_who_is_told_that_the_time_is_over_before_the_connection_is_open_may_send_again() -> None:
    scene = Scene()
    again = Asker()
    late = Asker(lambda: scene.post(again, "GET", "again"))
    scene.post(late, "GET", "late")
    scene.loop.advance(WITHIN_S)
    assert scene.loop.timers == 1
    scene.open()
    assert list(scene.received()) == [[b"GET", b"again"]]
    scene.reply("+again")
    assert again.told == [b"again"]
    assert [type(error) for error in late.told] == [TimeoutError]


# Limits


async def test_more_commands_than_the_limit_are_refused_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelining, "MOST_OUTSTANDING", 3)
    replies = [scene.send("GET", number) for number in range(3)]
    scene.loop.turn()
    with pytest.raises(OverloadError, match="3 commands wait for the server's answers already"):
        scene.send("GET", "too much")
    scene.reply("+a")
    last = scene.send("GET", "last")
    scene.loop.turn()
    scene.reply("+b", "+c", "+d")
    assert [settled(reply) for reply in (*replies, last)] == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize("state", ["opening", "paused"])
async def test_more_bytes_than_the_limit_are_refused_while_they_cannot_be_written(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelining, "MOST_UNSENT_BYTES", 1 << 20)
    scene = Scene()
    if state == "paused":
        scene.open()
        scene.pipeline.pause_writing()
    for _ in range(3):
        great = scene.send("SET", "a", b"r" * (1 << 20))
        with pytest.raises(OverloadError, match="1 MiB wait for the server to read them already"):
            scene.send("GET", "a")
        if state == "opening":
            scene.loop.advance(WITHIN_S)  # its bytes are let go with it
            assert isinstance(settled(great), TimeoutError)
            continue
        scene.pipeline.resume_writing()
        scene.pipeline.pause_writing()


# Any order


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
