"""A command that was given up before the server took it does not reach it afterwards, on a real socket."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing

import pytest
import uvloop

from sidecar.store.redis.packing import pack, size
from sidecar.store.redis.pipelining import Pipeline

COMMAND = pack(("SET", "a", b"x" * 12_000))
"""More than the server has room for, and little enough for all of it to be given to the kernel."""


async def give_up(address: tuple[str, int]) -> None:
    """Send the command to a server that does not read, until its time is over and the connection with it."""
    _, writer = await asyncio.open_connection(*address)
    over = asyncio.Event()
    pipeline = Pipeline(lambda _: over.set())
    writer.transport.set_protocol(pipeline)
    pipeline.begin(writer)
    reply = pipeline.send(COMMAND, 0.2)
    with pytest.raises(TimeoutError):
        await reply
    await over.wait()


def received_until_reset(connection: socket.socket) -> int:
    """How many bytes come before the other end breaks the connection."""
    connection.settimeout(10)
    received = 0
    try:
        while data := connection.recv(65536):
            received += len(data)
    except ConnectionResetError:
        return received
    pytest.fail(f"the connection was closed in order, after {received} of {size(COMMAND)} bytes")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_the_kernel_does_not_go_on_sending_what_was_given_up(
    loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(give_up(listener.getsockname()))
        taken, _ = listener.accept()
        with closing(taken):
            assert 0 < received_until_reset(taken) < size(COMMAND)
