"""Addresses to listen on: parsing, free ports, and finding out before anything starts that one is taken."""

import contextlib
import errno
import ipaddress
import random
import socket
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from sidecar.config.endpoint import LOOPBACK_OF
from sidecar.supervision.errors import StartupError

_ALLOWED = "allowed: IP:PORT, such as 127.0.0.1:8080, [::1]:8080 or 0.0.0.0:8080; port 0 takes a free one"
MAX_PORT = 65535
_TRIES = 50
_LOWEST = 15_000
"""Of the ports that are chosen: below are those that many servers have by custom."""
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_FIRST_EPHEMERAL = 32_768
_spoken_for: deque[int] = deque(maxlen=1024)
"""Ports that this process has resolved, whose servers may be yet to listen; no more than the latest."""


@dataclass(frozen=True, slots=True)
class Address:
    """A host (an IP address without brackets, or a name) and a TCP port; port 0 asks for a free one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `IP:PORT` or `localhost:PORT`.

        Raises:
            ValueError: it is not one; the message says what is allowed.
        """
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = "127.0.0.1" if host == "localhost" else host.strip("[]") if bracketed else host
        is_port = port.isascii() and port.isdigit() and int(port) <= MAX_PORT
        if not (colon and is_port and _is_ip(host) and bracketed == (":" in host)):
            raise ValueError(f'"{text}" is not an address to listen on; {_ALLOWED}')
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def reachable(self) -> Self:
        """Where a client on this machine finds it: the loopback address for a wildcard."""
        return replace(self, host=LOOPBACK_OF.get(self.host, self.host))


def resolve(address: Address, option: str, *, count: int = 1) -> Address:
    """The address with a real port: checked to be free, or chosen where the port is 0.

    The `count - 1` ports above it are checked, or chosen, along with it.

    Args:
        address: what was asked for.
        option: the name of the option that sets it, for the message.
        count: how many ports in a row are needed, the first included.

    Raises:
        StartupError: a port is taken, or this machine cannot listen there.
    """
    found = _free(address, option, count) if address.port == 0 else _checked(address, option, count)
    _spoken_for.extend(range(found.port, found.port + count))
    return found


def _checked(address: Address, option: str, count: int) -> Address:
    for offset in range(count):
        _claim(replace(address, port=address.port + offset), option).close()
    return address


def _free(address: Address, option: str, count: int) -> Address:
    """Such ports as stay free for whoever listens there next, also after being away for a while.

    A port out of the range from which outgoing connections are numbered may be given to one of them before
    the server listens, or between its end and its restart, and for as long as that connection lives. A
    connection to such a port may even meet itself while nobody listens. Nor is it one that this process has
    resolved before, for another server that is yet to listen, or may be away.
    """
    _claim(address, option).close()  # whatever is wrong with the host is said here
    for _ in range(_TRIES):
        first = _candidate(address, option, count)
        if not set(_spoken_for).isdisjoint(range(first, first + count)):
            continue
        with contextlib.suppress(StartupError):
            return _checked(replace(address, port=first), option, count)
    raise StartupError(f"{option}: no {count} free ports in a row on {address.host}")


def _candidate(address: Address, option: str, count: int) -> int:
    """A port below that range at random; where the range leaves no room, one that the system chooses."""
    end = (int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.exists() else _USUAL_FIRST_EPHEMERAL) - count
    if end > _LOWEST:
        # Not of the seeded generator: what a seed repeats must not depend on what is free.
        return random.SystemRandom().randrange(_LOWEST, end + 1)
    with _claim(address, option) as probe:
        return int(probe.getsockname()[1])


def _claim(address: Address, option: str) -> socket.socket:
    """A socket that listens there, to be closed at once: only listening proves that nobody else does."""
    if address.port > MAX_PORT:
        raise StartupError(
            f"{option}: port {address.port} does not exist; allowed: up to 65535, all workers included"
        )
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise StartupError(
            f'{option}: "{address.host}" is not a host this machine knows; {_ALLOWED}'
        ) from None
    claimed = socket.socket(family, kind, protocol)
    try:
        # As a server would: connections of an earlier run that linger in TIME_WAIT do not make a port taken.
        claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claimed.bind(where)
        claimed.listen(1)
    except OSError as error:
        claimed.close()
        raise StartupError(_why(address, option, error)) from None
    return claimed


def _why(address: Address, option: str, error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{address} is taken by another process; choose another with {option} IP:PORT"
        case errno.EACCES | errno.EPERM:
            return f"{address} may not be used by this user; choose a port from 1024 up with {option} IP:PORT"
        case errno.EADDRNOTAVAIL:
            return f"{address.host} is not an address of this machine; choose another with {option} IP:PORT"
        case _:
            return f"cannot listen on {address}: {error.strerror}; choose another with {option} IP:PORT"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
