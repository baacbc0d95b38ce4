"""Who sends a request, as Envoy and its filters have found out: claims of a token, a certificate, metadata.

Nothing here comes from the client unchecked: a client sends headers, never Envoy's dynamic metadata. Whether
what stands there was verified is up to the filter that wrote it, which has to come before this one.
"""

import json

from sidecar.idempotency.context import Context, Json
from sidecar.idempotency.pointer import NOTHING, Nothing

JWT_NAMESPACE = "envoy.filters.http.jwt_authn"
"""Where Envoy's jwt_authn keeps the payload of a token it verified, where `payload_in_metadata` is set."""


def verified_claim(context: Context, claim: str) -> tuple[bytes, ...]:
    """A claim of every token that was verified, each with the token's issuer; nothing where none has it.

    A subject is unique for one issuer alone (RFC 7519 §4.1.2), so two callers may have one `sub`, and would
    share a scope without its `iss`. Providers write under names of their own; the name does not count, for a
    caller is the same whichever provider let it in.
    """
    payloads = context.metadata.get(JWT_NAMESPACE, {})
    found = {
        _text([*([payload["iss"]] if "iss" in payload else []), payload[claim]])
        for payload in payloads.values()
        if isinstance(payload, dict) and claim in payload
    }
    return tuple(sorted(found))


def peer(context: Context) -> tuple[bytes, ...]:
    """The name in the client's certificate, behind the kind of name it is; nothing where it showed none."""
    return () if context.peer is None else tuple(part.encode() for part in context.peer)


def metadata(context: Context, name: str) -> tuple[bytes, ...]:
    """A value that a filter noted, by namespace, a dot, and key; a namespace may have dots of its own."""
    namespace, _, key = name.rpartition(".")
    found: Json | Nothing = context.metadata.get(namespace, {}).get(key, NOTHING)
    return () if isinstance(found, Nothing) else (_text(found),)


def _text(found: Json) -> bytes:
    """A value so written that no two different ones are written alike: "1" is not 1.

    Not as RFC 8785 has it, which knows no NaN: a filter may note any double. Envoy's numbers are doubles, so
    two whole numbers beyond 2^53 may be one here.
    """
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
