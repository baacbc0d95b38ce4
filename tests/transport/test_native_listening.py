"""What the native transport listens at, and how it takes connections where something is missing."""

import asyncio
import errno
import socket
from typing import Any

import pytest

from sidecar.extproc.transport.native import listening


async def test_without_descriptors_no_connection_is_taken_and_later_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    monkeypatch.setattr(listening, "_BREATH_S", 0.01)
    errors: list[OSError] = [OSError(errno.EMFILE, "too many"), ConnectionAbortedError("gone")]

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            if errors:
                raise errors.pop(0)
            return super().accept()

    with socket.create_server(("127.0.0.1", 0)) as bound:
        listener = Exhausted(fileno=bound.detach())
    listener.setblocking(False)
    with listener, socket.create_connection(listener.getsockname()):
        peer = await listening.accept(listener)
        peer.close()
    assert errors == []
    assert [error.errno for error in reported if isinstance(error, OSError)] == [errno.EMFILE]


async def test_an_address_that_the_machine_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def without_ipv6(address: Any, *, family: socket.AddressFamily, backlog: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "not here")
        return create(address, family=family, backlog=backlog)

    monkeypatch.setattr(socket, "create_server", without_ipv6)
    (listener,) = await listening.bind_tcp("localhost", 0)
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match="not here"):
        await listening.bind_tcp("::1", 0)


async def test_of_several_addresses_that_cannot_all_be_had_none_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create, made = socket.create_server, list[socket.socket]()

    def the_second_is_taken(*_: object, backlog: int, **__: object) -> socket.socket:
        if made:
            raise OSError(errno.EADDRINUSE, "taken")
        made.append(create(("127.0.0.1", 0), backlog=backlog))
        return made[0]

    async def two(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(family, 0, 0, "", ("any", 0)) for family in (socket.AF_INET, socket.AF_INET6)]

    monkeypatch.setattr(socket, "create_server", the_second_is_taken)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", two)
    with pytest.raises(OSError, match="taken"):
        await listening.bind_tcp("both", 0)
    assert made[0].fileno() == -1
