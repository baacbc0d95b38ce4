"""Who posted a command is told once what became of it, whatever the others who are told do."""

from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError

from tests.unit.store.pipeline_scene import (
    MOMENT_S,
    WITHIN_S,
    Asker,
    BugError,
    Scene,
    closed,
    fail,
    lost,
    settled,
)


@pytest.fixture
async def scene() -> Scene:
    scene = Scene()
    scene.open()
    return scene


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
