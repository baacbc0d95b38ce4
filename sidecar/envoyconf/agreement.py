"""What Envoy and the sidecar have to agree on: what Envoy's configuration takes of the policies.

Light to import: a worker asks it at every reload, and has no use for Envoy's types.
"""

from dataclasses import dataclass
from typing import TypeAlias

from sidecar.envoyconf.timing import max_message_timeout_ms, origin_idle_ms, stream_idle_ms
from sidecar.idempotency.policy import Execution, KeyPlace, Mode, Policies, Policy

_KNOWLEDGE = frozenset({"peer", "jwt", "metadata"})

Wanted: TypeAlias = tuple[frozenset[str], tuple[str, ...], tuple[str, ...], KeyPlace, str, bool]
"""Methods, hosts, paths, where the key is, its name, whether it is demanded."""


@dataclass(frozen=True, slots=True)
class EnvoySide:
    """Two sets of policies with equal ones need no new configuration of Envoy's.

    Attributes:
        wanted: Which requests need the sidecar (`matcher`); in no order, as Envoy takes their union.
        refuses_escaped: Whether an escaped slash is refused (`connections.escaped_slashes`).
        only_watching: Whether requests pass where the sidecar is down (`processor.fails_open`).
        by_route: Whether the sidecar is told the route of a request (`knowledge`).
        told: And what it is told of the client: the kind of a scope's part, and the namespace of metadata.
        detached: Whether there is an origin listener.
        waits_ms: How long Envoy waits, in each of three places (`timing`).
    """

    wanted: frozenset[Wanted]
    refuses_escaped: bool
    only_watching: bool
    by_route: bool
    told: frozenset[tuple[str, str]]
    detached: bool
    waits_ms: tuple[int, int, int]


def envoy_side(policies: Policies) -> EnvoySide:
    """What Envoy's configuration takes of these policies; one that is `off` is not in it."""
    active = [policy for policy in policies.policies if policy.mode is not Mode.OFF]
    parts = [part for policy in active for part in policy.scope if part.kind in _KNOWLEDGE]
    return EnvoySide(
        wanted=frozenset(map(_wanted, active)),
        refuses_escaped=any(policy.match.paths and policy.mode is Mode.ENFORCE for policy in active),
        only_watching={policy.mode for policy in active} == {Mode.SHADOW},
        by_route=any(policy.match.route is not None for policy in active),
        told=frozenset([(part.kind, part.name if part.kind == "metadata" else "") for part in parts]),
        detached=any(policy.execution is Execution.DETACHED for policy in active),
        waits_ms=(max_message_timeout_ms(policies, 0), stream_idle_ms(policies), origin_idle_ms(policies)),
    )


def _wanted(policy: Policy) -> Wanted:
    match, key = policy.match, policy.key
    hosts = tuple([pattern.regex for pattern in match.hosts])
    paths = tuple([pattern.regex for pattern in match.paths])
    return match.methods, hosts, paths, key.place, key.name, key.required
