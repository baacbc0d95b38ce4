"""Addresses to listen on, and finding out early that one is taken."""

import contextlib
import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.supervision import ports
from sidecar.supervision.errors import StartupError
from sidecar.supervision.ports import Address, resolve


@pytest.fixture(autouse=True)
def _nothing_resolved_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_spoken_for", deque(maxlen=100))


@pytest.fixture
def taken() -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address("127.0.0.1", server.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:0", Address("127.0.0.1", 0)),
        ("[::1]:65535", Address("::1", 65535)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),  # noqa: S104 - parsed, not bound
    ],
)
def test_an_address_is_an_ip_and_a_port(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["127.0.0.1:8080", "[::1]:1", "0.0.0.0:0"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8080",
        ":8080",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:٣",
        "::1:80",
        "[::1]",
        "[127.0.0.1]:80",
        "example.com:80",
        "http://127.0.0.1:80",
        "127.0.0.1:80/",
        "1.2.3.4.5:80",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"not an address to listen on; allowed: IP:PORT, such as 127\.0\.0\.1:8080"
    ):
        Address.parse(text)


def test_a_wildcard_is_reached_by_the_loopback_address() -> None:
    assert Address("0.0.0.0", 80).reachable == Address("127.0.0.1", 80)  # noqa: S104 - not bound
    assert Address("::", 80).reachable == Address("::1", 80)
    assert Address("10.0.0.1", 80).reachable == Address("10.0.0.1", 80)


def test_port_0_becomes_a_free_port() -> None:
    found = resolve(Address("127.0.0.1", 0), "--listen")
    assert found.port > 0
    socket.create_server((found.host, found.port)).close()


def test_several_free_ports_are_in_a_row() -> None:
    first = resolve(Address("127.0.0.1", 0), "--admin", count=3)
    for offset in range(3):
        socket.create_server((first.host, first.port + offset)).close()


@pytest.mark.parametrize(("first", "count"), [(32_768, 1), (20_000, 4), (15_003, 2)])
def test_a_free_port_is_none_that_an_outgoing_connection_may_be_given_meanwhile(
    first: int, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ephemeral = tmp_path / "ip_local_port_range"
    ephemeral.write_text(f"{first}\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", ephemeral)
    monkeypatch.setattr(ports, "_spoken_for", deque(maxlen=0))  # these are many, of a few
    found = {resolve(Address("127.0.0.1", 0), "--admin", count=count).port for _ in range(20)}
    assert max(found) + count <= first


@pytest.fixture
def room_for_five(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> range:
    """The only ports to choose from."""
    room = range(15_000, 15_005)
    ephemeral = tmp_path / "ip_local_port_range"
    ephemeral.write_text(f"{room.stop}\t60999\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", ephemeral)
    monkeypatch.setattr(ports, "_TRIES", 1000)  # each is found
    return room


def test_a_port_is_not_chosen_twice_though_nobody_listens_yet(room_for_five: range) -> None:
    found = [resolve(Address("127.0.0.1", 0), "--listen").port for _ in room_for_five]
    assert sorted(found) == list(room_for_five)
    with pytest.raises(StartupError, match=r"--listen: no 1 free ports in a row on 127\.0\.0\.1"):
        resolve(Address("127.0.0.1", 0), "--listen")


def test_nor_is_one_that_was_asked_for(room_for_five: range) -> None:
    asked = resolve(Address("127.0.0.1", 15_002), "--listen")
    assert resolve(asked, "--listen") == asked, "who asks for it again, gets it"
    for _ in range(len(room_for_five) - 1):
        assert resolve(Address("127.0.0.1", 0), "--admin") != asked


def test_nor_one_of_the_ports_in_a_row_above_another(room_for_five: range) -> None:
    resolve(Address("127.0.0.1", 15_001), "--admin", count=2)
    first = resolve(Address("127.0.0.1", 0), "--admin", count=2)
    assert (first.port, room_for_five.stop) == (15_003, 15_005)


def test_those_of_long_ago_are_forgotten(room_for_five: range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_spoken_for", deque(maxlen=len(room_for_five) - 1))
    found = [resolve(Address("127.0.0.1", 0), "--listen").port for _ in range(2 * len(room_for_five))]
    assert found[: len(room_for_five)] == found[len(room_for_five) :]


def test_where_outgoing_connections_leave_no_room_the_system_chooses(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ephemeral = tmp_path / "ip_local_port_range"
    ephemeral.write_text("1024\t65535\n")
    monkeypatch.setattr(ports, "_EPHEMERAL", ephemeral)
    found = resolve(Address("127.0.0.1", 0), "--admin", count=2)
    for offset in range(2):
        socket.create_server((found.host, found.port + offset)).close()


def test_where_nothing_tells_of_outgoing_connections_their_usual_range_is_avoided(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ports, "_EPHEMERAL", tmp_path / "absent")
    assert resolve(Address("127.0.0.1", 0), "--admin").port < 32_768


def test_port_0_on_an_address_of_another_machine_is_refused_as_any_other() -> None:
    with pytest.raises(StartupError, match=r"192\.0\.2\.1 is not an address of this machine"):
        resolve(Address("192.0.2.1", 0), "--listen")


def test_a_taken_port_is_named_with_the_option_that_changes_it(taken: Address) -> None:
    with pytest.raises(StartupError) as refused:
        resolve(taken, "--listen")
    assert str(refused.value) == (
        f"{taken} is taken by another process; choose another with --listen IP:PORT"
    )


@pytest.fixture
def free_below_taken() -> Iterator[tuple[Address, Address]]:
    """A free address, and the one above it, which is taken."""
    while True:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            socket.create_server(("127.0.0.1", port - 1)).close()
            yield Address("127.0.0.1", port - 1), Address("127.0.0.1", port)
            return


def test_a_taken_port_among_those_of_later_workers_counts(
    free_below_taken: tuple[Address, Address],
) -> None:
    free, taken = free_below_taken
    with pytest.raises(StartupError, match=str(taken.port)):
        resolve(free, "--admin", count=2)


def test_a_port_shared_by_so_reuseport_is_taken_all_the_same() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        with pytest.raises(StartupError, match="taken"):
            resolve(Address("127.0.0.1", server.getsockname()[1]), "--listen")


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartupError, match=r"192\.0\.2\.1 is not an address of this machine"):
        resolve(Address("192.0.2.1", 8080), "--listen")


def test_more_workers_than_ports_are_refused() -> None:
    with pytest.raises(StartupError, match="port 65536 does not exist"):
        resolve(Address("127.0.0.1", 65535), "--admin", count=2)


def test_a_host_nobody_knows_is_refused() -> None:
    with pytest.raises(StartupError, match=r'"nobody\.invalid" is not a host this machine knows'):
        resolve(Address("nobody.invalid", 80), "--admin")
