"""What a peer must not do, and the error code of RFC 9113 that each gets: a table, and the floods."""

import pytest
from hpack import Encoder
from hyperframe.frame import Frame, GoAwayFrame, SettingsFrame

from sidecar.extproc.transport.native import frames
from sidecar.extproc.transport.native.faults import ErrorCode
from sidecar.extproc.transport.native.limits import Allowance, Limits
from sidecar.extproc.transport.native.preface import PREFACE
from tests.unit.extproc.native.h2_scene import (
    Fields,
    Scene,
    call_fields,
    content,
    data,
    framed,
    goaways,
    ping,
    raw,
    reset,
    resets,
    silent,
    window,
)

HEADERS, CONTINUATION = frames.HEADERS, frames.CONTINUATION
END_HEADERS, END_STREAM, PADDED, HAS_PRIORITY = 4, 1, 8, 0x20
BLOCK = Encoder().encode(call_fields())


def setting(name: int, value: int) -> bytes:
    return raw(frames.SETTINGS, 0, 0, name.to_bytes(2, "big") + value.to_bytes(4, "big"))


CONNECTION_ERRORS: dict[str, tuple[bytes, ErrorCode]] = {
    # Frames of a wrong size (RFC 9113 §4.2, §6)
    "a frame longer than allowed": (raw(frames.DATA, 0, 1, bytes(16_385)), ErrorCode.FRAME_SIZE_ERROR),
    "RST_STREAM of 3 bytes": (raw(frames.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 5 bytes": (raw(frames.WINDOW_UPDATE, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "PING of 7 bytes": (raw(frames.PING, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "GOAWAY of 7 bytes": (raw(frames.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "SETTINGS of 5 bytes": (raw(frames.SETTINGS, 0, 0, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
    "an acknowledgement with settings": (raw(frames.SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "HEADERS without their priority": (
        raw(HEADERS, END_HEADERS | HAS_PRIORITY, 3, bytes(4)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "padding without its length": (raw(frames.DATA, PADDED, 1), ErrorCode.FRAME_SIZE_ERROR),
    # Padding (§6.1, §6.2)
    "DATA of more padding than payload": (
        raw(frames.DATA, PADDED, 1, b"\x04abc"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "HEADERS of more padding than payload": (
        raw(HEADERS, END_HEADERS | PADDED, 3, b"\xff" + BLOCK),
        ErrorCode.PROTOCOL_ERROR,
    ),
    # Streams (§5.1)
    "HEADERS on stream 0": (raw(HEADERS, END_HEADERS, 0, BLOCK), ErrorCode.PROTOCOL_ERROR),
    "a stream of an even number": (raw(HEADERS, END_HEADERS, 2, BLOCK), ErrorCode.PROTOCOL_ERROR),
    "a stream of an even number, above": (raw(HEADERS, END_HEADERS, 8, BLOCK), ErrorCode.PROTOCOL_ERROR),
    "a stream older than the last": (
        raw(HEADERS, END_HEADERS, 5, BLOCK) + raw(HEADERS, END_HEADERS, 3, BLOCK),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "DATA on stream 0": (raw(frames.DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "DATA on an idle stream": (raw(frames.DATA, 0, 9, b"x"), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on an idle stream": (raw(frames.RST_STREAM, 0, 9, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "RST_STREAM on stream 0": (raw(frames.RST_STREAM, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "WINDOW_UPDATE on an idle stream": (
        raw(frames.WINDOW_UPDATE, 0, 9, b"\0\0\0\1"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "PRIORITY on stream 0": (raw(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "SETTINGS on a stream": (raw(frames.SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "PING on a stream": (raw(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "GOAWAY on a stream": (raw(frames.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "PUSH_PROMISE": (raw(frames.PUSH_PROMISE, 4, 1, bytes(4) + BLOCK), ErrorCode.PROTOCOL_ERROR),
    # Field blocks (§4.3, §6.10)
    "CONTINUATION of nothing": (raw(CONTINUATION, END_HEADERS, 1, BLOCK), ErrorCode.PROTOCOL_ERROR),
    "PING in a field block": (
        raw(HEADERS, 0, 3, BLOCK[:5]) + raw(frames.PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "CONTINUATION of another stream": (
        raw(HEADERS, 0, 3, BLOCK[:5]) + raw(CONTINUATION, END_HEADERS, 5, BLOCK[5:]),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a field block that cannot be decoded": (
        raw(HEADERS, END_HEADERS, 3, b"\x20\xff\xff\xff\xff\xff\xff"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "a field of a table that is off": (
        raw(HEADERS, END_HEADERS, 3, b"\x20\xbe"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "a table that is turned on again": (
        raw(HEADERS, END_HEADERS, 3, b"\x3f\xe1\x1f" + BLOCK),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "a field block over the limit": (
        raw(HEADERS, 0, 3, bytes(16_000)) + raw(CONTINUATION, 0, 3, bytes(400)),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a field list over the limit": (
        raw(HEADERS, END_HEADERS, 3, b"\x20" + Encoder().encode([("x-long", "a" * 20_000)])),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a field block in endless pieces": (
        raw(HEADERS, 0, 3, b"") + raw(CONTINUATION, 0, 3, b"") * 9,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    # Windows (§6.9)
    "a window over 2^31-1": (
        raw(frames.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a window widened by nothing": (raw(frames.WINDOW_UPDATE, 0, 0, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    # Settings (§6.5.2)
    "ENABLE_PUSH 2": (setting(frames.ENABLE_PUSH, 2), ErrorCode.PROTOCOL_ERROR),
    "INITIAL_WINDOW_SIZE 2^31": (
        setting(frames.INITIAL_WINDOW_SIZE, 2**31),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "MAX_FRAME_SIZE 16383": (setting(frames.MAX_FRAME_SIZE, 16_383), ErrorCode.PROTOCOL_ERROR),
    "MAX_FRAME_SIZE 2^24": (setting(frames.MAX_FRAME_SIZE, 2**24), ErrorCode.PROTOCOL_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), CONNECTION_ERRORS.values(), ids=CONNECTION_ERRORS.keys())
def test_a_connection_error_says_its_code_and_ends_every_call(sent: bytes, code: ErrorCode) -> None:
    scene = Scene(silent).greet()
    scene.feed(raw(HEADERS, END_HEADERS, 1, b"\x20" + Encoder().encode(call_fields())))

    answered = scene.feed(sent)

    assert goaways(answered)[-1][1] == code
    assert scene.connection.closing
    assert {told.ends for told in scene.told} == {1}
    assert scene.feed(ping()) == []  # nothing is read after it


def test_the_error_is_explained_to_people() -> None:
    scene = Scene().greet()

    sent = scene.feed(raw(frames.PUSH_PROMISE, 4, 1, bytes(4)))

    assert isinstance(sent[-1], GoAwayFrame)
    assert sent[-1].additional_data == b"PUSH_PROMISE from a client"


def test_a_table_that_is_not_turned_off_after_the_acknowledgement_is_a_compression_error() -> None:
    scene = Scene().greet()

    assert goaways(scene.feed(raw(HEADERS, END_HEADERS, 1, BLOCK))) == [(1, ErrorCode.COMPRESSION_ERROR)]


# --- Beginnings (§3.4)


@pytest.mark.parametrize(
    "sent", [b"PRI * HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\t"]
)
def test_anything_but_the_preface_is_a_protocol_error(sent: bytes) -> None:
    scene = Scene()

    assert [code for _, code in goaways(scene.feed(sent))] == [ErrorCode.PROTOCOL_ERROR]
    assert scene.connection.closing


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PROPFIND", "OPTIONS"])
def test_a_request_of_http_1_is_answered_in_http_1(method: str) -> None:
    scene = Scene()

    scene.connection.receive_data(f"{method} / HTTP/1.1\r\nhost: x\r\n\r\n".encode())

    head, _, body = scene.connection.data_to_send().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 ")
    assert f"content-length: {len(body)}".encode() in head
    assert scene.connection.closing


@pytest.mark.parametrize(
    "first", [ping(), SettingsFrame(0, flags=["ACK"])], ids=["PING", "an acknowledgement"]
)
def test_the_first_frame_has_to_be_settings(first: Frame) -> None:
    scene = Scene()

    assert goaways(scene.feed(PREFACE, first))[0][1] == ErrorCode.PROTOCOL_ERROR


# --- Stream errors: the stream is reset, the connection and its other calls go on (§5.4.2)

MALFORMED: dict[str, Fields] = {
    "an upper-case name": [*call_fields(), ("X-Upper", "1")],
    "a name that is no token": [*call_fields(), ("x y", "1")],
    "an empty name": [*call_fields(), ("", "1")],
    "a value with a line in it": [*call_fields(), ("x", "a\nb")],
    "a value with a zero in it": [*call_fields(), ("x", "a\0b")],
    "a value that begins with a space": [*call_fields(), ("x", " a")],
    "connection": [*call_fields(), ("connection", "close")],
    "transfer-encoding": [*call_fields(), ("transfer-encoding", "chunked")],
    "te: gzip": call_fields(te="gzip"),
    "a pseudo-header field after others": [*call_fields()[1:], (":method", "POST")],
    "a pseudo-header field twice": [(":method", "POST"), *call_fields()],
    "a pseudo-header field of responses": [(":status", "200"), *call_fields()],
    "an unknown pseudo-header field": [(":protocol", "x"), *call_fields()],
    "no method": call_fields(method=None),
    "no scheme": call_fields(scheme=None),
    "no path": call_fields(path=None),
    "an empty path": call_fields(path=""),
    "CONNECT with a path": call_fields(method="CONNECT"),
    "two lengths": [*call_fields(content_length="5"), ("content-length", "6")],
    "a length that is no number": call_fields(content_length="-1"),
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_call_is_reset_and_the_next_is_served(fields: Fields) -> None:
    scene = Scene().greet()

    assert resets(scene.feed(scene.headers(1, fields))) == [(1, ErrorCode.PROTOCOL_ERROR)]

    assert content(scene.call(3, b"one"), 3) == framed(b"re:one")
    assert len(scene.told) == 1


def test_a_connect_is_well_formed_and_refused() -> None:
    scene = Scene().greet()

    sent = scene.feed(scene.headers(1, [(":method", "CONNECT"), (":authority", "a:1")], end=True))

    assert scene.fields(sent[0])[":status"] == "405"


STREAM_ERRORS: dict[str, tuple[bytes, ErrorCode]] = {
    "a window widened by nothing": (raw(frames.WINDOW_UPDATE, 0, 1, bytes(4)), ErrorCode.PROTOCOL_ERROR),
    "a window over 2^31-1": (
        raw(frames.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff"),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "PRIORITY of 4 bytes": (raw(frames.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "trailers that end nothing": (raw(HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b"), ErrorCode.PROTOCOL_ERROR),
    "trailers with a path": (
        raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x84"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "more than the stream's window": (
        raw(frames.DATA, 0, 1, bytes(16_384)) * 4,
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
}


@pytest.mark.parametrize(("sent", "code"), STREAM_ERRORS.values(), ids=STREAM_ERRORS.keys())
def test_a_stream_error_resets_the_stream_and_ends_its_handler_once(sent: bytes, code: ErrorCode) -> None:
    scene = Scene(silent, Limits(queued_answers=-1)).greet()  # nothing is taken: the window is used up
    scene.feed(scene.headers(1), scene.headers(3))

    answered = scene.feed(sent)

    assert resets(answered) == [(1, code)]
    assert goaways(answered) == []
    assert [told.ends for told in scene.told] == [1, 0]
    assert scene.feed(reset(3)) == []


def test_too_many_streams_at_once_are_refused() -> None:
    scene = Scene(limits=Limits(concurrent_streams=2)).greet()

    sent = scene.feed(*(scene.headers(stream_id) for stream_id in (1, 3, 5)))

    assert resets(sent) == [(5, ErrorCode.REFUSED_STREAM)]
    scene.feed(reset(1))
    assert resets(scene.call(7, b"one")) == []


# --- Streams that have ended (§5.1)


@pytest.mark.parametrize("late", [data(1, b"x"), data(1, b"", end=True)], ids=["DATA", "an empty end"])
def test_data_on_a_stream_that_the_server_ended_crosses_with_its_end(late: Frame) -> None:
    scene = Scene(lambda stream, _: stream.fail("no")).greet()
    scene.call(1, b"one")

    assert scene.feed(late, reset(1), window(1, 5)) == []
    assert not scene.connection.closing


def test_trailers_on_a_stream_that_the_server_ended_are_decoded_and_ignored() -> None:
    scene = Scene(lambda stream, _: stream.fail("no")).greet()
    scene.call(1, b"one")

    assert scene.feed(scene.headers(1, [("x", "y")], end=True)) == []
    assert resets(scene.call(3, b"one"))[0][0] == 3


@pytest.mark.parametrize("kind", ["DATA", "HEADERS"])
@pytest.mark.parametrize("how", ["half-closed", "reset"])
def test_content_on_a_stream_that_the_client_ended_is_stream_closed(kind: str, how: str) -> None:
    scene = Scene().greet()
    scene.call(1, b"one", end=how == "half-closed")
    if how == "reset":
        scene.feed(reset(1))

    sent = scene.feed(data(1, b"x") if kind == "DATA" else scene.headers(1, [("x", "y")], end=True))

    assert goaways(sent) == [(1, ErrorCode.STREAM_CLOSED)]


@pytest.mark.parametrize("kind", ["DATA", "HEADERS"])
def test_content_after_the_end_of_a_stream_that_still_sends_is_stream_closed(kind: str) -> None:
    scene = Scene().greet({4: 0})
    scene.call(1, b"one", end=True)  # the answer waits for a window

    sent = scene.feed(data(1, b"x") if kind == "DATA" else scene.headers(1, [("x", "y")], end=True))

    assert resets(sent) == [(1, ErrorCode.STREAM_CLOSED)]
    assert scene.told[0].ends == 1


def test_frames_for_streams_long_forgotten_are_stream_closed() -> None:
    scene = Scene(lambda stream, _: stream.fail("no"), Limits(remembered_resets=1)).greet()
    scene.call(1, b"one")
    scene.call(3, b"one")

    assert scene.feed(data(3, b"x")) == []
    assert goaways(scene.feed(data(1, b"x"))) == [(3, ErrorCode.STREAM_CLOSED)]


# --- Floods: each has an allowance, and gets ENHANCE_YOUR_CALM for going over it

TEN = Allowance(10, 1)
FLOODS: dict[str, tuple[Limits, bytes]] = {
    "PING": (Limits(pings=TEN), ping().serialize()),
    "PING acknowledgements": (Limits(pings=TEN), ping(ack=True).serialize()),
    "SETTINGS": (Limits(settings=TEN), SettingsFrame(0).serialize()),
    "SETTINGS acknowledgements": (Limits(settings=TEN), SettingsFrame(0, flags=["ACK"]).serialize()),
    "empty DATA": (Limits(empty_frames=TEN), data(1, b"").serialize()),
    "DATA of padding": (Limits(empty_frames=TEN), raw(frames.DATA, PADDED, 1, b"\x02\0\0")),
    "PRIORITY": (Limits(ignored_frames=TEN), raw(frames.PRIORITY, 0, 1, bytes(5))),
    "frames of unknown types": (Limits(ignored_frames=TEN), raw(0xFA, 0xFF, 0, b"?")),
    "GOAWAY": (Limits(ignored_frames=TEN), raw(frames.GOAWAY, 0, 0, bytes(8))),
    "WINDOW_UPDATE": (Limits(window_updates=12), window(1, 1).serialize()),
}


@pytest.mark.parametrize(("limits", "sent"), FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_is_ended_when_its_allowance_is_used_up(limits: Limits, sent: bytes) -> None:
    scene = Scene(silent, limits).greet({4: 65_535}, window=65_535)
    scene.feed(scene.headers(1))

    assert goaways(scene.feed(sent * 8)) == []
    answered = scene.feed(sent * 5)

    assert goaways(answered) == [(1, ErrorCode.ENHANCE_YOUR_CALM)]
    assert scene.told[0].ends == 1


@pytest.mark.parametrize("flood", ["PING", "empty DATA", "PRIORITY"])
def test_the_same_at_a_moderate_rate_goes_on_for_ever(flood: str) -> None:
    limits, sent = FLOODS[flood]
    scene = Scene(silent, limits).greet()
    scene.feed(scene.headers(1))

    for _ in range(1000):
        scene.host.pass_time(1.0)
        scene.feed(sent)

    assert not scene.connection.closing


def test_window_updates_are_earned_by_what_was_sent() -> None:
    scene = Scene(limits=Limits(window_updates=10, window_updates_per_frame=2)).greet(
        {4: 65_535}, window=65_535
    )
    scene.feed(scene.headers(1))

    for _ in range(100):
        scene.feed(data(1, framed(b"one")), window(1, 8), window(0, 8))

    assert not scene.connection.closing


def test_empty_field_blocks_are_empty_frames() -> None:
    scene = Scene(limits=Limits(empty_frames=Allowance(2, 0))).greet()

    sent = scene.feed(b"".join(raw(HEADERS, END_HEADERS, stream_id, b"") for stream_id in (1, 3, 5)))

    assert goaways(sent)[0][1] == ErrorCode.COMPRESSION_ERROR  # the first block has to turn the table off


def test_empty_trailers_are_empty_frames() -> None:
    scene = Scene(silent, limits=Limits(empty_frames=Allowance(0, 0))).greet()
    scene.feed(scene.headers(1))

    sent = scene.feed(raw(HEADERS, END_HEADERS | END_STREAM, 1, b""))

    assert goaways(sent) == [(1, ErrorCode.ENHANCE_YOUR_CALM)]


# --- Rapid reset (CVE-2023-44487) and made-you-reset (CVE-2025-8671)


def test_streams_reset_before_their_answer_use_up_an_allowance() -> None:
    scene = Scene(silent, Limits(early_resets=TEN)).greet()

    sent = [scene.feed(scene.headers(stream_id), reset(stream_id)) for stream_id in range(1, 25, 2)]

    assert [goaways(answered) for answered in sent[:10]] == [[]] * 10
    assert goaways(sent[10]) == [(21, ErrorCode.ENHANCE_YOUR_CALM)]


def test_an_answer_does_not_excuse_a_reset_that_was_sent_before_it_could_be_read() -> None:
    scene = Scene(limits=Limits(early_resets=TEN)).greet()

    for stream_id in range(1, 25, 2):
        scene.feed(scene.headers(stream_id), data(stream_id, framed(b"one")), reset(stream_id))

    assert scene.connection.closing


def test_streams_reset_after_their_answer_are_how_exchanges_end() -> None:
    scene = Scene(limits=Limits(early_resets=TEN)).greet()

    for stream_id in range(1, 400, 2):
        scene.call(stream_id, b"one")
        scene.feed(reset(stream_id))

    assert not scene.connection.closing
    assert [told.ends for told in scene.told] == [1] * 200


def test_resets_that_the_peer_provokes_count_as_its_own() -> None:
    scene = Scene(silent, Limits(early_resets=TEN)).greet()

    for stream_id in range(1, 25, 2):
        scene.feed(scene.headers(stream_id), raw(frames.WINDOW_UPDATE, 0, stream_id, bytes(4)))

    assert scene.connection.closing
    assert {told.ends for told in scene.told} == {1}


def test_all_streams_at_once_may_be_reset_early() -> None:
    limits = Limits()

    assert limits.early_resets.burst >= 2 * limits.concurrent_streams


def test_a_thousand_changes_of_a_setting_in_one_frame_touch_the_streams_once() -> None:
    scene = Scene().greet({4: 0})
    scene.call(1, b"one")
    changes = b"".join(
        frames.INITIAL_WINDOW_SIZE.to_bytes(2, "big") + value.to_bytes(4, "big")
        for value in [*range(1000), 5]
    )

    sent = scene.feed(raw(frames.SETTINGS, 0, 0, changes))

    assert content(sent, 1) == framed(b"re:one")[:5]
