"""Where a Redis server is: a URL, checked when the configuration is read rather than at the first request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import RedisError

TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
"""The query parameters of a `rediss://` URL; `redis://` has none."""


@dataclass(frozen=True, slots=True)
class Address:
    """A server, its database, and what is needed to get in; only `place` is fit to be shown.

    Attributes:
        place: `host:port/db`, for logs and errors.
        arguments: For redis-py's connection class; holds the credentials.
    """

    place: str
    connection_class: type[Connection] = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read `redis://[user:password@]host[:port][/db]`, or `rediss://` with its TLS options.

        Raises:
            ValueError: It is not such a URL. The message says what is allowed and repeats no credentials.
        """
        host, port, db = _place(urlsplit(url))
        arguments: dict[str, Any] = dict(parse_url(url))
        connection_class = arguments.pop("connection_class", Connection)
        arguments |= {"host": host, "port": port, "db": db}
        address = cls(f"{host}:{port}/{db}", connection_class, arguments)
        try:
            address.connection()
        except (RedisError, TypeError, ValueError):
            raise ValueError(
                "ssl_cert_reqs is `required`, `optional` or `none`; ssl_check_hostname is `true` or `false`, "
                "and `false` where ssl_cert_reqs is `none`"
            ) from None
        return address

    def connection(self) -> Connection:
        """A connection to the server, not yet open.

        RESP 2, because nothing here needs a push and opening it then costs fewer round trips. No time-outs
        and no retries of its own: one time-out spans the whole operation, and whether a write may be
        repeated is for its caller to know.
        """
        return self.connection_class(
            **self.arguments, protocol=2, socket_timeout=None, socket_connect_timeout=None, retry=None
        )


def _place(parts: SplitResult) -> tuple[str, int, int]:
    """Host, port and database, once everything in the URL is known to mean something."""
    tls = parts.scheme.lower() == "rediss"
    allowed = TLS_OPTIONS if tls else ()
    if parts.fragment:
        raise ValueError("a `#` in a Redis URL must be written %23")
    try:
        port = 6379 if parts.port is None else parts.port
        db = _natural(parts.path.removeprefix("/") or "0")
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(
            "a Redis URL is `redis://user:password@host:port/db` with numbers for port and db; "
            "`/`, `@`, `:` and `#` within the user or the password are written %2F, %40, %3A and %23"
        ) from None
    for name, _ in options:
        if name not in allowed:
            known = ", ".join(TLS_OPTIONS) if tls else "none (TLS options need rediss://)"
            raise ValueError(f"unknown option {name!r} in the Redis URL; allowed: {known}")
    return parts.hostname or "localhost", port, db


def _natural(digits: str) -> int:
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError("not a natural number")
    return int(digits)
