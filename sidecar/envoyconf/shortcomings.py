"""What a policy asks for that an older Envoy cannot do (docs/compatibility.md)."""

from dataclasses import dataclass

from sidecar.envoyconf.version import EnvoyVersion
from sidecar.idempotency.policy import Mode, Policy

_STREAMED_ONLY = "an answer to HEAD, with trailers, with a body without content-type, or the reverse"


@dataclass(frozen=True, slots=True)
class Shortcoming:
    """What does not work.

    Attributes:
        message: What it is, and what happens instead.
        allowed: What would work.
        defeats: The policy is of no use there: none of its answers is ever replayed.
    """

    message: str
    allowed: str
    defeats: bool


def shortcoming(policy: Policy, version: EnvoyVersion) -> Shortcoming | None:
    """What this Envoy cannot do for this policy; None where it does all of it."""
    if policy.mode is Mode.OFF or version.streams_replies:
        return None
    replaying = next(each for each in EnvoyVersion.SUPPORTED if each.streams_replies)
    allowed = f"an Envoy {replaying} or newer, or a policy without them"
    if any(name.startswith("grpc:") for name in policy.outcomes.overrides):
        lost, defeats = "gRPC calls", True
    elif policy.match.methods == {"HEAD"}:
        lost, defeats = "answers to HEAD", True
    else:
        lost, defeats = f"gRPC calls, and responses that are {_STREAMED_ONLY}", False
    return Shortcoming(
        f"Envoy {version} cannot replay {lost}: a retry gets response-not-stored", allowed, defeats
    )
