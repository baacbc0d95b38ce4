"""The native transport on real sockets: their files, time-outs, TLS, peers that do not read."""

import asyncio
import contextlib
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from h2.events import ConnectionTerminated
from hpack import Encoder
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, SettingsFrame, WindowUpdateFrame

from sidecar.extproc.transport.native import Limits, NativeTransport
from sidecar.extproc.transport.native.faults import ErrorCode
from sidecar.extproc.transport.native.preface import PREFACE
from sidecar.extproc.transport.native.protocol import ConnectionProtocol
from sidecar.extproc.transport.port import Stream
from tests.stack.children import eventually
from tests.stack.ports import lasting_port
from tests.transport.certificates import Certificates
from tests.transport.h2_client import CALL, Serving, framed, h2_client, raw_client, serving
from tests.transport.transport_scene import PATIENCE_S, Recorder, silent
from tests.unit.extproc.native.h2_scene import parsed


def transport_at(path: Path, mode: int | None = None) -> NativeTransport:
    return NativeTransport(f"unix:{path}", lambda stream: Recorder(stream, silent), socket_mode=mode)


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A process that gives everything to everybody unless told otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


# --- Unix sockets


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
async def test_the_socket_has_the_mode_that_was_asked_for(tmp_path: Path, mode: int) -> None:
    path, transport = tmp_path / "s", transport_at(tmp_path / "s", mode)

    await transport.start()

    assert permissions(path) == mode
    assert os.umask(0) == 0  # as it was
    await transport.stop(0)


@pytest.mark.usefixtures("open_umask")
async def test_the_socket_never_has_a_wider_mode_not_even_before_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "s", []

    class Watched(socket.socket):
        def bind(self, address: Any) -> None:
            super().bind(address)
            seen.append(permissions(path))

    monkeypatch.setattr(socket, "socket", Watched)
    transport = transport_at(path, 0o600)
    await transport.start()

    assert seen == [0o600]
    await transport.stop(0)


@pytest.mark.usefixtures("open_umask")
async def test_without_a_mode_the_umask_decides(tmp_path: Path) -> None:
    os.umask(0o027)
    transport = transport_at(tmp_path / "s")

    await transport.start()

    assert permissions(tmp_path / "s") == 0o750
    await transport.stop(0)


async def test_a_stopped_transport_leaves_no_file_behind(tmp_path: Path) -> None:
    transport = transport_at(tmp_path / "s")
    await transport.start()

    await transport.stop(0)

    assert not (tmp_path / "s").exists()


async def test_a_stopped_transport_leaves_the_file_of_its_successor(tmp_path: Path) -> None:
    first, second = transport_at(tmp_path / "s"), transport_at(tmp_path / "s")
    await first.start()
    (tmp_path / "s").unlink()
    await second.start()

    await first.stop(0)

    assert (tmp_path / "s").is_socket()
    await second.stop(0)


async def test_a_socket_that_somebody_listens_on_is_not_taken_over(tmp_path: Path) -> None:
    first, second = transport_at(tmp_path / "s"), transport_at(tmp_path / "s")
    await first.start()

    with pytest.raises(OSError, match=r"cannot listen on unix:.*/s: it is taken"):
        await second.start()

    await second.stop(0)
    assert (tmp_path / "s").is_socket()
    await first.stop(0)


async def test_a_socket_whose_queue_is_full_is_alive(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(tmp_path / "s"))
        busy.listen(0)
        full = False
        while not full:
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            full = client.connect_ex(str(tmp_path / "s")) != 0

        with pytest.raises(OSError, match="taken"):
            await transport_at(tmp_path / "s").start()


async def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")

    with pytest.raises(OSError, match="taken"):
        await transport_at(tmp_path / "s").start()

    assert (tmp_path / "s").read_text() == "precious"


def test_tls_on_a_unix_socket_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed: host:port"):
        NativeTransport(
            "unix:/s", lambda stream: Recorder(stream, silent), ssl_context=ssl.create_default_context()
        )


# --- TCP


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", ":80", "127.0.0.1:http"])
async def test_what_is_no_address_is_an_os_error_that_says_what_is(address: str) -> None:
    transport = NativeTransport(address, lambda stream: Recorder(stream, silent))

    with pytest.raises(OSError, match="not host:port"):
        await transport.start()


async def test_an_ipv6_address_is_served() -> None:
    port = lasting_port()
    transport = NativeTransport(f"[::1]:{port}", lambda stream: Recorder(stream, silent))
    try:
        await transport.start()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")

    _, writer = await asyncio.open_connection("::1", port)

    writer.close()
    await transport.stop(0)


async def test_small_answers_are_not_delayed() -> None:
    async with serving() as served, h2_client(served.port) as client:
        await client.call(1, b"one")
        await client.until(lambda: client.content(1) == framed(b"re:one"))
        (protocol,) = served.transport._open

        peer: socket.socket = protocol._transport.get_extra_info("socket")
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# --- Beginnings


