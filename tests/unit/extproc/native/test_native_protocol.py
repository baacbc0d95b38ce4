"""What the owner of a socket does around a connection: one write at a time, and an eye on the peer."""

import asyncio
from typing import Any

from hyperframe.frame import SettingsFrame

from sidecar.extproc.transport.native.limits import Limits
from sidecar.extproc.transport.native.preface import PREFACE
from sidecar.extproc.transport.native.protocol import ConnectionProtocol
from sidecar.extproc.transport.native.server import NativeTransport
from sidecar.extproc.transport.port import PROCESS, Stream
from tests.stack.children import eventually
from tests.unit.extproc.native.h2_scene import Scene, content, data, echo, framed, parsed


class FakeTransport(asyncio.Transport):
    """A socket that takes everything, and notes what it is told."""

    def __init__(self, buffered: int = 0) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.calls: list[str] = []
        self.buffered = buffered

    def write(self, data: Any) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("write_eof")

    def abort(self) -> None:
        self.calls.append("abort")

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")

    def resume_reading(self) -> None:
        self.calls.append("resume_reading")


class Raiser:
    """A handler with a bug."""

    def __init__(self, stream: Stream) -> None:
        del stream

    def on_message(self, message: bytes) -> None:
        raise LookupError(message)

    def on_end(self) -> None:
        """Nothing to do."""


def opened(
    answer: Any = echo, limits: Limits | None = None
) -> tuple[ConnectionProtocol, FakeTransport, Scene]:
    """A protocol whose client has greeted, its socket, and what a client says."""
    scene = Scene(answer)
    protocol = ConnectionProtocol(
        {PROCESS.encode(): answer if isinstance(answer, type) else scene._accept},
        limits or Limits(),
        secure=False,
        on_open=lambda _: None,
        on_close=lambda _: None,
    )
    transport = FakeTransport()
    protocol.connection_made(transport)
    greeting = [PREFACE, SettingsFrame(0).serialize(), SettingsFrame(0, flags=["ACK"]).serialize()]
    protocol.data_received(b"".join(greeting))
    scene.encoder.header_table_size = 0
    transport.writes.clear()
    return protocol, transport, scene


async def test_all_that_is_answered_in_one_read_is_one_write() -> None:
    protocol, transport, scene = opened()
    calls = [
        frame.serialize()
        for stream_id in range(1, 21, 2)
        for frame in (scene.headers(stream_id), data(stream_id, framed(b"one") * 3))
    ]

    protocol.data_received(b"".join(calls))

    (written,) = transport.writes
    assert content(parsed(written), 19) == framed(b"re:one") * 3


async def test_all_that_is_answered_in_one_turn_of_the_loop_is_one_write() -> None:
    protocol, transport, scene = opened(lambda _stream, _message: None)
    for stream_id in range(1, 21, 2):
        protocol.data_received(scene.headers(stream_id).serialize())
    assert transport.writes == []

    for told in scene.told:
        told.stream.send(b"one")
        told.stream.send(b"two")
    assert transport.writes == []
    await asyncio.sleep(0)

    assert len(transport.writes) == 1


async def test_a_read_without_an_answer_writes_nothing() -> None:
    protocol, transport, scene = opened(lambda _stream, _message: None)

    protocol.data_received(scene.headers(1).serialize() + data(1, framed(b"one")).serialize())
    await asyncio.sleep(0)

    assert transport.writes == []


async def test_a_bug_in_a_handler_is_reported_to_the_loop() -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    protocol, transport, scene = opened(Raiser)

    protocol.data_received(scene.headers(1).serialize() + data(1, framed(b"one")).serialize())

    assert [repr(context["exception"]) for context in reported] == ["LookupError(b'one')"]
    assert len(transport.writes) == 1


async def test_a_peer_that_takes_nothing_is_not_read_until_it_does() -> None:
    protocol, transport, _ = opened()

    protocol.pause_writing()
    assert transport.calls == ["pause_reading"]
    protocol.resume_writing()

    assert transport.calls == ["pause_reading", "resume_reading"]


async def test_whoever_asks_for_room_waits_for_the_socket() -> None:
    protocol, _, scene = opened(lambda _stream, _message: None)
    protocol.data_received(scene.headers(1).serialize() + data(1, framed(b"one")).serialize())
    told: list[str] = []

    protocol.pause_writing()
    scene.told[0].stream.when_writable(lambda: told.append("room"))
    assert told == []
    protocol.resume_writing()

    assert told == ["room"]


async def test_a_connection_that_gives_up_closes_its_way_out_and_reads_on() -> None:
    protocol, transport, _ = opened()
    protocol.pause_writing()

    protocol.data_received(data(9, b"on an idle stream").serialize())
    protocol.resume_writing()
    protocol.pause_writing()
    protocol.abandon()

    assert transport.calls == ["pause_reading", "resume_reading", "write_eof"]
    assert len(transport.writes) == 1


async def test_a_peer_that_does_not_close_is_cut_off() -> None:
    protocol, transport, _ = opened(limits=Limits(linger_s=0))

    protocol.data_received(data(9, b"on an idle stream").serialize())
    await eventually(lambda: "abort" in transport.calls)

    assert transport.calls == ["write_eof", "abort"]


async def test_nothing_is_written_to_a_socket_that_is_gone() -> None:
    protocol, transport, scene = opened(lambda _stream, _message: None)
    protocol.data_received(scene.headers(1).serialize())

    protocol.connection_lost(None)
    scene.told[0].stream.send(b"late")
    await asyncio.sleep(0)

    assert scene.told[0].ends == 1
    assert transport.writes == []


async def test_a_connection_that_is_made_when_the_server_has_stopped_is_cut_off() -> None:
    server = NativeTransport("127.0.0.1:1", Raiser)
    await server.stop(0)
    transport = FakeTransport()

    server._protocol().connection_made(transport)

    assert transport.calls == ["abort"]
