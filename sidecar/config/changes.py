"""What differs between two configurations, for the log and for the rules of a reload."""

from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.config.loading import Settings
from sidecar.config.section import Section
from sidecar.idempotency.policy import Policies

_IN_POLICIES = frozenset({"store.on_unavailable"})
"""Defaults of policies: each policy has been given them when it was compiled."""


@dataclass(frozen=True, slots=True)
class PolicyChanges:
    """The names of the policies that were added, removed and changed, each in the order of its file."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    reordered: bool
    """Whether those in both come in another order; which of them is the first to match depends on it."""

    @classmethod
    def between(cls, old: Policies, new: Policies) -> "PolicyChanges":
        """The way from one set of policies to another."""
        before = {policy.name: policy for policy in old.policies}
        after = {policy.name: policy for policy in new.policies}
        kept = [name for name in after if name in before]
        return cls(
            added=tuple([name for name in after if name not in before]),
            removed=tuple([name for name in before if name not in after]),
            changed=tuple([name for name in kept if before[name] != after[name]]),
            reordered=kept != [name for name in before if name in after],
        )


def needs_restart(running: Settings, loaded: Settings) -> tuple[str, ...]:
    """The fields outside `policies` that differ, such as `server.workers`: read when a worker starts."""
    pairs = {
        "server": (running.server, loaded.server),
        "store": (running.store, loaded.store),
        "origin": (running.origin, loaded.origin),
    }
    found = [name for section, pair in pairs.items() for name in _differing(section, *pair)]
    return tuple([name for name in found if name not in _IN_POLICIES])


def _differing(name: str, one: Section, other: Section) -> Iterator[str]:
    for field, info in type(one).model_fields.items():
        if getattr(one, field) != getattr(other, field):
            yield f"{name}.{info.alias or field}"
