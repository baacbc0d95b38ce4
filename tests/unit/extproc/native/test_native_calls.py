"""A call's life: how it begins, its messages and answers, and each of its ends."""

import gc
import weakref

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame

from sidecar.extproc.transport.native.faults import ErrorCode
from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.preface import PREFACE
from sidecar.extproc.transport.native.stream import NativeStream
from sidecar.extproc.transport.port import Handler
from tests.unit.extproc.native.h2_scene import (
    Scene,
    call_fields,
    content,
    data,
    framed,
    reset,
    resets,
    silent,
)


def test_the_server_greets_when_the_client_has() -> None:
    scene = Scene()
    assert scene.taken() == []

    sent = scene.feed(PREFACE)

    assert isinstance(sent[0], SettingsFrame)
    assert sent[0].settings == {1: 0, 3: 4096, 4: 65_535, 5: 16_384, 6: 16_384}
    assert not scene.connection.established
    acknowledged = scene.feed(SettingsFrame(0))
    assert [frame.flags.__contains__("ACK") for frame in acknowledged] == [True]
    assert scene.connection.established


def test_a_message_is_answered_with_a_head_and_data_in_one_go() -> None:
    scene = Scene().greet()

    head, answer = scene.call(1, b"one")

    assert isinstance(head, HeadersFrame)
    assert scene.fields(head) == {":status": "200", "content-type": "application/grpc"}
    assert "END_STREAM" not in head.flags
    assert isinstance(answer, DataFrame)
    assert answer.data == framed(b"re:one")
    assert scene.host.wakes == 0


def test_the_head_of_the_response_is_sent_once() -> None:
    scene = Scene().greet()
    scene.call(1, b"one")

    assert [type(frame) for frame in scene.feed(data(1, framed(b"two")))] == [DataFrame]
    assert scene.told[0].messages == [b"one", b"two"]


def test_messages_of_several_streams_in_one_read_reach_their_own_handlers() -> None:
    scene = Scene().greet()

    sent = scene.feed(
        scene.headers(1),
        scene.headers(3),
        data(3, framed(b"c")),
        data(1, framed(b"a")),
        data(3, framed(b"d")),
    )

    assert content(sent, 1) == framed(b"re:a")
    assert content(sent, 3) == framed(b"re:c") + framed(b"re:d")


def test_answers_given_outside_a_read_wake_the_owner_once() -> None:
    scene = Scene(silent).greet()
    scene.call(1, b"one")
    stream = scene.told[0].stream

    stream.send(b"first")
    stream.send(b"second")

    assert scene.host.wakes == 1
    assert content(scene.taken(), 1) == framed(b"first") + framed(b"second")
    stream.send(b"third")
    assert scene.host.wakes == 2


# --- Ends


def test_a_half_close_ends_the_handler_once_and_the_stream_well() -> None:
    scene = Scene().greet()

    sent = scene.call(1, b"one", end=True)

    assert scene.status(sent) == ("0", "")
    assert scene.told[0].ends == 1
    assert resets(sent) == []


def test_a_half_close_may_come_with_the_last_message() -> None:
    scene = Scene().greet()

    sent = scene.feed(scene.headers(1), data(1, framed(b"one"), end=True))

    assert content(sent, 1) == framed(b"re:one")
    assert scene.status(sent) == ("0", "")


def test_a_half_close_may_come_with_the_head() -> None:
    scene = Scene().greet()

    sent = scene.feed(scene.headers(1, end=True))

    assert scene.status(sent) == ("0", "")
    assert (scene.told[0].messages, scene.told[0].ends) == ([], 1)


def test_trailers_of_the_client_are_a_half_close() -> None:
    scene = Scene().greet()
    scene.call(1, b"one")

    sent = scene.feed(scene.headers(1, [("x-any", "thing")], end=True))

    assert scene.status(sent) == ("0", "")
    assert scene.told[0].ends == 1


def test_a_half_close_in_the_middle_of_a_message_does_not_end_well() -> None:
    scene = Scene().greet()

    sent = scene.feed(scene.headers(1), data(1, framed(b"whole")[:-1], end=True))

    assert scene.status(sent) == ("13", "the stream ended in the middle of a message")
    assert (scene.told[0].messages, scene.told[0].ends) == ([], 1)


def test_a_failed_stream_ends_with_internal_behind_its_answers_and_the_client_may_stop() -> None:
    def answer(stream: NativeStream, message: bytes) -> None:
        stream.send(b"before")
        stream.fail(f"not {message.decode()}: 100%")
        stream.send(b"after")

    scene = Scene(answer).greet()

    sent = scene.call(1, b"that", b"more")

    assert content(sent, 1) == framed(b"before")
    assert scene.status(sent) == ("13", "not that: 100%25")
    assert resets(sent) == [(1, ErrorCode.NO_ERROR)]
    assert (scene.told[0].messages, scene.told[0].ends) == ([b"that"], 1)
    assert not scene.told[0].reentered


