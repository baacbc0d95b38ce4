"""The head of an HTTP request, as the domain sees it."""

from sidecar.idempotency.context import NOTHING_KNOWN, Context
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.grpc import is_grpc, may_be_grpc
from sidecar.idempotency.value import Value

ALWAYS_READ = frozenset({"content-length", "content-type", "idempotency-attempt", "upgrade", "x-request-id"})
"""The header fields that tell something of every request; which others do is up to its policy."""


class Request(Value):
    """Method, authority, path, query and header fields, at least those that are read (`Policies.reads`).

    `path` is without its query, `query` without its `?` and None where the target has none; text is
    Latin-1, one character for each byte on the wire. `id` is Envoy's request id, empty where it has none;
    `context` what else Envoy knows of it.
    """

    method: str
    authority: str
    path: str
    query: str | None
    headers: Fields
    id: str = ""
    context: Context = NOTHING_KNOWN

    @classmethod
    def from_target(  # noqa: PLR0913, PLR0917 - a request has these parts
        cls,
        method: str,
        authority: str,
        target: str,
        headers: Fields,
        request_id: str,
        context: Context = NOTHING_KNOWN,
    ) -> "Request":
        """From the request target (`:path`, path and query in one)."""
        path, mark, query = target.partition("?")
        return cls(method, authority, path, query if mark else None, headers, request_id, context)

    @property
    def is_upgrade(self) -> bool:
        """Whether the exchange would leave HTTP (an upgrade or CONNECT): there is no response to record."""
        return self.method == "CONNECT" or first(self.headers, "upgrade") is not None

    @property
    def is_grpc(self) -> bool:
        """Whether it is a gRPC call, for Envoy as for the upstream."""
        return is_grpc(first(self.headers, "content-type") or b"")

    @property
    def may_be_grpc(self) -> bool:
        """Whether it is one, or an upstream may take it for one though Envoy does not."""
        return may_be_grpc(first(self.headers, "content-type") or b"")
