"""Real peers of the native transport: h2, nghttp2's `nghttp` and `h2load`, grpc's client, Envoy."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from h2.events import PingAckReceived, StreamReset
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame

from sidecar.extproc.transport.native import Limits, NativeTransport
from sidecar.extproc.transport.native.protocol import ConnectionProtocol
from sidecar.extproc.transport.port import PROCESS, Stream
from sidecar.supervision.envoy import find_envoy
from sidecar.supervision.errors import SupervisionError
from tests.stack.children import eventually
from tests.stack.ports import lasting_port
from tests.transport.h2_client import framed, h2_client, raw_client, serving
from tests.transport.transport_scene import PATIENCE_S, Recorder

HEADERS = ("te: trailers", "content-type: application/grpc")


async def run(*command: str) -> tuple[int, str]:
    """Run a program; how it ended, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def program(name: str) -> str:
    """Where a program of nghttp2-client is; the test is skipped where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"there is no {name} here (Debian: nghttp2-client)")
    return found


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "message"
    path.write_bytes(framed(b"one"))
    return path


# --- h2


async def test_h2_sees_a_whole_exchange() -> None:
    async with serving() as served, h2_client(served.port) as client:
        await client.call(1, b"one", b"two", end=True)

        await client.until(lambda: client.ended(1))

        assert client.content(1) == framed(b"re:one") + framed(b"re:two")
        assert client.status(1) == "0"
        assert client.of(StreamReset) == []
        assert await served.recorders[0].ended_once()


async def test_h2_keeps_no_table_and_accepts_blocks_that_need_none() -> None:
    async with serving() as served, h2_client(served.port) as client:
        client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 0})
        for stream_id in (1, 3, 5):
            await client.call(stream_id, b"one", end=True)
            await client.until(lambda stream_id=stream_id: client.ended(stream_id))  # type: ignore[misc]  # bound early

        (protocol,) = served.transport._open
        assert protocol.connection._calls.blocks.stateless
        assert {client.status(stream_id) for stream_id in (1, 3, 5)} == {"0"}


async def test_h2_gets_its_pings_answered() -> None:
    async with serving() as served, h2_client(served.port) as client:
        client.h2.ping(b"are you?")
        await client.flush()

        await client.until(lambda: [ping.ping_data for ping in client.of(PingAckReceived)] == [b"are you?"])


async def test_h2_with_the_default_windows_sends_and_gets_three_megabytes() -> None:
    async with serving() as served, h2_client(served.port) as client:
        sent = framed(bytes(range(256)) * 12_288)
        await client.call(1)
        while sent:
            await client.until(lambda: client.h2.local_flow_control_window(1) > 0)
            size = min(len(sent), client.h2.local_flow_control_window(1), client.h2.max_outbound_frame_size)
            client.h2.send_data(1, sent[:size])
            sent = sent[size:]
            await client.flush()

        await client.until(lambda: len(client.content(1)) == 5 + 3 + 3 * 2**20)


async def test_a_stream_opened_while_the_drain_begins_is_served() -> None:
    limits = Limits(drain_ping_s=0.05, linger_s=0.05)  # h2 is not asked any more, so nothing is answered
    async with serving(limits=limits) as served, h2_client(served.port) as client:
        await client.call(1, b"one")
        await client.until(lambda: client.content(1) != b"")

        stopping = asyncio.create_task(served.transport.stop(PATIENCE_S))
        await asyncio.sleep(0)  # the first GOAWAY is on its way, and the client does not know
        await client.call(3, b"crossing", end=True)
        received = b""
        async with asyncio.timeout(PATIENCE_S):
            while framed(b"re:crossing") not in received:
                received += await client.raw.reader.read(65_536)
        await client.raw.send(DataFrame(1, flags=["END_STREAM"]).serialize())

        await stopping
        assert [recorder.ends for recorder in served.recorders] == [1, 1]


# --- nghttp2


async def test_nghttp_calls_and_gets_its_trailers(message: Path) -> None:
    nghttp = program("nghttp")
    async with serving() as served:
        headers = [part for header in HEADERS for part in ("-H", header)]
        code, output = await run(
            nghttp, "-v", *headers, "-d", str(message), f"http://127.0.0.1:{served.port}{PROCESS}"
        )

        assert code == 0
        assert "grpc-status: 0" in output
        assert "re:one" in output
        assert [recorder.messages for recorder in served.recorders] == [[b"one"]]


async def test_nghttp_is_told_that_it_does_not_speak_grpc() -> None:
    nghttp = program("nghttp")
    async with serving() as served:
        _, output = await run(nghttp, "-v", f"http://127.0.0.1:{served.port}{PROCESS}")

        assert ":status: 405" in output


@pytest.mark.parametrize("streams", ["1", "100"])
async def test_h2load_gets_every_answer(message: Path, streams: str) -> None:
    h2load = program("h2load")
    async with serving() as served:
        headers = [part for header in HEADERS for part in ("-H", header)]
        _, output = await run(
            *(h2load, "-n", "2000", "-c", "2", "-m", streams, *headers, "-d", str(message)),
            f"http://127.0.0.1:{served.port}{PROCESS}",
        )

        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in output
        assert len(served.recorders) == 2000
        assert {(tuple(one.messages), one.ends) for one in served.recorders} == {((b"one",), 1)}


# --- grpc's client


async def test_grpcs_client_watches_health() -> None:
    async with serving() as served, grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        seen = [(await watch.read()).status]
        await served.transport.set_serving(True)
        seen.append((await watch.read()).status)

        response = health_pb2.HealthCheckResponse
        assert seen == [response.NOT_SERVING, response.SERVING]
        await served.transport.stop(PATIENCE_S)
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_deadline_of_grpcs_client_is_kept_here_as_well() -> None:
    def silent(stream: Stream, message: bytes) -> None:
        del stream, message

    async with serving(silent) as served, grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        process: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(PROCESS)
        await channel.channel_ready()  # which takes nothing of the call's time
        call = process(timeout=1)
        await call.write(b"one")

        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await served.recorders[0].ended_once()


async def test_grpcs_client_is_told_that_compression_is_not_supported() -> None:
    async with serving() as served, grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        process: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(PROCESS)
        call = process(compression=grpc.Compression.Gzip)
        await call.write(b"x" * 10_000)

        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "allowed: identity" in await call.details()


# --- Envoy

ENVOY_CONFIG = Path(__file__).with_name("native_envoy.yaml").read_text(encoding="utf-8")
PASS = {0x12: b"\x0a\x00", 0x1A: b"\x12\x00", 0x22: b"\x1a\x00", 0x2A: b"\x22\x00"}
"""By the tag of what Envoy asks (ProcessingRequest): an answer that changes nothing."""
BOTH_HEADS_AND_BODIES = [0x12, 0x22, 0x1A, 0x2A]


def let_pass(stream: Stream, message: bytes) -> None:
    stream.send(PASS[message[0]])


@contextlib.asynccontextmanager
async def envoy(
    folder: Path, answer: Callable[[Stream, bytes], None] = let_pass, *, streams: int = 1024
) -> AsyncIterator[tuple[NativeTransport, list[Recorder], int]]:
    """Envoy with the native transport as its processor: the port that Envoy listens on."""
    try:
        path = find_envoy(None)
    except SupervisionError as error:
        pytest.skip(str(error))
    recorders: list[Recorder] = []

    def accept(stream: Stream) -> Recorder:
        recorders.append(Recorder(stream, answer))
        return recorders[-1]

    port, config = lasting_port(), folder / "envoy.yaml"
    text = ENVOY_CONFIG.replace("18080", str(port)).replace("/ext.sock", str(folder / "s"))
    config.write_text(text.replace("1024", str(streams)), encoding="utf-8")
    transport = NativeTransport(f"unix:{folder / 's'}", accept)
    await transport.start()
    await transport.set_serving(True)
    process = await asyncio.create_subprocess_exec(
        *(path, "-c", str(config), "--disable-hot-restart", "--concurrency", "1"),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield transport, recorders, port
    finally:
        process.terminate()
        await process.wait()
        await transport.stop(0)


async def post(port: int, size: int) -> bytes:
    """A request with a body, as soon as Envoy is there; the status line of the answer."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                async with raw_client(port) as client:
                    head = (
                        f"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n"
                    )
                    await client.send(head.encode() + b"x" * size)
                    return (await client.read_to_the_end()).partition(b"\r\n")[0]
            await asyncio.sleep(0.05)  # Envoy offers nothing to wait on
    raise AssertionError


