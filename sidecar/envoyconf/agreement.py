"""What Envoy and the sidecar have to agree on: what Envoy's configuration takes of the policies.

Light to import: a worker asks it at every reload, and has no use for Envoy's types.
"""

from dataclasses import dataclass
from typing import TypeAlias

from sidecar.envoyconf.timing import max_message_timeout_ms, origin_idle_ms, stream_idle_ms
from sidecar.idempotency.policy import Execution, KeyPlace, Mode, Policies, Policy

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
        told: And what it is told of the client (`Policies.needs`).
        detached: Whether there is an origin listener.
        waits_ms: How long Envoy waits, in each of three places (`timing`).
    """

    wanted: frozenset[Wanted]
    refuses_escaped: bool
    only_watching: bool
    by_route: bool
    told: frozenset[str]
    detached: bool
    waits_ms: tuple[int, int, int]


def envoy_side(policies: Policies) -> EnvoySide:
    """What Envoy's configuration takes of these policies; of one that is `off`, that it selects by path."""
    active = [policy for policy in policies.policies if policy.mode is not Mode.OFF]
    return EnvoySide(
        wanted=frozenset(map(_wanted, active)),
        refuses_escaped=refuses_escaped_slashes(policies),
        only_watching={policy.mode for policy in active} == {Mode.SHADOW},
        by_route=any(policy.match.route is not None for policy in active),
        told=policies.needs,
        detached=any(policy.execution is Execution.DETACHED for policy in active),
        waits_ms=(max_message_timeout_ms(policies, 0), stream_idle_ms(policies), origin_idle_ms(policies)),
    )


def refuses_escaped_slashes(policies: Policies) -> bool:
    """Whether an escaped slash could evade a policy that enforces (`connections.escaped_slashes`)."""
    enforces = any(policy.mode is Mode.ENFORCE for policy in policies.policies)
    return enforces and any(policy.match.paths for policy in policies.policies)


def _wanted(policy: Policy) -> Wanted:
    match, key = policy.match, policy.key
    hosts = tuple([pattern.regex for pattern in match.hosts])
    paths = tuple([pattern.regex for pattern in match.paths])
    return match.methods, hosts, paths, key.place, key.name, key.required
