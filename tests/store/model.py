"""The store port as a table, written from its docstrings and sharing no line with any adapter."""

from dataclasses import dataclass

from sidecar.idempotency.claim import (
    Claim,
    Claimed,
    ClaimResult,
    Expired,
    InFlight,
    Recorded,
    Unknown,
    UnknownPolicy,
    UnknownReason,
)
from sidecar.idempotency.record import Record

WRITES, STANDS = "writes", "stands"

ALLOWED: dict[tuple[str, str], str] = {
    ("renew", "absent"): WRITES,
    ("renew", "in_flight"): WRITES,
    ("note_fingerprint", "absent"): WRITES,
    ("note_fingerprint", "in_flight"): WRITES,
    ("complete", "absent"): WRITES,
    ("complete", "in_flight"): WRITES,
    ("complete", "unknown"): WRITES,
    ("complete", "recorded"): STANDS,
    ("release", "absent"): STANDS,
    ("release", "in_flight"): WRITES,
    ("release", "released"): STANDS,
    ("mark_unknown", "absent"): WRITES,
    ("mark_unknown", "in_flight"): WRITES,
    ("mark_unknown", "unknown"): STANDS,
}
"""What the owner of the newest attempt may do, by operation and state; anything else is False."""


@dataclass
class Known:
    """What is known of one id. Times in milliseconds."""

    state: str = "absent"
    owner: str = ""
    attempt: int = 0
    lease_until: int = 0
    expires_at: int = 0
    gone_at: int = 0
    taken_over: bool = False
    fingerprint: bytes | None = None
    notes: bool = False
    reason: UnknownReason = UnknownReason.LEASE_EXPIRED
    record: Record | None = None


class Model:
    """A store of one line per rule; `now` is moved by the test."""

    def __init__(self) -> None:
        self.now = 0
        self._known: dict[str, Known] = {}

    def _look(self, id_: str) -> Known:
        known = self._known.setdefault(id_, Known())
        if known.gone_at <= self.now:
            known = self._known[id_] = Known()
        return known

    def state(self, id_: str) -> str:
        return self._look(id_).state

    def lapse(self, id_: str) -> None:
        """Let the lease run out, whatever the time."""
        self._look(id_).lease_until = self.now

    def outlive(self, id_: str) -> None:
        """Let the ttl end, whatever the time; what leaves no tombstone is gone."""
        known = self._look(id_)
        left_ms = known.gone_at - known.expires_at
        known.expires_at, known.gone_at = self.now, self.now + left_ms

    def lose(self, id_: str) -> None:
        """Forget the id, as a flush or a failover does."""
        self._known.pop(id_, None)

    def claim(self, wanted: Claim, policy: UnknownPolicy) -> ClaimResult:
        known = self._look(wanted.id)
        lease_left_ms = known.lease_until - self.now if known.state == "in_flight" else 0
        if lease_left_ms > 0 and known.owner != wanted.owner:
            return InFlight(lease_left_ms)
        if known.state != "absent" and lease_left_ms <= 0 and known.expires_at <= self.now:
            return Expired()
        if known.record is not None:
            return Recorded(known.record)
        in_doubt = known.state == "unknown" or (known.state == "in_flight" and lease_left_ms <= 0)
        comparable = known.notes or known.fingerprint is not None
        if in_doubt and (policy is UnknownPolicy.HOLD or not comparable):
            return Unknown(known.attempt, known.reason)
        known.notes = policy is UnknownPolicy.RETRY
        known.attempt += 0 if lease_left_ms > 0 else 1
        known.taken_over = known.taken_over or in_doubt
        known.state, known.owner, known.reason = "in_flight", wanted.owner, UnknownReason.LEASE_EXPIRED
        known.lease_until, known.expires_at = self.now + wanted.lease_ms, self.now + wanted.ttl_ms
        known.gone_at = known.expires_at + wanted.tombstone_ms
        return Claimed(known.attempt, known.fingerprint, known.taken_over)

    def _begin(self, operation: str, claim: Claim) -> tuple[bool, Known | None]:
        """The answer, and the entry to change where there is something to change."""
        known = self._look(claim.id)
        if known.state != "absent" and known.owner != claim.owner:
            return False, None
        if operation == "release" and known.taken_over:
            return False, None
        verdict = ALLOWED.get((operation, known.state))
        if verdict != WRITES:
            return verdict == STANDS, None
        if known.state == "absent":
            known.state, known.owner, known.attempt = "in_flight", claim.owner, claim.attempt
            known.lease_until = self.now + claim.lease_ms
        known.expires_at = self.now + claim.ttl_ms
        known.gone_at = known.expires_at + claim.tombstone_ms
        return True, known

    def renew(self, claim: Claim) -> bool:
        answer, known = self._begin("renew", claim)
        if known:
            known.lease_until = self.now + claim.lease_ms
        return answer

    def note_fingerprint(self, claim: Claim, fingerprint: bytes) -> bool:
        answer, known = self._begin("note_fingerprint", claim)
        if known:
            known.fingerprint = fingerprint
        return answer

    def complete(self, claim: Claim, record: Record) -> bool:
        answer, known = self._begin("complete", claim)
        if known:
            known.state, known.record = "recorded", record
        return answer

    def release(self, claim: Claim) -> bool:
        answer, known = self._begin("release", claim)
        if known:
            known.state, known.fingerprint = "released", None
            known.gone_at = known.expires_at
        return answer

    def mark_unknown(self, claim: Claim, reason: UnknownReason, fingerprint: bytes | None) -> bool:
        answer, known = self._begin("mark_unknown", claim)
        if known:
            known.state, known.reason = "unknown", reason
            known.fingerprint = fingerprint or known.fingerprint
        return answer
