"""Connections, the bound on calls, the deadline, and what each failure says of the request."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from sidecar.origin.client import OriginClient
from sidecar.origin.connection import Connection, request_of
from sidecar.origin.errors import DeadlineError, MayHaveBeenSentError, NeverSentError, OriginError
from tests.unit.origin.scripted_origin import CREATED, call, read_request, says, scripted_origin


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Read for ever, say nothing."""
    while await reader.read(65_536):
        pass


@pytest.mark.parametrize(
    "url",
    [
        *("", "unix:relative", "unix://host/path", "https://h:1", "http://h", "http://h:1/x", "/o.sock"),
        *("http://h:0", "http://h:65536", "http://user@h:80", "unix://", "http://a..b:80"),
        f"http://{'a' * 64}.example:80",
    ],
)
def test_an_origin_that_is_none_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(ValueError, match="allowed: unix:///absolute/path or http://host:port"):
        OriginClient(url)


async def test_an_origin_may_be_a_host_and_a_port() -> None:
    server = await asyncio.start_server(says(CREATED), "127.0.0.1", 0)
    client = OriginClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    async with server:
        assert (await client.execute(call())).status == 201
        await client.close()
    await server.wait_closed()


async def test_no_connection_is_used_twice(tmp_path: Path) -> None:
    async with scripted_origin(tmp_path / "o.sock", says(CREATED)) as origin:
        for _ in range(3):
            await origin.client.execute(call())

        assert origin.connections == 3


async def test_a_socket_that_is_not_there_means_that_nothing_was_sent(tmp_path: Path) -> None:
    client = OriginClient(f"unix://{tmp_path}/nobody.sock")

    with pytest.raises(NeverSentError, match=r"nobody\.sock cannot be reached: No such file"):
        await client.execute(call())


async def test_a_refused_connection_means_that_nothing_was_sent() -> None:
    with pytest.raises(NeverSentError, match="cannot be reached"):
        await OriginClient("http://127.0.0.1:1").execute(call())


async def test_a_connection_that_takes_too_long_means_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)

    with pytest.raises(NeverSentError, match="took no connection before the deadline"):
        await OriginClient("http://127.0.0.1:1").execute(call(deadline_ms=1))


@contextlib.contextmanager
def full_listener(path: Path) -> Iterator[socket.socket]:
    """A unix socket that listens and whose queue is full."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(path))
        listening.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                queued = stack.enter_context(socket.socket(socket.AF_UNIX))
                queued.setblocking(False)
                queued.connect(str(path))
        yield listening


async def test_a_listener_whose_queue_stays_full_was_never_sent_the_request(tmp_path: Path) -> None:
    client = OriginClient(f"unix://{tmp_path}/o.sock")
    late = pytest.raises(NeverSentError, match="took no connection before the deadline")

    with full_listener(tmp_path / "o.sock"), late:
        await client.execute(call(deadline_ms=50))


async def test_a_call_goes_through_once_the_listener_s_queue_has_room(tmp_path: Path) -> None:
    with full_listener(tmp_path / "o.sock") as listening:
        calling = asyncio.create_task(OriginClient(f"unix://{tmp_path}/o.sock").execute(call()))
        await asyncio.sleep(0)
        server = await asyncio.start_unix_server(says(CREATED), sock=listening)

        assert (await calling).status == 201
        server.close()
        await server.wait_closed()


async def test_a_connection_that_was_closed_before_the_request_means_that_nothing_was_sent() -> None:
    lost = Connection()

    with pytest.raises(NeverSentError, match="as soon as it was there"):
        await lost.exchange(request_of(call()), call())


def test_an_origin_that_speaks_before_it_is_asked_is_hung_up_on() -> None:
    transport = Mock(spec=asyncio.Transport)
    connection = Connection()
    connection.connection_made(transport)

    connection.data_received(CREATED)

    transport.abort.assert_called_once_with()


async def test_after_the_deadline_the_call_is_given_up_and_its_connection_closed(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent(reader, writer)
        gone.set()

    async with scripted_origin(tmp_path / "o.sock", script) as origin:
        with pytest.raises(DeadlineError, match="within 20 ms"):
            await origin.client.execute(call(deadline_ms=20))
        await gone.wait()


async def test_the_deadline_covers_the_rest_of_an_answer_that_is_not_kept(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" + b"x" * 999)
        await silent(reader, writer)

    async with scripted_origin(tmp_path / "o.sock", script) as origin:
        with pytest.raises(DeadlineError):
            await origin.client.execute(call(deadline_ms=20, max_response_body=1))


async def test_a_reset_after_the_request_leaves_open_whether_it_executed(tmp_path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        writer.transport.abort()

    async with scripted_origin(tmp_path / "o.sock", script) as origin:
        with pytest.raises(MayHaveBeenSentError):
            await origin.client.execute(call(body=b"x" * 1_000_000))

        assert origin.connections == 1, "it is never sent again"


async def test_calls_over_the_bound_wait_for_their_turn(tmp_path: Path) -> None:
    running = most = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await read_request(reader)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1
        writer.write(CREATED)
        await writer.drain()

    async with scripted_origin(tmp_path / "o.sock", script, max_concurrent=2) as origin:
        answers = await asyncio.gather(*(origin.client.execute(call()) for _ in range(8)))

        assert [answer.status for answer in answers] == [201] * 8
        assert most <= 2
        assert origin.connections == 8


async def test_a_call_that_never_gets_its_turn_was_not_sent(tmp_path: Path) -> None:
    async with scripted_origin(tmp_path / "o.sock", silent, max_concurrent=1) as origin:
        first = asyncio.create_task(origin.client.execute(call()))
        await origin.arrived.wait()
        with pytest.raises(NeverSentError, match=r"1 calls .* were under way \(origin.max_concurrent\)"):
            await origin.client.execute(call(deadline_ms=20))
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first

        with pytest.raises(DeadlineError):
            await origin.client.execute(call(deadline_ms=20))
        assert origin.client.in_flight == 0, "the place of a cancelled call is free again"


async def test_cancelling_a_call_closes_its_connection(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent(reader, writer)
        gone.set()

    async with scripted_origin(tmp_path / "o.sock", script) as origin:
        task = asyncio.create_task(origin.client.execute(call()))
        await origin.arrived.wait()
        task.cancel()
        await gone.wait()


async def test_closing_the_client_ends_what_is_under_way_and_refuses_what_comes_later(
    tmp_path: Path,
) -> None:
    async with scripted_origin(tmp_path / "o.sock", silent) as origin:
        task = asyncio.create_task(origin.client.execute(call()))
        await origin.arrived.wait()
        await origin.client.close()

        with pytest.raises(MayHaveBeenSentError):
            await task
        with pytest.raises(NeverSentError, match="is closed"):
            await origin.client.execute(call())


def test_every_failure_says_whether_the_request_may_have_been_sent() -> None:
    assert issubclass(DeadlineError, MayHaveBeenSentError)
    assert not issubclass(NeverSentError, MayHaveBeenSentError)
    assert {error.__base__ for error in (NeverSentError, MayHaveBeenSentError)} == {OriginError}
