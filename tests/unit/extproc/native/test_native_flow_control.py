"""Windows both ways: what a peer may send, what it makes room for, and what is held meanwhile."""

import itertools

from hyperframe.frame import DataFrame, Frame, SettingsFrame

from sidecar.extproc.transport.native.faults import ErrorCode
from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.stream import NativeStream
from tests.unit.extproc.native.h2_scene import (
    Scene,
    content,
    data,
    framed,
    goaways,
    raw,
    reset,
    resets,
    silent,
    window,
    windows,
)


def in_frames(stream_id: int, sent: bytes, size: int = 16_384) -> list[Frame]:
    """Content cut into DATA frames."""
    return [data(stream_id, sent[at : at + size]) for at in range(0, len(sent), size)]


# --- What the peer may send


def test_the_windows_of_small_exchanges_are_never_renewed() -> None:
    scene = Scene().greet()

    for stream_id in range(1, 200, 2):
        sent = scene.call(stream_id, *([b"x" * 500] * 4))
        assert windows(sent) == []


def test_a_streams_window_is_renewed_in_one_large_step() -> None:
    scene = Scene(silent).greet()
    scene.feed(scene.headers(1))
    message = framed(b"x" * 8187)  # 8 kB with its prefix

    given = [windows(scene.feed(data(1, message))) for _ in range(12)]

    assert [step for step in given if step] == [[(1, 4 * 8192)]] * 3
    assert given[3] == [(1, 4 * 8192)]


def test_a_message_as_long_as_the_window_needs_no_permission() -> None:
    scene = Scene(silent).greet()
    message = framed(b"x" * (65_535 - 5))

    sent = scene.feed(scene.headers(1), *in_frames(1, message))

    assert scene.told[0].messages == [message[5:]]
    assert windows(sent) == [(1, 65_535)]


def test_a_long_message_is_given_all_the_room_it_needs_when_its_length_is_known() -> None:
    scene = Scene(silent).greet()
    message = framed(b"x" * 1_000_000)
    parts = in_frames(1, message)

    first = scene.feed(scene.headers(1), parts[0])
    assert windows(first) == [(1, len(message) - 65_535)]
    rest = scene.feed(*parts[1:])

    assert scene.told[0].messages == [message[5:]]
    assert windows(rest) == [(1, 65_535)]


def test_a_message_after_a_long_one_finds_the_usual_window() -> None:
    scene = Scene(silent).greet()
    scene.feed(scene.headers(1), *in_frames(1, framed(b"x" * 300_000)))

    scene.feed(*in_frames(1, framed(b"y" * 300_000)))

    assert [message[:1] for message in scene.told[0].messages] == [b"x", b"y"]


def test_long_messages_that_have_no_room_together_wait_for_their_turn() -> None:
    limits = Limits(message_size=150_000, large_messages=200_000)
    scene = Scene(silent, limits).greet()
    parts = {stream_id: in_frames(stream_id, framed(b"x" * 150_000)) for stream_id in (1, 3, 5)}

    first = [windows(scene.feed(scene.headers(stream_id), parts[stream_id][0])) for stream_id in (1, 3, 5)]
    assert first == [[(1, 150_005 - 65_535)], [], []]

    assert windows(scene.feed(*parts[1][1:])) == [(3, 150_005 - 65_535), (1, 65_535)]
    assert windows(scene.feed(reset(3))) == [(5, 150_005 - 65_535)]
    scene.feed(*parts[5][1:])
    assert [len(told.messages) for told in scene.told] == [1, 0, 1]


def test_a_stream_that_goes_while_it_waits_leaves_the_line() -> None:
    limits = Limits(message_size=150_000, large_messages=200_000)
    scene = Scene(silent, limits).greet()
    parts = {stream_id: in_frames(stream_id, framed(b"x" * 150_000)) for stream_id in (1, 3, 5)}
    for stream_id in (1, 3, 5):
        scene.feed(scene.headers(stream_id), parts[stream_id][0])

    assert windows(scene.feed(reset(3))) == []
    assert (5, 150_005 - 65_535) in windows(scene.feed(*parts[1][1:]))


def test_the_window_of_the_connection_is_renewed_in_one_large_step() -> None:
    scene = Scene(silent).greet()
    given = []
    for stream_id in range(1, 700, 2):
        given += windows(scene.feed(scene.headers(stream_id), *in_frames(stream_id, framed(b"x" * 50_000))))

    of_connection = [increment for at, increment in given if at == 0]
    assert [round(increment / 2**20, 1) for increment in of_connection] == [8.0, 8.0]


def test_data_for_streams_that_have_ended_counts_against_the_window_of_the_connection() -> None:
    scene = Scene(lambda stream, _: stream.fail("no"), Limits(connection_window=65_535)).greet()
    scene.call(1, b"one")

    sent = scene.feed(*in_frames(1, bytes(40_000)))

    assert windows(sent)[0][0] == 0