def only_connection(transport: NativeTransport) -> ConnectionProtocol:
    (protocol,) = transport._open
    return protocol


async def test_envoy_is_served_and_its_blocks_become_stateless(tmp_path: Path) -> None:
    async with envoy(tmp_path) as (transport, recorders, port):
        assert await post(port, 5) == b"HTTP/1.1 200 OK"
        statuses = await asyncio.gather(*(post(port, 5) for _ in range(100)))

        assert set(statuses) == {b"HTTP/1.1 200 OK"}
        assert [[message[0] for message in one.messages] for one in recorders] == [
            BOTH_HEADS_AND_BODIES
        ] * 101
        for recorder in recorders:
            assert await recorder.ended_once()
        connection = only_connection(transport).connection
        assert connection._calls.blocks.stateless
        assert 1 <= connection._calls.blocks.cached <= 3
        assert connection._window_updates < 10
        assert connection._calls._early_resets._left == Limits().early_resets.burst


async def test_envoys_messages_of_a_megabyte_pass(tmp_path: Path) -> None:
    async with envoy(tmp_path) as (_, recorders, port):
        assert await post(port, 900_000) == b"HTTP/1.1 200 OK"

        assert len(recorders[0].messages[1]) > 900_000


async def test_every_exchange_of_envoys_that_was_accepted_survives_the_drain(tmp_path: Path) -> None:
    async with envoy(tmp_path) as (transport, recorders, port):
        await post(port, 5)
        requests = [asyncio.create_task(post(port, 5)) for _ in range(30)]
        await eventually(lambda: len(recorders) > 5)

        await transport.stop(PATIENCE_S)

        statuses = await asyncio.gather(*requests)
        assert statuses.count(b"HTTP/1.1 200 OK") + 1 == len(
            recorders
        )  # each that was accepted, and no other
        assert {len(recorder.messages) for recorder in recorders} == {4}


async def test_envoy_opens_another_connection_when_it_has_the_streams_it_wants_on_one(tmp_path: Path) -> None:
    held: list[tuple[Stream, bytes]] = []

    def later(stream: Stream, message: bytes) -> None:
        held.append((stream, message))

    async with envoy(tmp_path, later, streams=8) as (transport, recorders, port):
        requests = [asyncio.create_task(post(port, 5)) for _ in range(20)]
        await eventually(lambda: len(held) == 20)

        assert sorted(len(one.connection._calls) for one in transport._open) == [4, 8, 8]
        for recorder in recorders:
            recorder.answer = let_pass
        for stream, message in held:
            let_pass(stream, message)
        assert set(await asyncio.gather(*requests)) == {b"HTTP/1.1 200 OK"}
