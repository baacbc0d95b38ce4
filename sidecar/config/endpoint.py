"""Where the sidecar listens: a Unix socket or host:port, and what that makes for each of N workers."""

import re
from dataclasses import dataclass, replace
from types import MappingProxyType

from sidecar.config.errors import RefusedError, quoted

HOST_PORT_FORM = "host:port, such as 127.0.0.1:9902 or [::1]:9902, with a port from 1 to 65535"
ENDPOINT_FORM = f"unix:///absolute/path of at most 100 bytes, or {HOST_PORT_FORM}"

_MAX_SOCKET_PATH = 100
"""Bytes: the kernel's `sun_path` takes 107 (103 on macOS), and a worker's `.63` has to fit in as well."""
MAX_PORT = 65_535
LOOPBACK_OF = MappingProxyType({"0.0.0.0": "127.0.0.1", "::": "::1"})  # noqa: S104 - replaced, not bound to
"""Where a client on the same machine finds what listens on every address."""
_LABEL = "[A-Za-z0-9_-]{1,63}"  # RFC 1035 §2.3.4; what is none cannot even be looked up
_NAME = rf"(?:{_LABEL}\.)*{_LABEL}\.?"
_HOST_PORT = re.compile(rf"(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|({_NAME})):([0-9]{{1,5}})")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP address. `host` is a name or an address, an IPv6 one without its brackets."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "HostPort":
        """Read `host:port`.

        Raises:
            RefusedError: The text is not such an address.
        """
        found = _HOST_PORT.fullmatch(text)
        if found is None or not 1 <= int(found[3]) <= MAX_PORT:
            raise RefusedError(f"{quoted(text)} is not an address", HOST_PORT_FORM)
        return cls(found[1] or found[2], int(found[3]))

    def for_worker(self, index: int, workers: int) -> "HostPort":
        """Worker `index` of `workers` has a port of its own: port + index."""
        return replace(self, port=self.port + _checked(index, workers))

    @property
    def reachable(self) -> "HostPort":
        """Where a client on this machine finds it: the loopback address for one that stands for all."""
        return replace(self, host=LOOPBACK_OF.get(self.host, self.host))

    @property
    def address(self) -> str:
        """The address as it is written and as gRPC takes it: `host:port`, `[::1]:port`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a gRPC server listens: `path` of a Unix socket, or else `host` and `port`."""

    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Read `unix:///absolute/path` or `host:port`.

        Raises:
            RefusedError: The text is neither.
        """
        if not text.startswith("unix:"):
            try:
                tcp = HostPort.parse(text)
            except RefusedError as error:
                raise RefusedError(error.message, ENDPOINT_FORM) from None
            return cls(host=tcp.host, port=tcp.port)
        path = text.removeprefix("unix://")
        if not path.startswith("/") or path.endswith("/") or not path.isprintable():
            raise RefusedError(f"{quoted(text)} is not an absolute path of a socket", ENDPOINT_FORM)
        if len(path.encode()) > _MAX_SOCKET_PATH:
            raise RefusedError(f"the path of the socket has {len(path.encode())} bytes", ENDPOINT_FORM)
        return cls(path=path)

    @property
    def reachable(self) -> "Endpoint":
        """Where a client on this machine finds it (`HostPort.reachable`); a unix socket where it is."""
        return self if self.is_unix else replace(self, host=HostPort(self.host, self.port).reachable.host)

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix socket."""
        return bool(self.path)

    @property
    def address(self) -> str:
        """The address as gRPC takes it: `unix:/path`, `host:port` or `[::1]:port`."""
        return f"unix:{self.path}" if self.is_unix else HostPort(self.host, self.port).address

    def for_worker(self, index: int, workers: int) -> "Endpoint":
        """The endpoint of worker `index` of `workers`: as written for one, else `.index` or port + index.

        Envoy opens one HTTP/2 connection per endpoint, so workers that shared one would not share the load.
        """
        _checked(index, workers)
        if workers == 1:
            return self
        if self.is_unix:
            return replace(self, path=f"{self.path}.{index}")
        return replace(self, port=self.port + index)

    def __str__(self) -> str:
        return f"unix://{self.path}" if self.is_unix else self.address


def _checked(index: int, workers: int) -> int:
    if not 0 <= index < workers:
        raise ValueError(f"there is no worker {index} of {workers}; allowed: 0 to {workers - 1}")
    return index
