"""The policies under simulation: one row each, with what the contract says of it.

`released` and `unknown` repeat CONTRACT §5 for the statuses that the scripted upstream answers with; they are
written out here, and not asked of the product, because they judge it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.outcome import Outcome, OutcomeRules
from sidecar.idempotency.policy import BodyMode, Execution, FingerprintSpec, InProgress, Policies, Policy

STATUSES = (201, 201, 201, 201, 204, 402, 500, 502, 503, 429)
"""What the upstream answers with."""
CALL_STATUSES: Mapping[int, int] = {201: 0, 204: 5, 402: 9, 500: 3, 502: 13, 503: 14, 429: 8}
"""And what it ends a gRPC call with instead; 13 is INTERNAL, 14 UNAVAILABLE, 8 RESOURCE_EXHAUSTED."""
CALLS_RELEASED = frozenset({"grpc:14", "grpc:8"})
CALLS_UNKNOWN = frozenset({"grpc:13", "grpc:2"})
LEASE_MS = 300
TTL_MS = 600_000
SHORT_TTL_MS = 1_500
TOMBSTONE_MS = 3_000
LARGEST_RECORD = 64
LARGEST_HELD_REQUEST = 8
DEADLINE_MS = 250
_RETRY = UnknownPolicy.RETRY
_BY_MEANING = FingerprintSpec(BodyMode.FORM)
_WAIT = InProgress(wait_ms=400)


@dataclass(frozen=True, slots=True)
class Row:
    """A policy, and which of the upstream's own answers let a retry execute, or leave the outcome open."""

    policy: Policy
    released: frozenset[int | str] = frozenset({503, 429}) | CALLS_RELEASED
    unknown: frozenset[int | str] = frozenset({502}) | CALLS_UNKNOWN

    @property
    def remembered_ms(self) -> int:
        """How long after its last write an id that was used is not executed again."""
        return self.policy.ttl_ms + self.policy.tombstone_ms

    @property
    def retries(self) -> bool:
        """Whether an attempt whose outcome nobody knows may be followed by another."""
        return self.policy.unknown is UnknownPolicy.RETRY

    def records(self, status: int | str) -> bool:
        """Whether the upstream's answer with this status, of a gRPC call `grpc:` and its number, is kept."""
        return status not in self.released and status not in self.unknown

    def snapshot(self) -> Policies:
        """The configuration the sidecars run with."""
        return Policies((self.policy,))


def _policy(**changes: object) -> Policy:
    settings: dict[str, object] = {
        "lease_ms": LEASE_MS,
        "ttl_ms": TTL_MS,
        "max_response_body": LARGEST_RECORD,
        "max_request_body": LARGEST_HELD_REQUEST,
        "deadline_ms": DEADLINE_MS,
        **changes,
    }
    return Policy("simulated", **settings)  # type: ignore[arg-type] # a row names fields, each of its own type


ROWS: Mapping[str, Row] = {
    "hold": Row(_policy()),
    "bypass": Row(_policy(bypass_when_unavailable=True)),
    "failures released": Row(
        _policy(outcomes=OutcomeRules({"5xx": Outcome.RELEASE})),
        released=frozenset({429, 500, 502, 503}) | CALLS_RELEASED,
        unknown=CALLS_UNKNOWN,
    ),
    "everything kept": Row(
        _policy(
            outcomes=OutcomeRules(
                dict.fromkeys(("5xx", "429", "grpc:UNAVAILABLE", "grpc:INTERNAL"), Outcome.RECORD)
            )
        ),
        released=frozenset({"grpc:8"}),
        unknown=frozenset({"grpc:2"}),
    ),
    "short ttl": Row(_policy(ttl_ms=SHORT_TTL_MS)),
    "tombstone": Row(_policy(ttl_ms=SHORT_TTL_MS, tombstone_ms=TOMBSTONE_MS)),
    "retry": Row(_policy(unknown=_RETRY)),
    "retry, tombstone": Row(
        _policy(unknown=_RETRY, ttl_ms=SHORT_TTL_MS, tombstone_ms=TOMBSTONE_MS),
    ),
    "by meaning": Row(_policy(fingerprint=_BY_MEANING, max_request_body=1_000)),
    "by meaning, retry": Row(_policy(fingerprint=_BY_MEANING, max_request_body=1_000, unknown=_RETRY)),
    "wait": Row(_policy(in_progress=_WAIT)),
    "bypass, wait": Row(_policy(bypass_when_unavailable=True, in_progress=_WAIT)),
    "retry, wait": Row(_policy(unknown=_RETRY, in_progress=_WAIT)),
    "detached": Row(_policy(execution=Execution.DETACHED)),
    "detached, retry": Row(_policy(execution=Execution.DETACHED, unknown=_RETRY)),
    "detached, wait": Row(_policy(execution=Execution.DETACHED, in_progress=_WAIT)),
}