def test_more_than_the_connections_window_is_a_connection_error() -> None:
    scene = Scene(silent, Limits(connection_window=65_535, frame_size=2**20)).greet()

    sent = scene.feed(scene.headers(1), data(1, bytes(65_536)))

    assert goaways(sent) == [(1, ErrorCode.FLOW_CONTROL_ERROR)]


def test_padding_counts() -> None:
    scene = Scene(silent).greet()
    scene.feed(scene.headers(1))
    padded = raw(0, 8, 1, b"\xff" + framed(b"x") + bytes(255))

    given = list(itertools.chain.from_iterable(windows(scene.feed(padded)) for _ in range(126)))

    assert given == [(1, 126 * 262)]
    assert len(scene.told[0].messages) == 126


def test_the_priority_and_the_padding_of_a_head_are_taken_off() -> None:
    scene = Scene().greet()
    block = scene.encoder.encode([(":method", "POST")])  # the update of the table, and one field
    rest = scene.headers(1).data

    sent = scene.feed(raw(1, 0x20 | 8, 1, b"\x02" + bytes(5) + block + b"\0\0"), raw(9, 4, 1, rest[1:]))

    assert resets(sent) == []
    assert len(scene.told) == 1


# --- What the peer makes room for


def test_an_answer_waits_for_the_streams_window_and_is_cut_to_it() -> None:
    scene = Scene().greet({4: 4})

    assert content(scene.call(1, b"one"), 1) == framed(b"re:one")[:4]
    assert content(scene.feed(window(1, 3)), 1) == framed(b"re:one")[4:7]
    assert content(scene.feed(window(1, 100)), 1) == framed(b"re:one")[7:]


def test_an_answer_waits_for_the_connections_window_in_the_order_of_asking() -> None:
    scene = Scene(lambda stream, _: stream.send(b"x" * 40_000)).greet(window=65_535)

    sent = scene.call(1, b"one") + scene.call(3, b"one") + scene.call(5, b"one")
    assert [len(content(sent, stream_id)) for stream_id in (1, 3, 5)] == [40_005, 25_530, 0]

    more = scene.feed(window(0, 20_000))
    assert [len(content(more, stream_id)) for stream_id in (1, 3, 5)] == [0, 14_475, 5_525]


def test_a_stream_without_a_window_does_not_hold_up_the_others() -> None:
    scene = Scene().greet({4: 0}, window=65_535)
    scene.call(1, b"one")
    scene.call(3, b"one")

    assert content(scene.feed(window(3, 100)), 3) == framed(b"re:one")


def test_a_window_may_become_negative_by_settings() -> None:
    scene = Scene().greet({4: 10})
    scene.call(1, b"one")  # 11 bytes with the prefix

    assert scene.feed(SettingsFrame(0, settings={4: 5}))[0].flags.__contains__("ACK")
    assert content(scene.feed(window(1, 5)), 1) == b""
    assert content(scene.feed(window(1, 1)), 1) == framed(b"re:one")[10:]


def test_settings_that_make_a_window_too_large_are_a_connection_error() -> None:
    scene = Scene().greet({4: 100})
    scene.feed(scene.headers(1), window(1, 2**31 - 1 - 100))

    assert goaways(scene.feed(SettingsFrame(0, settings={4: 101}))) == [(1, ErrorCode.FLOW_CONTROL_ERROR)]


def test_an_answer_is_cut_to_the_peers_frames() -> None:
    scene = Scene(lambda stream, _: stream.send(b"x" * 40_000)).greet()

    sizes = [len(frame.data) for frame in scene.call(1, b"one") if isinstance(frame, DataFrame)]

    assert sizes == [16_384, 16_384, 40_005 - 2 * 16_384]


def test_a_peer_that_takes_longer_frames_gets_them() -> None:
    scene = Scene(lambda stream, _: stream.send(b"x" * 40_000)).greet({4: 2**31 - 1, 5: 2**20})

    sizes = [len(frame.data) for frame in scene.call(1, b"one") if isinstance(frame, DataFrame)]

    assert sizes == [40_005]


def test_the_end_waits_behind_the_answers() -> None:
    scene = Scene().greet({4: 4})

    sent = scene.call(1, b"one", end=True)
    assert "END_STREAM" not in sent[0].flags
    assert scene.told[0].ends == 1

    assert scene.status(scene.feed(window(1, 100))) == ("0", "")


def test_what_comes_while_the_end_waits_is_ignored() -> None:
    def answer(stream: NativeStream, message: bytes) -> None:
        stream.send(message)
        stream.fail("no")

    scene = Scene(answer).greet({4: 4})
    scene.call(1, b"one")

    assert scene.feed(data(1, framed(b"two")), data(1, b"", end=True)) == []

    sent = scene.feed(window(1, 100))
    assert scene.status(sent) == ("13", "no")
    assert resets(sent) == []
    assert (scene.told[0].messages, scene.told[0].ends) == ([b"one"], 1)


