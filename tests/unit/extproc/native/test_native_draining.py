"""How a connection is drained: two GOAWAYs, what is served between them, and what is left at the end."""

from hyperframe.frame import SettingsFrame

from sidecar.extproc.transport.native.faults import ErrorCode
from sidecar.extproc.transport.native.limits import Limits
from tests.unit.extproc.native.h2_scene import (
    Scene,
    content,
    data,
    framed,
    goaways,
    ping,
    resets,
)


def test_a_drain_asks_for_no_more_and_serves_what_was_on_its_way() -> None:
    scene = Scene().greet()
    scene.call(1, b"one")

    scene.connection.drain()
    first = scene.taken()
    assert goaways(first) == [(2**31 - 1, ErrorCode.NO_ERROR)]
    crossing = scene.call(3, b"on the wire")
    assert content(crossing, 3) == framed(b"re:on the wire")

    second = scene.feed(ping(b"draining", ack=True))
    assert goaways(second) == [(3, ErrorCode.NO_ERROR)]
    assert resets(scene.call(5, b"too late")) == [(5, ErrorCode.REFUSED_STREAM)]
    assert len(scene.told) == 2

    closing = [scene.connection.closing]
    for stream_id in (1, 3):
        scene.feed(data(stream_id, b"", end=True))
        closing.append(scene.connection.closing)
    assert closing == [False, False, True]
    assert [told.ends for told in scene.told] == [1, 1]


def test_the_last_goaway_names_no_later_stream_than_the_one_before() -> None:
    scene = Scene().greet()
    scene.call(1, b"one")
    scene.connection.drain()
    scene.feed(ping(b"draining", ack=True))
    scene.call(3, b"too late")

    scene.connection.abandon()

    assert goaways(scene.taken()) == [(1, ErrorCode.NO_ERROR)]


def test_a_drain_does_not_wait_for_a_ping_that_is_not_answered() -> None:
    scene = Scene().greet()
    scene.connection.drain()
    scene.taken()

    scene.host.pass_time(Limits().drain_ping_s)

    assert goaways(scene.taken()) == [(0, ErrorCode.NO_ERROR)]
    assert scene.connection.closing


def test_the_second_goaway_is_sent_once_whether_the_ping_or_the_time_comes_first() -> None:
    scene = Scene().greet()
    scene.call(1, b"one")
    scene.connection.drain()
    scene.taken()

    assert len(goaways(scene.feed(ping(b"draining", ack=True)))) == 1
    scene.host.pass_time(Limits().drain_ping_s)

    assert scene.taken() == []


def test_a_drain_is_begun_once() -> None:
    scene = Scene().greet()
    scene.connection.drain()
    scene.taken()

    scene.connection.drain()

    assert scene.taken() == []


def test_a_connection_that_has_shown_nothing_yet_is_greeted_before_it_is_drained() -> None:
    scene = Scene()

    scene.connection.drain()

    assert isinstance(scene.taken()[0], SettingsFrame)


def test_what_is_left_of_a_drain_ends_with_unavailable() -> None:
    scene = Scene().greet()
    scene.call(1, b"one")

    scene.connection.abandon()

    sent = scene.taken()
    assert scene.status(sent) == ("14", "the server is stopping")
    assert goaways(sent) == [(1, ErrorCode.NO_ERROR)]
    assert scene.connection.closing
    assert scene.told[0].ends == 1
