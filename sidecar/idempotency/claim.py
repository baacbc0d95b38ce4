"""A claim on a (scope, key), and every answer the store can give to one (DESIGN, "The store port")."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from sidecar.idempotency.record import Record


class UnknownPolicy(StrEnum):
    """What a claim may do with an earlier attempt whose outcome nobody knows."""

    HOLD = "hold"
    """Refuse it until an operator resolves the key or `ttl` passes."""
    RETRY = "retry"
    """Take over, with a higher attempt."""


class UnknownReason(StrEnum):
    """Why the outcome of an attempt is unknown; stored with the attempt, shown to operators."""

    LEASE_EXPIRED = "lease-expired"
    """The owner stopped renewing: its worker died or was cut off. Never written, read off the lease."""
    LOST_BEFORE_RESPONSE = "lost-before-response"
    """Client or upstream went away after the request was forwarded, before an answer came."""
    LOST_MID_RESPONSE = "lost-mid-response"
    """The response stopped short of its end."""
    UPSTREAM_STATUS = "upstream-status"
    """The upstream's own answer, of a status that the policy counts as unknown (502, 504)."""
    ENVOY_REPLY = "envoy-reply"
    """Envoy answered itself after the request may have been sent."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim held, or asked for: the handle of every later store operation.

    Attributes:
        id: SHA-256 over scope and key, in hexadecimal; the raw key never reaches a store.
        owner: Token of this attempt's owner, unique per exchange; guards every write.
        attempt: 1 for the first execution, higher after a takeover; 0 while it is only asked for.
        lease_ms: How long the claim stands without being renewed, in milliseconds of store time.
        ttl_ms: How long the store keeps what it knows of the id, in milliseconds of store time.
    """

    id: str
    owner: str
    attempt: int
    lease_ms: int
    ttl_ms: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The id is ours to execute.

    `fingerprint` is that of the attempt taken over (`UnknownPolicy.RETRY`), where it is known: only the
    same payload may go on. None on a first attempt and after a release.
    """

    attempt: int
    fingerprint: bytes | None = None


@dataclass(frozen=True, slots=True)
class InFlight:
    """Somebody else is executing it; their lease has `lease_left_ms` milliseconds left."""

    lease_left_ms: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """It was executed; this is what came of it."""

    record: Record


@dataclass(frozen=True, slots=True)
class Unknown:
    """Attempt `attempt` may have executed, nobody can say; `reason` tells why."""

    attempt: int
    reason: UnknownReason


ClaimResult: TypeAlias = Claimed | InFlight | Recorded | Unknown