def test_trailers_that_come_while_the_end_waits_are_ignored() -> None:
    def answer(stream: NativeStream, message: bytes) -> None:
        stream.send(message)
        stream.fail("no")

    scene = Scene(answer).greet({4: 4})
    scene.call(1, b"one")

    assert scene.feed(scene.headers(1, [("x", "y")], end=True)) == []
    assert scene.status(scene.feed(window(1, 100))) == ("13", "no")


# --- A peer that does not make room


def double(stream: NativeStream, message: bytes) -> None:
    stream.send(message * 2)


def test_messages_wait_while_the_answers_to_those_before_are_not_taken() -> None:
    scene = Scene(double, Limits(queued_answers=1000)).greet({4: 0})

    scene.call(1, b"a" * 300, b"b" * 300, b"c" * 300)
    assert [message[:1] for message in scene.told[0].messages] == [b"a", b"b"]

    scene.feed(window(1, 605))
    assert [message[:1] for message in scene.told[0].messages] == [b"a", b"b", b"c"]


def test_a_stream_that_is_held_back_gets_no_window_until_it_is_not() -> None:
    scene = Scene(double, Limits(queued_answers=1000)).greet({4: 0})
    message = framed(b"x" * 8187)

    sent = scene.feed(scene.headers(1), *([data(1, message)] * 8)[:7])
    assert windows(sent) == []
    assert len(scene.told[0].messages) == 1

    sent = scene.feed(window(1, 1_000_000))
    assert len(scene.told[0].messages) == 7
    assert windows(sent) == [(1, 7 * 8192)]


def test_what_comes_beyond_the_window_meanwhile_resets_the_stream() -> None:
    scene = Scene(double, Limits(queued_answers=1000)).greet({4: 0})

    sent = scene.feed(scene.headers(1), *([data(1, framed(b"x" * 8187))] * 8))

    assert resets(sent) == [(1, ErrorCode.FLOW_CONTROL_ERROR)]
    assert scene.told[0].ends == 1


def test_a_half_close_waits_for_the_messages_before_it() -> None:
    scene = Scene(double, Limits(queued_answers=100)).greet({4: 0})

    scene.call(1, b"a" * 100, b"b" * 100, end=True)
    assert (len(scene.told[0].messages), scene.told[0].ends) == (1, 0)

    scene.feed(window(1, 205))
    assert (len(scene.told[0].messages), scene.told[0].ends) == (2, 1)
    assert scene.status(scene.feed(window(1, 205))) == ("0", "")


def test_a_handler_is_not_called_again_for_a_message_that_its_own_answer_makes_room_for() -> None:
    scene = Scene(double, Limits(queued_answers=100)).greet({4: 0})
    scene.call(1, b"a" * 100, b"b" * 100, b"c" * 100)

    scene.feed(window(1, 100_000))

    assert len(scene.told[0].messages) == 3
    assert not scene.told[0].reentered


def test_a_paused_stream_gets_no_window_and_hands_over_everything_in_order_when_it_goes_on() -> None:
    scene = Scene(lambda stream, _: stream.pause_reading()).greet({4: 0})
    message = framed(b"x" * 8187)

    sent = scene.feed(scene.headers(1), *([data(1, message)] * 7))
    assert windows(sent) == []
    assert len(scene.told[0].messages) == 1

    scene.told[0].stream.resume_reading()  # and is paused again by each message
    assert len(scene.told[0].messages) == 2
    for _ in range(5):
        scene.told[0].stream.resume_reading()
    assert len(scene.told[0].messages) == 7


def test_a_peer_that_asks_for_more_than_it_takes_loses_its_connection() -> None:
    scene = Scene(lambda stream, _: stream.send(b"x" * 1000), Limits(unsent=10_000)).greet({4: 0})

    sent = [scene.call(stream_id, b"more") for stream_id in range(1, 21, 2)]

    assert [goaways(answered) for answered in sent[:9]] == [[]] * 9
    assert goaways(sent[9]) == [(19, ErrorCode.ENHANCE_YOUR_CALM)]
    assert [told.ends for told in scene.told] == [1] * 10


def test_what_a_stream_had_queued_is_forgotten_with_it() -> None:
    scene = Scene(lambda stream, _: stream.send(b"x" * 1000), Limits(unsent=10_000)).greet({4: 0})

    for stream_id in range(1, 101, 2):
        scene.call(stream_id, b"more")
        scene.feed(reset(stream_id))

    assert not scene.connection.closing
    assert scene.connection._outlet.queued == 0


