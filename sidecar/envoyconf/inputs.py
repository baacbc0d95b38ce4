"""What the Envoy side is rendered from. Light to import: none of Envoy's types is loaded here."""

import re
from dataclasses import dataclass
from enum import StrEnum

from sidecar.envoyconf.addresses import (
    TcpAddress,
    UnixAddress,
    is_ip,
    listens_here,
    parse_endpoint,
    parse_listen,
    parse_origin,
    parse_tcp,
)
from sidecar.envoyconf.version import NEWEST, EnvoyVersion
from sidecar.idempotency.policy import Execution, Mode, Policies

_URL = re.compile(r"(?P<scheme>[a-z0-9]+)://(?P<authority>[^/?#@]+)/?")
_DNS_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]+")
_ALLOWED = "allowed: http://HOST:PORT, https://HOST[:PORT] or h2c://HOST:PORT, without path, query or user"


class Scheme(StrEnum):
    """How Envoy speaks to the upstream."""

    HTTP = "http"
    """HTTP/1.1 in the clear."""
    HTTPS = "https"
    """TLS; HTTP/2 or HTTP/1.1, as the upstream prefers (ALPN)."""
    H2C = "h2c"
    """HTTP/2 in the clear, as gRPC services speak it."""

    @property
    def default_port(self) -> int:
        """The port where the URL names none."""
        return 443 if self is Scheme.HTTPS else 80


@dataclass(frozen=True, slots=True)
class Upstream:
    """The service behind Envoy."""

    scheme: Scheme
    address: TcpAddress

    @classmethod
    def parse(cls, url: str) -> "Upstream":
        """Read an upstream's URL.

        Raises:
            ValueError: It is none of the forms that are allowed, which the message names.
        """
        match = _URL.fullmatch(url)
        if match is None or match["scheme"] not in set(Scheme):
            raise ValueError(f"{url!r} is not an upstream; {_ALLOWED}")
        scheme, authority = Scheme(match["scheme"]), match["authority"]
        if not re.search(r"(?<=[^:]):[0-9]*$|\]:[0-9]*$", authority):
            authority = f"{authority}:{scheme.default_port}"
        try:
            return cls(scheme, parse_tcp(authority))
        except ValueError:
            raise ValueError(f"{url!r} is not an upstream; {_ALLOWED}") from None

    @property
    def authority(self) -> str:
        """Host and port as they stand in a `Host` header: the scheme's own port is left out."""
        text = str(self.address)
        return text.removesuffix(f":{self.address.port}") if self._port_is_default else text

    @property
    def _port_is_default(self) -> bool:
        return self.address.port == self.scheme.default_port


@dataclass(frozen=True, slots=True)
class SidecarTls:
    """Envoy's side of mutual TLS with the sidecar: PEM files, by the absolute paths that Envoy sees.

    Attributes:
        ca: Who signs the sidecar's certificate.
        certificate: What Envoy shows the sidecar.
        key: Its private key.
        name: Who the sidecar has to be by its certificate's subjectAltName: a DNS name, an IP address, or a
            URI such as `spiffe://example.org/sidecar`.

    Raises:
        ValueError: A path is not absolute, or the name is none.
    """

    ca: str
    certificate: str
    key: str
    name: str

    def __post_init__(self) -> None:
        """Refuse what Envoy would refuse, or worse, take for something else."""
        for path in (self.ca, self.certificate, self.key):
            if not path.startswith("/") or not path.isprintable():
                raise ValueError(f"{path!r} is not a path; allowed: an absolute path, as Envoy sees it")
        if not (is_ip(self.name) or _DNS_NAME.fullmatch(self.name) or _URI.fullmatch(self.name)):
            raise ValueError(f"{self.name!r} is not a name; allowed: a DNS name, an IP address or a URI")

    @property
    def is_uri(self) -> bool:
        """Whether the name is a URI."""
        return "://" in self.name


@dataclass(frozen=True, slots=True)
class EnvoyInputs:
    """Everything the rendered configuration depends on.

    Attributes:
        policies: The compiled policies; the skip matcher is derived from them.
        endpoints: Where each sidecar worker serves ext_proc: `unix:/path` or `host:port`.
        store_timeout_ms: Longest wait for one store operation, in milliseconds.
        listen: Where Envoy listens, `ip:port` (bootstrap only).
        upstream: The service behind it (bootstrap only).
        origin: Where the sidecar makes detached calls, `unix:///path` or `http://host:port`; needed where
            a policy is detached. On a unix socket or the loopback it is a listener of this Envoy, unless it
            is the upstream itself.
        sidecar_tls: Envoy's side of mutual TLS with the workers; None: in the clear. Not for unix sockets.
        envoy_version: The Envoy that is to take the configuration.
        admin_path: Unix socket of Envoy's own admin interface; None leaves it out (bootstrap only).

    Raises:
        ValueError: An address is malformed, there is no endpoint, a detached policy has no origin, or there
            is TLS on a unix socket.
    """

    policies: Policies
    endpoints: tuple[str, ...]
    store_timeout_ms: int = 250
    listen: str = "127.0.0.1:8080"
    upstream: Upstream | None = None
    admin_path: str | None = None
    origin: str | None = None
    sidecar_tls: SidecarTls | None = None
    envoy_version: EnvoyVersion = NEWEST

    def __post_init__(self) -> None:
        """Refuse what could not be rendered, before anything is."""
        if not self.endpoints:
            raise ValueError("no ext_proc endpoint is given; allowed: one or more of HOST:PORT or unix:/path")
        kinds = {type(address) for address in self.endpoint_addresses}
        if len(kinds) > 1:
            raise ValueError("ext_proc endpoints are mixed; allowed: all HOST:PORT, or all unix:/path")
        if self.sidecar_tls is not None and UnixAddress in kinds:
            raise ValueError("TLS is for HOST:PORT endpoints; allowed: none of its options with unix:/path")
        parse_listen(self.listen)
        if self.admin_path is not None:
            parse_endpoint(f"unix:{self.admin_path}")
        if self.origin is not None:
            parse_origin(self.origin)
        elif self._executes_detached:
            raise ValueError(
                "a policy is detached and no origin is given; allowed: unix:///absolute/path or http://HOST:PORT"
            )

    @property
    def endpoint_addresses(self) -> tuple[TcpAddress | UnixAddress, ...]:
        """The endpoints, read."""
        return tuple(parse_endpoint(endpoint) for endpoint in self.endpoints)

    @property
    def listen_address(self) -> TcpAddress:
        """The listener's address, read."""
        return parse_listen(self.listen)

    @property
    def origin_address(self) -> TcpAddress | UnixAddress | None:
        """Where the origin listener is to be; None where there is to be none."""
        if self.origin is None or not self._executes_detached:
            return None
        address = parse_origin(self.origin)
        is_upstream = self.upstream is not None and address == self.upstream.address
        return address if listens_here(address) and not is_upstream else None

    @property
    def _executes_detached(self) -> bool:
        return any(
            policy.execution is Execution.DETACHED and policy.mode is not Mode.OFF
            for policy in self.policies.policies
        )
