"""How an exchange ended, and what that means for the key (CONTRACT §5)."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from sidecar.idempotency.grpc import GrpcStatus
from sidecar.idempotency.value import Value


class Outcome(StrEnum):
    """What happens to a claim when its exchange ends."""

    RECORD = "record"
    """Kept, and replayed to duplicates."""
    RELEASE = "release"
    """The claim is dropped; a retry executes."""
    UNKNOWN = "unknown"
    """Nobody can say whether it executed."""


_RECORD = Outcome.RECORD

_BY_STATUS: Mapping[int, Outcome] = {
    408: Outcome.RELEASE,
    425: Outcome.RELEASE,
    429: Outcome.RELEASE,
    502: Outcome.UNKNOWN,
    503: Outcome.RELEASE,
    504: Outcome.UNKNOWN,
}

_BY_GRPC_STATUS: Mapping[GrpcStatus, Outcome] = {
    GrpcStatus.RESOURCE_EXHAUSTED: Outcome.RELEASE,
    GrpcStatus.UNAVAILABLE: Outcome.RELEASE,
    GrpcStatus.CANCELLED: Outcome.UNKNOWN,
    GrpcStatus.UNKNOWN: Outcome.UNKNOWN,
    GrpcStatus.DEADLINE_EXCEEDED: Outcome.UNKNOWN,
    GrpcStatus.ABORTED: Outcome.UNKNOWN,
    GrpcStatus.INTERNAL: Outcome.UNKNOWN,
    GrpcStatus.DATA_LOSS: Outcome.UNKNOWN,
}


class OutcomeRules(Value):
    """The table for the upstream's own answers, with a policy's overrides.

    `overrides` has a status ("503"), a class ("5xx") or a gRPC status ("grpc:UNAVAILABLE") as its key; the
    status wins over the class, and each over the table.
    """

    overrides: Mapping[str, Outcome] = msgspec.field(default_factory=dict)

    def of_status(self, status: int) -> Outcome:
        """What an answer with this status means."""
        override: Outcome | None = None
        if self.overrides:
            override = self.overrides.get(str(status)) or self.overrides.get(f"{status // 100}xx")
        return override or _BY_STATUS.get(status, _RECORD)

    def of_call(self, status: GrpcStatus) -> Outcome:
        """What a gRPC call that ends with this status means."""
        return self.overrides.get(f"grpc:{status.name}") or _BY_GRPC_STATUS.get(status, Outcome.RECORD)


class Origin(Value):
    """What Envoy says of where a response came from (its attributes; all None where it says nothing).

    Attributes:
        details: `response.code_details`: `via_upstream`, or why Envoy answered itself.
        flags: `response.flags`, the bit set of the access log's response flags.
        address: `upstream.address`, the host that was chosen.
        attempts: `upstream.request_attempt_count`: how often the router tried.
    """

    details: str | None = None
    flags: int | None = None
    address: str | None = None
    attempts: int | None = None


VIA_UPSTREAM = Origin(details="via_upstream")
"""The upstream's own answer; what else Envoy says of it does not count."""

_NO_HEALTHY_UPSTREAM = 1 << 1  # UH
_CONNECTION_FAILURE = 1 << 5  # UF
_OVERFLOW = 1 << 7  # UO
_NO_ROUTE = 1 << 8  # NR
_NO_CLUSTER = 1 << 24  # NC
_NEVER_SENT = _NO_HEALTHY_UPSTREAM | _CONNECTION_FAILURE | _OVERFLOW | _NO_ROUTE | _NO_CLUSTER
_REQUEST_TIMEOUT = 1 << 2  # UT
_LOCAL_RESET = 1 << 3  # LR
_REMOTE_RESET = 1 << 4  # UR
_CONNECTION_TERMINATION = 1 << 6  # UC
_MAY_HAVE_BEEN_SENT = _REQUEST_TIMEOUT | _LOCAL_RESET | _REMOTE_RESET | _CONNECTION_TERMINATION


class Verdict(Value):
    """An outcome and, for metrics and logs, the reason.

    As `judge` and `judge_call` give it: `status`, `status-only`, `grpc-status`, `envoy-never-sent`,
    `envoy-may-have-sent`.
    """

    outcome: Outcome
    reason: str


def judge(status: int, origin: Origin, rules: OutcomeRules) -> Verdict:
    """What a response means: the upstream's own by its status, Envoy's own by whether the request was sent.

    Envoy's reply counts as never sent where the router never tried (a filter behind this one answered), or
    with one of the flags UH, UF, UO, NR, NC and at most one attempt: after a second attempt nobody knows what
    became of the first. A flag of a request under way outweighs those: an attempt that was sent, lost, and
    not repeated because too many were being repeated at that moment, has UO beside UC, and is one attempt.
    What is not told counts as the worst that it may be. An Envoy that tells nothing about its responses
    cannot be told from an upstream; then every 5xx is unknown.
    """
    if origin.details == VIA_UPSTREAM.details:
        return Verdict(rules.of_status(status), "status")
    if not is_envoys_own(origin):
        return Verdict(Outcome.UNKNOWN if status >= 500 else rules.of_status(status), "status-only")
    return _judge_envoys_own(origin)


def judge_call(status: GrpcStatus, origin: Origin, rules: OutcomeRules) -> Verdict:
    """What the end of a gRPC call means: as `judge`, by the status of the call.

    UNAVAILABLE is what Envoy makes of its own 502, 503 and 504 on a gRPC call: where it does not say whose
    the response is, nobody knows whether that call was sent.
    """
    if origin.details == VIA_UPSTREAM.details:
        return Verdict(rules.of_call(status), "grpc-status")
    if not is_envoys_own(origin):
        nameless = status is GrpcStatus.UNAVAILABLE
        return Verdict(Outcome.UNKNOWN if nameless else rules.of_call(status), "status-only")
    return _judge_envoys_own(origin)


def is_envoys_own(origin: Origin) -> bool:
    """Whether Envoy says that it answered in the upstream's place."""
    told = origin.details is not None or bool(origin.flags)
    return told and origin.details != VIA_UPSTREAM.details


def _judge_envoys_own(origin: Origin) -> Verdict:
    flags, attempts = origin.flags, origin.attempts
    if flags is not None and not flags & _MAY_HAVE_BEEN_SENT:
        untried = not attempts and not origin.address
        if untried or (flags & _NEVER_SENT and attempts is not None and attempts <= 1):
            return Verdict(Outcome.RELEASE, "envoy-never-sent")
    return Verdict(Outcome.UNKNOWN, "envoy-may-have-sent")