def test_a_stream_that_fails_before_any_answer_has_only_trailers() -> None:
    scene = Scene(silent).greet()
    scene.call(1, b"one")

    scene.told[0].stream.fail("gone")
    assert scene.told[0].ends == 0  # not from within the call that fails it
    sent = scene.taken()

    assert [type(frame) for frame in sent][:1] == [HeadersFrame]
    assert scene.status(sent) == ("13", "gone")
    assert scene.told[0].ends == 1


def test_a_reset_ends_the_handler_once_and_drops_what_it_sends() -> None:
    scene = Scene(silent).greet()
    scene.call(1, b"one")

    assert scene.feed(reset(1)) == []

    assert scene.told[0].ends == 1
    scene.told[0].stream.send(b"late")
    scene.told[0].stream.fail("late")
    assert scene.taken() == []
    assert scene.told[0].ends == 1


def test_a_lost_connection_ends_every_handler_once() -> None:
    scene = Scene(silent).greet()
    scene.call(1, b"one")
    scene.call(3, b"one")

    scene.connection.lost()
    scene.connection.lost()

    assert [told.ends for told in scene.told] == [1, 1]


def test_a_handler_that_raises_fails_its_stream_and_no_other() -> None:
    def answer(stream: NativeStream, message: bytes) -> None:
        if message == b"bad":
            raise LookupError("a bug")
        stream.send(message)

    scene = Scene(answer).greet()
    scene.feed(scene.headers(3))

    sent = scene.call(5, b"bad", b"good")

    assert scene.status(sent) == ("13", "internal error")
    assert scene.told[1].ends == 1
    assert [str(error) for error in scene.host.errors] == ["a bug"]
    assert content(scene.feed(data(3, framed(b"good"))), 3) == framed(b"good")


def test_a_handler_that_cannot_be_made_fails_its_stream() -> None:
    def accept(stream: NativeStream) -> Handler:
        raise LookupError(f"no policies for {stream.stream_id}")

    scene = Scene(routes={b"/x": accept}).greet()

    sent = scene.feed(scene.headers(1, call_fields(path="/x", grpc_timeout="1S")), data(1, framed(b"m")))

    assert scene.status(sent) == ("13", "internal error")
    assert len(scene.host.errors) == 1
    assert all(timer.cancelled for timer in scene.host.timers)


def test_a_handler_that_raises_at_its_end_is_reported_and_the_others_are_told() -> None:
    class Bad:
        def __init__(self, stream: NativeStream) -> None:
            self.stream = stream

        def on_message(self, message: bytes) -> None:
            self.stream.send(message)

        def on_end(self) -> None:
            raise LookupError("a bug at the end")

    scene = Scene(routes={b"/x": Bad}).greet()
    scene.feed(scene.headers(1, call_fields(path="/x")), scene.headers(3, call_fields(path="/x")))

    scene.connection.lost()

    assert [str(error) for error in scene.host.errors] == ["a bug at the end"] * 2


@pytest.mark.parametrize("how", ["reset", "half-closed", "failed"])
def test_a_call_that_has_ended_leaves_nothing_to_the_garbage_collector(how: str) -> None:
    handlers: list[weakref.ref[object]] = []

    class Answers:
        def __init__(self, stream: NativeStream) -> None:
            self.stream = stream
            handlers.append(weakref.ref(self))

        def on_message(self, message: bytes) -> None:
            self.stream.send(message)
            if how == "failed":
                self.stream.fail("no")

        def on_end(self) -> None:
            """It keeps its stream to the end."""

    scene = Scene(routes={b"/x": Answers}).greet()
    gc.disable()
    try:
        scene.feed(scene.headers(1, call_fields(path="/x", grpc_timeout="1H")), data(1, framed(b"one")))
        if how != "failed":
            scene.feed(reset(1) if how == "reset" else data(1, b"", end=True))
        scene.host.timers.clear()

        assert handlers[0]() is None
    finally:
        gc.enable()


# --- Deadlines


def test_a_deadline_ends_the_stream() -> None:
    scene = Scene().greet()
    scene.feed(scene.headers(1, call_fields(grpc_timeout="250m")), data(1, framed(b"one")))

    scene.host.pass_time(0.249)
    assert scene.taken() == []
    scene.host.pass_time(0.001)

    sent = scene.taken()
    assert scene.status(sent)[0] == "4"
    assert resets(sent) == [(1, ErrorCode.NO_ERROR)]
    assert scene.told[0].ends == 1


