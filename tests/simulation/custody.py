"""Who holds what, by what the store answered: an account that is held against the store and every sidecar."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sidecar.idempotency.claim import Claim, Claimed, ClaimResult, Expired, InFlight, Recorded
from sidecar.idempotency.record import Record
from tests.simulation.policies import Row
from tests.simulation.timeline import Timeline
from tests.simulation.violation import Violation


class Standing(Enum):
    """How an id stands in the store."""

    EXECUTING = "in flight"
    RELEASED = "released"
    UNKNOWN = "unknown"
    RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Note:
    """What is kept of a request to compare a takeover with, and whose it was."""

    fingerprint: bytes
    owner: str


@dataclass(slots=True)
class Holding:
    """What the store must know of an id, by the writes it acknowledged."""

    owner: str
    attempt: int
    lease_until: int
    kept_until: int
    gone_at: int
    standing: Standing = Standing.EXECUTING
    record: Record | None = None
    noted: Note | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A claim that was granted: the attempt, and when."""

    attempt: int
    at: int


class Custody:
    """The account of one schedule. It is told of every answer, whether or not the answer arrives."""

    def __init__(self, row: Row, timeline: Timeline) -> None:
        self.takeovers = 0
        self.grants: dict[str, Grant] = {}
        """By owner."""
        self.recorded: set[str] = set()
        """The owners whose record was kept, though it may have expired since."""
        self.is_undisturbed: Callable[[str], bool] = lambda _owner: False
        """Whether this owner lives and nothing keeps it from renewing its lease."""
        self.marked: set[str] = set()
        """The owners whose word that nobody knows was kept."""
        self._row = row
        self._timeline = timeline
        self._holdings: dict[str, Holding] = {}

    def claimed(self, wanted: Claim, result: ClaimResult) -> None:
        """The store has answered a claim, whether or not the answer arrives."""
        before, now = self.holding(wanted.id), self._timeline.now
        if isinstance(result, Claimed):
            self._check_grant(wanted, result, before)
            noted = _noted(before)
            if result.fingerprint != (None if noted is None else noted.fingerprint):
                raise Violation("G3", "a claim was granted with another fingerprint than the one noted")
            self.grants[wanted.owner] = Grant(result.attempt, now)
            until = now + wanted.ttl_ms
            holding = Holding(
                wanted.owner, result.attempt, now + wanted.lease_ms, until, until + wanted.tombstone_ms
            )
            holding.noted = noted
            self._holdings[wanted.id] = holding
        elif before is not None and before.standing is Standing.RECORDED:
            self._check_known(result, before)
        if before is not None and not isinstance(result, InFlight):
            self._check_lease(before)

    def _check_lease(self, before: Holding) -> None:
        """The lease of an exchange that lives never runs out, unless something stands in its way."""
        lapsed = before.standing is Standing.EXECUTING and before.lease_until <= self._timeline.now
        if lapsed and self.is_undisturbed(before.owner):
            raise Violation("leases", f"{before.owner} lives, and its lease has run out")

    def _check_known(self, result: ClaimResult, before: Holding) -> None:
        if before.kept_until <= self._timeline.now:
            if not isinstance(result, Expired):
                raise Violation("G1", f"an expired key was answered {type(result).__name__}")
        elif not isinstance(result, Recorded) or result.record != before.record:
            raise Violation("G2", f"a recorded key was answered {type(result).__name__}")

    def _check_grant(self, wanted: Claim, result: Claimed, before: Holding | None) -> None:
        if before is None:
            return
        if before.owner == wanted.owner and before.standing is Standing.EXECUTING:
            if result.attempt != before.attempt:
                raise Violation("G1", "a repeated claim changed its attempt")
            return
        if result.attempt <= before.attempt:
            raise Violation("G1", f"attempt {result.attempt} was granted after attempt {before.attempt}")
        if before.standing is Standing.RECORDED:
            raise Violation("invariant 1", "a recorded key was claimed")
        if before.standing is Standing.RELEASED:
            return
        if before.kept_until <= self._timeline.now:
            raise Violation("G1", "a key was executed again within its tombstone")
        if before.standing is Standing.EXECUTING and before.lease_until > self._timeline.now:
            raise Violation("invariant 1", f"{wanted.owner} was granted what {before.owner} holds")
        if not self._row.retries:
            raise Violation("G1", "an attempt whose outcome is unknown was followed by another")
        self.takeovers += 1

    def wrote(
        self,
        claim: Claim,
        standing: Standing,
        *,
        held: bool,
        record: Record | None = None,
        fingerprint: bytes | None = None,
        renews: bool = False,
    ) -> None:
        """The store has answered a write that leads to `standing`."""
        before, now = self.holding(claim.id), self._timeline.now
        if not held or (before is None and standing is Standing.RELEASED):
            return
        if before is None:  # put back: the store had forgotten it
            before = Holding(claim.owner, claim.attempt, now + claim.lease_ms, now, now)
            self._holdings[claim.id] = before
        else:
            _check_write(claim, before, standing, record)
            if before.standing is standing is not Standing.EXECUTING:
                return  # a repeated call writes nothing
        if standing is Standing.RECORDED:
            self.recorded.add(claim.owner)
        if fingerprint is not None:
            before.noted = Note(fingerprint, claim.owner)
        if standing is Standing.UNKNOWN:
            self.marked.add(claim.owner)
        if renews:
            before.lease_until = now + claim.lease_ms
        before.standing, before.record, before.kept_until = standing, record, now + claim.ttl_ms
        before.gone_at = before.kept_until + (0 if standing is Standing.RELEASED else claim.tombstone_ms)

    # --- What is known

    def holding(self, claim_id: str) -> Holding | None:
        """What the store must know of an id at this moment."""
        found = self._holdings.get(claim_id)
        return found if found is not None and found.gone_at > self._timeline.now else None


def _noted(before: Holding | None) -> Note | None:
    """What whoever claims the id next is to be told; a release leaves nothing to compare with."""
    return None if before is None or before.standing is Standing.RELEASED else before.noted


def _check_write(claim: Claim, before: Holding, standing: Standing, record: Record | None) -> None:
    """Whether this claim's owner may lead the id from how it stood to `standing`."""
    if before.owner != claim.owner:
        raise Violation("invariant 1", f"{claim.owner} wrote {standing.value} to what {before.owner} holds")
    if before.standing is Standing.RECORDED and (before.standing, before.record) != (standing, record):
        raise Violation("invariant 1", f"a record was overwritten with {standing.value}")
    if standing is Standing.EXECUTING is not before.standing:
        raise Violation("invariant 1", f"what is {before.standing.value} was put back in flight")