def test_a_call_whose_answers_find_no_room_is_reset_and_the_others_go_on() -> None:
    scene = Scene(lambda stream, _: stream.send(b"x" * 1000), Limits(no_room_s=10)).greet({4: 1500})
    scene.call(1, b"more", b"more")  # half of its second answer waits
    scene.call(3, b"more", b"more")
    scene.call(5, b"more")  # nothing of it waits

    ended = []
    for _ in range(4):
        scene.host.pass_time(9.9)
        ended += resets(scene.feed(window(3, 1)))  # the slowest of peers
    assert ended == [(1, ErrorCode.ENHANCE_YOUR_CALM)]
    assert [told.ends for told in scene.told] == [1, 0, 0]
    assert content(scene.feed(window(3, 1000)), 3)[-1:] == b"x"
    assert content(scene.feed(data(5, framed(b"more"))), 5) != b""


def test_calls_that_wait_for_the_window_of_their_connection_find_no_room_either() -> None:
    scene = Scene(lambda stream, _: stream.send(b"x" * 40_000), Limits(no_room_s=10)).greet(window=65_535)
    scene.call(1, b"more")
    scene.call(3, b"more", end=True)  # its end waits behind its answer

    scene.host.pass_time(10)
    assert resets(scene.taken()) == []
    scene.host.pass_time(10)
    assert resets(scene.taken()) == [(3, ErrorCode.ENHANCE_YOUR_CALM)]
    assert scene.connection._outlet.queued == 0


def test_nobody_looks_for_calls_without_room_where_none_waits() -> None:
    scene = Scene(lambda stream, _: stream.send(b"x" * 1000), Limits(no_room_s=10)).greet({4: 1500})
    scene.call(1, b"more")
    assert scene.host.timers == []

    scene.feed(data(1, framed(b"more")), window(1, 10_000))
    scene.host.pass_time(10)  # there was one, which has been given room
    assert scene.host.timers == []

    scene.feed(*[data(1, framed(b"more"))] * 20)
    (timer,) = scene.host.timers
    scene.connection.lost()
    assert timer.cancelled


# --- Room for whoever has much to send


def test_what_a_wider_window_lets_out_comes_behind_the_acknowledgement_of_the_settings() -> None:
    scene = Scene(lambda stream, message: stream.send(message)).greet({4: 70_000})
    scene.feed(scene.headers(1), *in_frames(1, framed(b"x" * 60_000)))
    scene.feed(*in_frames(1, framed(b"y" * 60_000)))

    sent = scene.feed(SettingsFrame(0, settings={4: 140_000}))

    assert isinstance(sent[0], SettingsFrame)
    assert "ACK" in sent[0].flags
    assert len(content(sent[1:], 1)) == 2 * 60_005 - 70_000


def test_whoever_asks_for_room_is_told_when_little_enough_of_a_stream_is_queued() -> None:
    scene = Scene(silent, Limits(queued_answers=1000)).greet({4: 0})
    scene.call(1, b"first")
    told: list[str] = []
    stream = scene.told[0].stream
    stream.send(b"x" * 2000)

    stream.when_writable(lambda: told.append("room"))
    scene.feed(window(1, 1000))
    assert told == []
    scene.feed(window(1, 5))
    assert told == ["room"]
    scene.feed(window(1, 1000))
    assert told == ["room"]


def test_whoever_asks_for_room_while_the_socket_takes_nothing_is_told_when_it_does() -> None:
    scene = Scene(silent).greet()
    scene.call(1, b"first")
    scene.call(3, b"first")
    told: list[int] = []

    scene.connection.congest()
    for number, told_of in enumerate(scene.told):
        told_of.stream.when_writable(lambda number=number: told.append(number))  # type: ignore[misc]  # a default binds
    assert told == []
    scene.connection.relieve()
    assert told == [0, 1]
    scene.connection.relieve()
    assert told == [0, 1]


def test_a_stream_that_lacks_both_is_told_when_it_has_both() -> None:
    scene = Scene(silent, Limits(queued_answers=1000)).greet({4: 0})
    scene.call(1, b"first")
    told: list[str] = []
    stream = scene.told[0].stream
    stream.send(b"x" * 2000)
    scene.connection.congest()

    stream.when_writable(lambda: told.append("room"))
    scene.connection.relieve()
    assert told == []
    scene.connection.congest()
    scene.feed(window(1, 2005))
    assert told == []
    scene.connection.relieve()
    assert told == ["room"]


def test_of_a_stream_that_is_over_nobody_is_told() -> None:
    scene = Scene(silent).greet()
    scene.call(1, b"first")
    told: list[str] = []
    scene.connection.congest()
    scene.told[0].stream.when_writable(lambda: told.append("room"))

    scene.feed(reset(1))
    scene.connection.relieve()
    scene.told[0].stream.when_writable(lambda: told.append("late"))

    assert told == []