def test_a_deadline_is_forgotten_when_the_stream_ends_before_it() -> None:
    scene = Scene().greet()
    scene.feed(scene.headers(1, call_fields(grpc_timeout="1S")), reset(1))

    assert [timer.cancelled for timer in scene.host.timers] == [True]


# --- Requests that are refused by their head alone


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"path": "/other/Method"}, "12", "no such method"),
        ({"te": None}, "13", "te: trailers"),
        ({"grpc_timeout": "1 second"}, "13", "grpc-timeout"),
        ({"grpc_timeout": "123456789S"}, "13", "grpc-timeout"),
    ],
)
def test_a_call_that_is_refused_has_only_trailers(
    changed: dict[str, str | None], status: str, says: str
) -> None:
    scene = Scene().greet()

    sent = scene.feed(scene.headers(1, call_fields(**changed)), data(1, framed(b"one")))

    (head,) = [frame for frame in sent if isinstance(frame, HeadersFrame)]
    fields = scene.fields(head)
    assert (fields[":status"], fields["grpc-status"]) == ("200", status)
    assert says in fields["grpc-message"]
    assert resets(sent) == [(1, ErrorCode.NO_ERROR)]
    assert scene.told == []
    assert not scene.connection.closing


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"content_type": "application/json"}, "415"),
        ({"content_type": "application/grpc-web"}, "415"),
        ({"content_type": None}, "415"),
        ({"method": "GET"}, "405"),
    ],
)
def test_what_is_not_grpc_gets_an_error_of_http(changed: dict[str, str | None], status: str) -> None:
    scene = Scene().greet()

    sent = scene.feed(scene.headers(1, call_fields(**changed), end=True))

    assert scene.fields(sent[0])[":status"] == status
    assert "END_STREAM" in sent[0].flags
    assert resets(sent) == []


@pytest.mark.parametrize(
    "content_type", ["application/grpc+proto", "application/grpc;x=y", "Application/GRPC"]
)
def test_every_way_to_say_grpc_is_served(content_type: str) -> None:
    scene = Scene().greet()

    sent = scene.feed(scene.headers(1, call_fields(content_type=content_type)), data(1, framed(b"one")))

    assert content(sent, 1) == framed(b"re:one")


@pytest.mark.parametrize(
    ("compressed", "encoding", "status"),
    [(1, "gzip", "12"), (1, None, "13"), (1, "identity", "13"), (2, "gzip", "13")],
)
def test_a_compressed_message_is_refused(compressed: int, encoding: str | None, status: str) -> None:
    scene = Scene().greet()
    fields = call_fields() if encoding is None else call_fields(grpc_encoding=encoding)

    sent = scene.feed(
        scene.headers(1, fields), data(1, framed(b"plain") + framed(b"zipped", compressed=compressed))
    )

    assert content(sent, 1) == framed(b"re:plain")
    assert scene.status(sent)[0] == status
    assert scene.told[0].messages == [b"plain"]


def test_what_is_accepted_is_said_where_an_encoding_is_refused() -> None:
    scene = Scene().greet()

    sent = scene.feed(
        scene.headers(1, call_fields(grpc_encoding="gzip")), data(1, framed(b"z", compressed=1))
    )

    assert scene.fields(sent[0])["grpc-accept-encoding"] == "identity"


def test_a_message_over_the_limit_is_refused_as_soon_as_it_is_announced() -> None:
    scene = Scene(limits=Limits(message_size=100)).greet()

    sent = scene.feed(scene.headers(1), data(1, framed(b"x" * 100) + framed(b"x" * 101)[:5]))

    assert content(sent, 1) == framed(b"re:" + b"x" * 100)
    assert scene.status(sent) == ("8", "a message of 101 bytes; allowed: at most 100")


def test_content_of_the_announced_length_is_taken() -> None:
    scene = Scene().greet()
    message = framed(b"one")

    sent = scene.feed(
        scene.headers(1, call_fields(content_length=str(len(message)))),
        data(1, message),
        data(1, b"", end=True),
    )

    assert scene.status(sent) == ("0", "")


@pytest.mark.parametrize(("length", "end"), [("7", False), ("9", True)])
def test_content_of_another_length_than_announced_is_malformed(length: str, end: bool) -> None:
    scene = Scene().greet()

    sent = scene.feed(scene.headers(1, call_fields(content_length=length)), data(1, framed(b"one"), end=end))

    assert resets(sent) == [(1, ErrorCode.PROTOCOL_ERROR)]
    assert scene.told[0].ends == 1
