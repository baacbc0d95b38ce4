"""The policies under test: one row each, and the configuration they make."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

LEASE_S = 1
"""The shortest a policy may have, so that pausing a process outlives it quickly."""

STORE_TIMEOUT = "500ms"


@dataclass(frozen=True, slots=True)
class PolicyUnderTest:
    """One policy: its name, the path prefix it is for, what its configuration says besides, what it allows.

    `takes_over` is true where an attempt whose outcome nobody knows may be followed by another
    (`unknown: retry`); everywhere else only an answer that releases the key allows one.
    """

    name: str
    settings: Mapping[str, object] = field(default_factory=dict, hash=False)
    takes_over: bool = False

    @property
    def prefix(self) -> str:
        """Where its requests go."""
        return f"/{self.name}"


_DETACHED: Mapping[str, object] = {"execution": "detached", "deadline": "10s"}
_WAITS: Mapping[str, object] = {"in_progress": {"action": "wait", "wait": "3s"}}

POLICIES = (
    PolicyUnderTest("hold"),
    PolicyUnderTest("retry", {"unknown": "retry"}, takes_over=True),
    PolicyUnderTest("wait", _WAITS),
    PolicyUnderTest("detached", _DETACHED),
    PolicyUnderTest("everything", {**_DETACHED, **_WAITS, "unknown": "retry"}, takes_over=True),
)


def configuration(policies: tuple[PolicyUnderTest, ...] = POLICIES) -> str:
    """The YAML of a sidecar with these policies."""
    document = {"store": {"timeout": STORE_TIMEOUT}, "policies": [_entry(policy) for policy in policies]}
    return yaml.safe_dump(document, sort_keys=False)


def _entry(policy: PolicyUnderTest) -> dict[str, object]:
    return {
        "name": policy.name,
        "match": {"methods": ["POST"], "paths": [f"{policy.prefix}/**"]},
        "key": {"required": True},
        "lease": f"{LEASE_S}s",
        "ttl": "1h",
        **policy.settings,
    }
