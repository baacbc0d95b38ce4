"""Network addresses as Envoy takes them: a host and a port, or the path of a unix socket."""

import ipaddress
import re
from dataclasses import dataclass

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})")
_UNIX_PATH_MAX = 107
"""Bytes of a unix socket's path that fit the kernel's `sockaddr_un`, less its final NUL."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host (IP address or DNS name, without brackets) and a port from 1 to 65535."""

    host: str
    port: int

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP address: it needs no resolving."""
        return is_ip(self.host)

    def __str__(self) -> str:
        """As it stands in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The absolute path of a unix socket."""

    path: str


def listens_here(address: TcpAddress | UnixAddress) -> bool:
    """Whether only this machine reaches it: a unix socket, or a loopback address."""
    return isinstance(address, UnixAddress) or (
        address.is_ip and ipaddress.ip_address(address.host).is_loopback
    )


def is_ip(host: str) -> bool:
    """Whether `host` is an IPv4 or IPv6 address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def parse_tcp(text: str) -> TcpAddress:
    """Read `host:port` or `[ipv6]:port`.

    Raises:
        ValueError: It is neither; the message says what is allowed.
    """
    match = _HOST_PORT.fullmatch(text)
    if match is None or (match["v6"] and not is_ip(match["v6"])):
        raise ValueError(f"{text!r} is not an address; allowed: HOST:PORT or [IPV6]:PORT")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ValueError(f"{text!r} has port {port}; allowed: 1 to 65535")
    return TcpAddress(match["v6"] or match["name"], port)


def parse_listen(text: str) -> TcpAddress:
    """Read the address Envoy listens on: an IP address and a port; `localhost` stands for 127.0.0.1.

    Raises:
        ValueError: It is something else; the message says what is allowed.
    """
    address = parse_tcp(text)
    if address.host == "localhost":
        return TcpAddress("127.0.0.1", address.port)
    if not address.is_ip:
        raise ValueError(f"{text!r} is not an address to listen on; allowed: IP:PORT, such as 127.0.0.1:8080")
    return address


def parse_endpoint(text: str) -> TcpAddress | UnixAddress:
    """Read where a sidecar worker serves ext_proc: `host:port`, or `unix:/path` with an absolute path.

    Raises:
        ValueError: It is neither; the message says what is allowed.
    """
    if not text.startswith("unix:"):
        return parse_tcp(text)
    path = text.removeprefix("unix:").removeprefix("//")
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{text!r} is not an endpoint; allowed: HOST:PORT or unix:/absolute/path")
    if len(path.encode()) > _UNIX_PATH_MAX:
        raise ValueError(f"{text!r} is too long; allowed: a path of at most {_UNIX_PATH_MAX} bytes")
    return UnixAddress(path)


def parse_origin(text: str) -> TcpAddress | UnixAddress:
    """Read where detached calls go: `unix:///absolute/path` or `http://host:port`; `localhost` is 127.0.0.1.

    Raises:
        ValueError: It is neither; the message says what is allowed.
    """
    scheme, _, rest = text.partition("://")
    try:
        address = parse_endpoint(text) if scheme == "unix" else parse_tcp(rest.removesuffix("/"))
    except ValueError:
        address = None
    if scheme not in ("unix", "http") or address is None:
        raise ValueError(f"{text!r} is not an origin; allowed: unix:///absolute/path or http://HOST:PORT")
    if isinstance(address, TcpAddress) and address.host == "localhost":
        return TcpAddress("127.0.0.1", address.port)
    return address