async def test_a_peer_that_says_nothing_is_cut_off() -> None:
    async with serving(limits=Limits(handshake_s=0.05)) as served, raw_client(served.port) as client:
        assert await client.read_to_the_end() == b""


async def test_a_preface_without_settings_is_cut_off_as_well() -> None:
    async with serving(limits=Limits(handshake_s=0.05)) as served, raw_client(served.port) as client:
        await client.send(PREFACE)

        assert (await client.read_to_the_end())[3] == 4  # the server's settings, and no more


async def test_a_connection_that_has_greeted_may_idle() -> None:
    async with serving(limits=Limits(handshake_s=0.05)) as served, h2_client(served.port) as client:
        await client.until(lambda: bool(client.events))
        async with raw_client(served.port) as silent_one:
            await silent_one.read_to_the_end()  # so much time has passed

        await client.call(1, b"one")
        await client.until(lambda: client.content(1) == framed(b"re:one"))


async def test_a_request_of_http_1_is_told_what_is_spoken_here() -> None:
    async with serving() as served, raw_client(served.port) as client:
        await client.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n" + bytes(100_000))

        answer = await client.read_to_the_end()

    assert answer.startswith(b"HTTP/1.1 505 ")
    assert answer.endswith(b"gRPC over HTTP/2 with prior knowledge.\n")


async def test_the_reason_reaches_a_peer_that_was_still_sending() -> None:
    async with serving() as served, raw_client(served.port) as client:
        await client.send(b"\x00" * 300_000)

        answer = await client.read_to_the_end()

    last = parsed(answer)[-1]
    assert isinstance(last, GoAwayFrame)
    assert last.error_code == ErrorCode.PROTOCOL_ERROR


# --- One connection and the others


async def test_the_fault_of_one_connection_does_not_touch_another() -> None:
    async with serving() as served, h2_client(served.port) as good, h2_client(served.port) as bad:
        await good.call(1, b"one")
        await bad.call(1, b"one")
        await bad.until(lambda: bad.content(1) != b"")

        await bad.raw.send(DataFrame(99, b"x").serialize())
        await bad.until(bad.gone)

        assert bad.of(ConnectionTerminated)[0].error_code == ErrorCode.PROTOCOL_ERROR
        good.h2.send_data(1, framed(b"two"))
        await good.flush()
        await good.until(lambda: good.content(1) == framed(b"re:one") + framed(b"re:two"))
        assert sorted(recorder.ends for recorder in served.recorders) == [0, 1]


async def test_a_connection_too_many_is_closed_and_its_place_is_given_to_the_next() -> None:
    async with serving(limits=Limits(connections=1)) as served:
        async with h2_client(served.port) as first:
            await first.call(1, b"one")
            await first.until(lambda: first.content(1) == framed(b"re:one"))
            async with raw_client(served.port) as one_too_many:
                assert await one_too_many.read_to_the_end() == b""
            await first.call(3, b"three")
            await first.until(lambda: first.content(3) == framed(b"re:three"))
        await eventually(lambda: served.recorders[0].ends == 1)

        async with h2_client(served.port) as next_one:
            await next_one.call(1, b"next")
            await next_one.until(lambda: next_one.content(1) == framed(b"re:next"))


async def test_a_client_that_just_goes_ends_its_streams() -> None:
    async with serving(silent) as served:
        async with h2_client(served.port) as client:
            await client.call(1, b"one")
            await client.until(lambda: bool(served.recorders))
            client.raw.writer.transport.abort()

        assert await served.recorders[0].ended_once()


# --- Peers that do not read


