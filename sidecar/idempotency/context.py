"""What Envoy knows of a request beside its head: the route it takes, who sent it, what filters found out."""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from sidecar.idempotency.value import Value

Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
"""A JSON value (RFC 8259 §3), as Python has it."""


class Context(Value):
    """What a policy may ask for; Envoy sends only what its configuration was rendered for.

    Attributes:
        route: The name of the route (`xds.route_name`); empty where it has none or was not asked for.
        peer: Who the client is by the certificate of its connection, as (kind, name), the kind being `uri`,
            `dns` or `subject`; None where it showed none. That the certificate was verified is up to the
            listener (docs/policies.md).
        metadata: What filters before this one noted of the request, by namespace and then by key.
    """

    route: str = ""
    peer: tuple[str, str] | None = None
    metadata: Mapping[str, Mapping[str, Json]] = msgspec.field(default_factory=dict)


NOTHING_KNOWN = Context()
"""Of a request for which no policy asks for more than its head."""
