"""One connection's queue: whose a reply is, what is late, what is too much, and how it ends."""

import gc
import weakref
from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    InvalidResponse,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
)

from sidecar.store.redis import pipelining
from sidecar.store.redis.packing import JOINED_BELOW
from sidecar.store.redis.pipelining import OverloadError, Pipeline
from tests.unit.store.pipeline_scene import MOMENT_S, WITHIN_S, Scene, closed, lost, settled


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
    scene.reply("-NOSCRIPT No matching script.", "-OOM command not allowed", "+third")
    assert isinstance(settled(first), NoScriptError)
    assert isinstance(settled(second), OutOfMemoryError)
    assert settled(third) == b"third"
    assert scene.pipeline.accepting


@pytest.mark.parametrize("said", ["READONLY You can't write", "MASTERDOWN Link with MASTER is down"])
async def test_a_server_that_is_a_replica_answers_what_it_has_and_is_asked_no_more(
    scene: Scene, said: str
) -> None:
    first, second = scene.send("GET", 1), scene.send("GET", 2)
    scene.loop.turn()
    scene.reply(f"-{said}")
    assert isinstance(settled(first), (ReadOnlyError, MasterDownError))
    assert not scene.pipeline.accepting
    assert scene.over == []
    scene.reply("+second")
    assert settled(second) == b"second"
    assert scene.over == [scene.pipeline]
    assert scene.transport.aborted


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


async def test_a_connection_that_has_ended_leaves_nothing_to_the_garbage_collector() -> None:
    gc.disable()
    try:
        pipeline = Pipeline(lambda _: None)
        pipeline.end(RedisConnectionError("over"))
        ended = weakref.ref(pipeline)
        del pipeline
        assert ended() is None
    finally:
        gc.enable()


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