class Hoarder:
    """A client that asks for 32 kB in each of 2,000 calls, has windows for that, and reads when told to."""

    CALLS = 2000
    ANSWER = 4 * 8000
    LIMITS = Limits(concurrent_streams=CALLS)

    def __init__(self, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setblocking(False)
        self._sending = self._loop.create_task(self._loop.sock_sendall(self._socket, self._all()))

    def _all(self) -> bytes:
        encoder = Encoder()
        encoder.header_table_size = 0
        settings = SettingsFrame(0, settings={4: 2**31 - 1}).serialize()
        room = WindowUpdateFrame(0, window_increment=2**31 - 1 - 65_535).serialize()
        parts = [PREFACE, settings, room, SettingsFrame(0, flags=["ACK"]).serialize()]
        for stream_id in range(1, 2 * self.CALLS, 2):
            parts.append(HeadersFrame(stream_id, encoder.encode(CALL), flags=["END_HEADERS"]).serialize())
            parts.append(DataFrame(stream_id, framed(b"x" * 8000)).serialize())
        return b"".join(parts)

    async def read(self, size: int) -> None:
        """Read so much, at last."""
        while size > 0:
            size -= len(await self._loop.sock_recv(self._socket, 2**20))

    async def close(self) -> None:
        self._sending.cancel()
        await asyncio.wait([self._sending])
        self._socket.close()


def fourfold(stream: Stream, message: bytes) -> None:
    stream.send(message * 4)


@contextlib.asynccontextmanager
async def hoarder(
    answer: Callable[[Stream, bytes], None], limits: Limits
) -> AsyncIterator[tuple[Hoarder, Serving, ConnectionProtocol]]:
    """A hoarder, and the connection that it has been stopped on."""
    async with serving(answer, limits) as served:
        client = Hoarder(served.port)
        await eventually(lambda: bool(served.transport._open))
        (protocol,) = served.transport._open
        await eventually(lambda: protocol._cut is not None)
        try:
            yield client, served, protocol
        finally:
            await client.close()


async def test_a_peer_that_does_not_read_is_not_read_from() -> None:
    async with hoarder(fourfold, Hoarder.LIMITS) as (_, served, protocol):
        taken = len(served.recorders)
        await asyncio.sleep(0.05)  # nothing tells that nothing happens

        assert len(served.recorders) == taken < Hoarder.CALLS
        assert protocol._transport.get_write_buffer_size() < 4 * 2**20


async def test_a_peer_that_reads_again_is_read_from_again() -> None:
    async with hoarder(fourfold, Hoarder.LIMITS) as (client, served, protocol):
        async with asyncio.timeout(PATIENCE_S):
            await client.read(Hoarder.CALLS * Hoarder.ANSWER)

        assert len(served.recorders) == Hoarder.CALLS
        assert protocol._cut is None


async def test_a_peer_that_does_not_read_does_not_hold_up_the_stop() -> None:
    async with hoarder(fourfold, replace(Hoarder.LIMITS, linger_s=0.05)) as (_, served, _protocol):
        async with asyncio.timeout(PATIENCE_S):
            await served.transport.stop(0)

        assert {recorder.ends for recorder in served.recorders} == {1}
        assert not served.transport._open


async def test_a_peer_that_takes_nothing_for_too_long_is_cut_off() -> None:
    async with hoarder(fourfold, replace(Hoarder.LIMITS, stalled_s=0.05)) as (_, served, _protocol):
        await eventually(lambda: not served.transport._open)

        assert {recorder.ends for recorder in served.recorders} == {1}


async def test_a_peer_that_lets_too_much_pile_up_is_cut_off() -> None:
    async with hoarder(fourfold, replace(Hoarder.LIMITS, unsent=2**23)) as (_, served, protocol):
        assert protocol in served.transport._open

        for recorder in served.recorders:
            recorder.stream.send(b"x" * 2**20)
        await eventually(lambda: not served.transport._open)

        assert {recorder.ends for recorder in served.recorders} == {1}


# --- TLS

CERTIFICATES = Certificates()


async def test_a_client_with_a_certificate_is_served_over_tls() -> None:
    context = CERTIFICATES.client_context()
    context.set_alpn_protocols(["h2"])
    limits = Limits(linger_s=0.05)
    async with (
        serving(tls=CERTIFICATES.server_context(), limits=limits) as served,
        h2_client(served.port, context) as client,
    ):
        await client.call(1, b"one", end=True)
        await client.until(lambda: client.ended(1))

        assert (client.content(1), client.status(1)) == (framed(b"re:one"), "0")


@pytest.mark.parametrize("offered", [[], ["http/1.1"]])
async def test_a_client_that_does_not_agree_on_http_2_is_cut_off(offered: list[str]) -> None:
    context = CERTIFICATES.client_context()
    if offered:
        context.set_alpn_protocols(offered)
    async with serving(tls=CERTIFICATES.server_context(), limits=Limits(linger_s=0.05)) as served:
        with contextlib.suppress(OSError):
            async with raw_client(served.port, context) as client:
                await client.send(PREFACE)
                assert await client.read_to_the_end() == b""
        assert served.recorders == []


async def test_a_client_without_a_certificate_is_refused() -> None:
    context = CERTIFICATES.client_context(certified=False)
    context.set_alpn_protocols(["h2"])
    async with serving(tls=CERTIFICATES.server_context(), limits=Limits(linger_s=0.05)) as served:
        answer = b""
        with contextlib.suppress(OSError):  # TLS 1.3 says so only when the client has sent something
            async with raw_client(served.port, context) as client:
                await client.send(PREFACE + SettingsFrame(0).serialize())
                answer = await client.read_to_the_end()
        assert answer == b""
        assert not served.transport._open


async def test_peers_in_their_tls_handshake_count_and_give_their_places_back() -> None:
    """They hold a descriptor each, and anyone who reaches the port can be one."""
    context = CERTIFICATES.client_context()
    context.set_alpn_protocols(["h2"])
    limits = Limits(connections=2, handshake_s=0.5, linger_s=0.05)
    async with serving(tls=CERTIFICATES.server_context(), limits=limits) as served:
        async with raw_client(served.port) as one, raw_client(served.port) as two:
            async with raw_client(served.port) as one_too_many:
                assert await one_too_many.read_to_the_end() == b""
            for silent_one in (one, two):  # until the time for their handshakes is over
                assert await silent_one.read_to_the_end() == b""
        async with h2_client(served.port, context) as client:
            await client.call(1, b"one")
            await client.until(lambda: client.content(1) == framed(b"re:one"))
