"""A claim on a (scope, key), and every answer the store can give to one (DESIGN, "The store port")."""

from enum import StrEnum
from typing import TypeAlias

from sidecar.idempotency.record import Record
from sidecar.idempotency.value import Value


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
    EARLIER_ATTEMPT = "earlier-attempt"
    """This attempt did nothing, but the one it took over from may have."""
    DEADLINE = "deadline"
    """A detached execution was not answered within the policy's deadline."""


class Claim(Value):
    """A claim held, or asked for: the handle of every later store operation.

    Attributes:
        id: SHA-256 over scope and key, in hexadecimal; the raw key never reaches a store.
        owner: Token of this attempt's owner, unique per exchange; guards every write.
        attempt: 1 for the first execution, higher after a takeover; 0 while it is only asked for.
        lease_ms: How long the claim stands without being renewed, in milliseconds of store time.
        ttl_ms: How long the store keeps what it knows of the id, in milliseconds of store time.
        tombstone_ms: How long after `ttl_ms` the store still knows that the id was used, and refuses it.
    """

    id: str
    owner: str
    attempt: int
    lease_ms: int
    ttl_ms: int
    tombstone_ms: int = 0

    def granted(self, attempt: int) -> "Claim":
        """The claim as the store granted it, with its attempt."""
        return Claim(self.id, self.owner, attempt, self.lease_ms, self.ttl_ms, self.tombstone_ms)


class Claimed(Value):
    """The id is ours to execute.

    `taken_over`: an earlier attempt may have executed (`UnknownPolicy.RETRY`), so this one may never release
    the id. `fingerprint` is then that attempt's, where it is known: only the same payload may go on. It is
    None on a first attempt, after a release, and where no attempt was ever forwarded whole.
    `expires_ms`: until when at least the store will keep what becomes of it, in milliseconds since 1970, by
    the store's clock.
    """

    attempt: int
    fingerprint: bytes | None = None
    taken_over: bool = False
    expires_ms: int = 0


class InFlight(Value):
    """Somebody else is executing it; their lease has `lease_left_ms` milliseconds left."""

    lease_left_ms: int


class Recorded(Value):
    """It was executed; this is what came of it. `expires_ms`: until when it is kept, as for `Claimed`."""

    record: Record
    expires_ms: int = 0


class Unknown(Value):
    """Attempt `attempt` may have executed, nobody can say; `reason` tells why."""

    attempt: int
    reason: UnknownReason


class Expired(Value):
    """It was used, its `ttl` has passed, and its tombstone still stands."""


ClaimResult: TypeAlias = Claimed | InFlight | Recorded | Unknown | Expired
