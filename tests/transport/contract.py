"""What every transport keeps of `port.py`'s promises, over a real gRPC channel with raw bytes.

A transport's test module subclasses `TransportContract` and says how one is made.
"""

import asyncio
import socket
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from sidecar.extproc.transport.port import Stream
from tests.stack.ports import lasting_port
from tests.transport.transport_scene import (
    PATIENCE_S,
    SERVICE,
    Recorder,
    TransportScene,
    read,
    silent,
    status_of,
)


class TransportContract(TransportScene):
    """The promises."""

    # --- Messages and answers

    async def test_messages_and_answers_keep_their_order(self, address: str) -> None:
        sent = [b"%d" % number for number in range(100)]
        async with self.serving(address) as served:
            call = served.call()
            for message in sent:
                await call.write(message)
            received = [await read(call) for _ in sent]

            assert received == [b"re:" + message for message in sent]
            assert served.recorders[0].messages == sent

    async def test_a_handler_can_read_what_the_call_brought_along(self, address: str) -> None:
        def answer(stream: Stream, message: bytes) -> None:
            stream.send((stream.metadata(message.decode()) or "nothing").encode())

        async with self.serving(address, answer) as served:
            call = served.call(("idempotency-policy", "payments"), ("x-other", "1"))
            for name in (b"idempotency-policy", b"x-other", b"x-missing"):
                await call.write(name)

            assert [await read(call) for _ in range(3)] == [b"payments", b"1", b"nothing"]

    async def test_one_message_may_have_several_answers_and_the_next_none(self, address: str) -> None:
        def answer(stream: Stream, message: bytes) -> None:
            for number in range(int(message)):
                stream.send(b"%s.%d" % (message, number))

        async with self.serving(address, answer) as served:
            call, _ = await served.begun(b"3", b"0", b"2")

            assert [await read(call) for _ in range(5)] == [b"3.0", b"3.1", b"3.2", b"2.0", b"2.1"]

    async def test_an_answer_may_be_sent_later_from_outside_a_call(self, address: str) -> None:
        async with self.serving(address, silent) as served:
            call, recorder = await served.begun()

            for number in range(10):
                recorder.stream.send(b"%d" % number)
            assert [await read(call) for _ in range(10)] == [b"%d" % number for number in range(10)]

    async def test_answers_from_inside_and_outside_a_call_keep_the_order_of_sending(
        self, address: str
    ) -> None:
        order: list[bytes] = []

        def answer(stream: Stream, message: bytes) -> None:
            def later() -> None:
                order.append(b"later " + message)
                stream.send(order[-1])

            asyncio.get_running_loop().call_soon(later)
            order.append(b"at once " + message)
            stream.send(order[-1])

        async with self.serving(address, answer) as served:
            call, _ = await served.begun(*(b"%d" % number for number in range(20)))

            received = [await read(call) for _ in range(40)]
            assert received == order

    async def test_messages_of_three_megabytes_pass_both_ways(self, address: str) -> None:
        message = bytes(range(256)) * 12_288
        async with self.serving(address) as served:
            call, recorder = await served.begun(message)

            assert await read(call) == b"re:" + message
            assert recorder.messages == [message]

    async def test_many_streams_at_once_do_not_meet(self, address: str) -> None:
        async with self.serving(address) as served:

            async def talk(number: int) -> list[bytes | None]:
                call = served.call()
                received = []
                for turn in range(3):
                    await call.write(b"%d.%d" % (number, turn))
                    received.append(await read(call))
                await call.done_writing()
                return [*received, await read(call)]

            conversations = await asyncio.gather(*(talk(number) for number in range(150)))

            expected = [[*(b"re:%d.%d" % (n, t) for t in range(3)), None] for n in range(150)]
            assert conversations == expected
            assert len(served.recorders) == 150
            for recorder in served.recorders:
                assert await recorder.ended_once()

    # --- Room

    async def test_whoever_asks_for_room_where_nothing_waits_is_told_at_once(self, address: str) -> None:
        told: list[bytes] = []

        def answer(stream: Stream, message: bytes) -> None:
            stream.when_writable(lambda: told.append(message))
            stream.send(message)

        async with self.serving(address, answer) as served:
            call, recorder = await served.begun(b"asked in a call")
            assert await read(call) == b"asked in a call"
            assert told == [b"asked in a call"]

            await recorder.until(lambda: True)
            recorder.stream.when_writable(lambda: told.append(b"asked outside"))
            assert told[1:] == [b"asked outside"]

    async def test_whoever_asks_before_each_part_sends_no_more_than_a_peer_that_reads_nothing_takes(
        self, address: str
    ) -> None:
        part, most = b"x" * 262_144, 400
        sent = 0
        quiet = asyncio.Event()

        def more(stream: Stream) -> None:
            nonlocal sent
            quiet.set()
            if sent < most:
                sent += 1
                stream.send(part)
                stream.send(part)
                asyncio.get_running_loop().call_soon(stream.when_writable, lambda: more(stream))

        async def settled() -> int:
            """How much is sent until nothing more is for a while."""
            while quiet.is_set():
                quiet.clear()
                await asyncio.sleep(0.3)
            return sent

        async with self.serving(address, lambda stream, _: more(stream)) as served:
            call, _ = await served.begun()
            stopped_at = await settled()
            assert 0 < stopped_at < most / 2

            for _ in range(2 * most):
                assert await read(call) == part
            assert sent == most

    async def test_nobody_is_told_of_room_on_a_stream_that_is_over(self, address: str) -> None:
        told: list[str] = []
        async with self.serving(address, silent) as served:
            call, recorder = await served.begun()
            for _ in range(8):
                recorder.stream.send(b"x" * 4_000_000)
            recorder.stream.when_writable(lambda: told.append("before the end"))
            call.cancel()
            assert await recorder.ended_once()

            recorder.stream.when_writable(lambda: told.append("after the end"))
            await asyncio.sleep(0.1)
            assert told == []

    # --- Pauses

    async def test_a_stream_that_is_paused_hands_over_nothing_until_it_goes_on(self, address: str) -> None:
        def answer(stream: Stream, message: bytes) -> None:
            if message == b"pause":
                stream.pause_reading()
            stream.send(message)

        async with self.serving(address, answer) as served:
            call, recorder = await served.begun(b"pause")
            assert await read(call) == b"pause"
            for message in (b"one", b"two"):
                await call.write(message)
            await call.done_writing()
            other = served.call()
            await other.write(b"meanwhile")
            assert await read(other) == b"meanwhile"
            assert (recorder.messages, recorder.ends) == ([b"pause"], 0)

            recorder.stream.resume_reading()

            assert [await read(call) for _ in range(3)] == [b"one", b"two", None]
            assert await recorder.ended_once()

    async def test_a_paused_stream_takes_no_more_than_its_window(self, address: str) -> None:
        part, most = b"x" * 60_000, 1_000

        async with self.serving(address, lambda stream, _: stream.pause_reading()) as served:
            call, recorder = await served.begun()

            async def write_on() -> None:
                for _ in range(most):
                    await call.write(part)

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(write_on(), 0.5)
            assert len(recorder.messages) == 1

    async def test_a_paused_stream_that_is_cancelled_has_its_end(self, address: str) -> None:
        async with self.serving(address, lambda stream, _: stream.pause_reading()) as served:
            call, recorder = await served.begun()
            await call.write(b"more")
            call.cancel()

            assert await recorder.ended_once()
            recorder.stream.resume_reading()
            assert len(recorder.messages) == 1

    async def test_a_peer_that_sends_and_does_not_read_is_held_up_also_by_answers_that_come_later(
        self, address: str
    ) -> None:
        part, most = b"x" * 60_000, 1_000

        def answer(stream: Stream, message: bytes) -> None:
            asyncio.get_running_loop().call_soon(stream.send, message)

        async with self.serving(address, answer) as served:
            call, recorder = await served.begun()

            async def write_on() -> None:
                for _ in range(most):
                    await call.write(part)

            with pytest.raises(TimeoutError):
                await asyncio.wait_for(write_on(), 2)
            assert len(recorder.messages) < most / 2

    # --- Ends

    async def test_a_half_close_brings_the_end_once_and_the_stream_ends_well(self, address: str) -> None:
        async with self.serving(address) as served:
            call, recorder = await served.begun()
            assert await read(call) == b"re:first"

            await call.done_writing()

            assert await recorder.ended_once()
            assert (await status_of(call))[0] is grpc.StatusCode.OK

    async def test_a_cancelled_stream_brings_the_end_once(self, address: str) -> None:
        async with self.serving(address, silent) as served:
            call, recorder = await served.begun()

            call.cancel()

            assert await recorder.ended_once()

    async def test_a_lost_connection_brings_the_end_once_to_every_stream(self, address: str) -> None:
        async with self.serving(address, silent) as served:
            _, first = await served.begun()
            _, second = await served.begun()

            await served.channel.close()

            assert await first.ended_once()
            assert await second.ended_once()

    async def test_what_is_sent_after_the_end_is_dropped(self, address: str) -> None:
        async with self.serving(address) as served:
            call, recorder = await served.begun()
            await read(call)
            await call.done_writing()
            assert await recorder.ended_once()

            recorder.stream.send(b"too late")
            recorder.stream.fail("too late")

            assert await read(call) is None
            assert (await status_of(call))[0] is grpc.StatusCode.OK

    # --- Failures

    async def test_failing_in_a_call_ends_the_stream_with_internal_and_the_reason(self, address: str) -> None:
        def answer(stream: Stream, message: bytes) -> None:
            stream.send(b"before")
            stream.fail(f"cannot go on after {message.decode()}")
            stream.send(b"after")
            stream.fail("again")

        async with self.serving(address, answer) as served:
            call, recorder = await served.begun()

            assert await read(call) == b"before"
            assert await status_of(call) == (grpc.StatusCode.INTERNAL, "cannot go on after first")
            assert await recorder.ended_once()

    async def test_failing_outside_a_call_ends_the_stream_with_internal(self, address: str) -> None:
        async with self.serving(address, silent) as served:
            call, recorder = await served.begun()

            recorder.stream.send(b"before")
            recorder.stream.fail("the store is gone")

            assert await read(call) == b"before"
            assert await status_of(call) == (grpc.StatusCode.INTERNAL, "the store is gone")
            assert await recorder.ended_once()

    async def test_a_handler_that_raises_never_ends_its_stream_well(self, address: str) -> None:
        def answer(stream: Stream, message: bytes) -> None:
            raise LookupError(f"a bug at {message!r} of {stream!r}")

        async with self.serving(address, answer) as served:
            call, recorder = await served.begun()

            assert (await status_of(call))[0] is not grpc.StatusCode.OK
            assert await recorder.ended_once()

    # --- Listening

    async def test_a_port_that_is_taken_is_an_os_error_that_names_it(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            transport = self.make(address, lambda stream: Recorder(stream, silent))

            with pytest.raises(OSError, match=f"cannot listen on {address}: .*taken"):
                await transport.start()
            await transport.stop(0)

    async def test_two_workers_never_share_a_port_unnoticed(self) -> None:
        address = f"127.0.0.1:{lasting_port()}"
        async with self.serving(address):
            second = self.make(address, lambda stream: Recorder(stream, silent))

            with pytest.raises(OSError, match=f"cannot listen on {address}"):
                await second.start()
            await second.stop(0)

    async def test_a_socket_in_a_folder_that_is_not_there_is_an_os_error_that_names_it(
        self, tmp_path: Path
    ) -> None:
        address = f"unix:{tmp_path}/missing/ext_proc.sock"
        transport = self.make(address, lambda stream: Recorder(stream, silent))

        with pytest.raises(OSError, match=r"cannot listen on unix:.*missing"):
            await transport.start()
        await transport.stop(0)

    async def test_a_socket_left_by_a_worker_that_died_is_taken_over(self, tmp_path: Path) -> None:
        path = tmp_path / "ext_proc.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))

        async with self.serving(f"unix:{path}") as served:
            call, _ = await served.begun()
            assert await read(call) == b"re:first"

    # --- Health

    @pytest.mark.parametrize("service", ["", SERVICE], ids=["the server", "the service"])
    async def test_health_says_not_serving_until_it_is_told_otherwise(
        self, address: str, service: str
    ) -> None:
        statuses = health_pb2.HealthCheckResponse
        async with self.serving(address) as served:
            health = health_pb2_grpc.HealthStub(served.channel)

            async def status() -> int:
                answered = await health.Check(
                    health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE_S
                )
                return int(answered.status)

            assert await status() == statuses.NOT_SERVING
            await served.transport.set_serving(True)
            assert await status() == statuses.SERVING
            await served.transport.set_serving(False)
            assert await status() == statuses.NOT_SERVING

    async def test_another_method_is_unimplemented(self, address: str) -> None:
        async with self.serving(address) as served:
            other: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(
                "/other/Method"
            )

            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await other(b"", timeout=PATIENCE_S)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    # --- Stopping

    async def test_stopping_with_grace_lets_a_stream_end(self, address: str) -> None:
        async with self.serving(address) as served:
            call, recorder = await served.begun()
            assert await read(call) == b"re:first"

            stopping = asyncio.create_task(served.transport.stop(PATIENCE_S))
            await call.write(b"second")
            assert await read(call) == b"re:second"
            assert not stopping.done()
            await call.done_writing()

            assert (await status_of(call))[0] is grpc.StatusCode.OK
            async with asyncio.timeout(PATIENCE_S):
                await stopping
            assert await recorder.ended_once()

    async def test_stopping_without_grace_drops_the_streams_under_way(self, address: str) -> None:
        async with self.serving(address, silent) as served:
            call, recorder = await served.begun()

            await served.transport.stop(0)

            assert (await status_of(call))[0] is not grpc.StatusCode.OK
            assert await recorder.ended_once()
