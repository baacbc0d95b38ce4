"""A policy: which requests are protected, and how. Compiled once from the configuration (CONTRACT §3)."""

from dataclasses import dataclass
from enum import StrEnum

from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.outcome import OutcomeRules
from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.scope import ScopePart


class Mode(StrEnum):
    """What a policy does with the requests it matches."""

    ENFORCE = "enforce"
    OFF = "off"


class KeyFormat(StrEnum):
    """Which syntaxes of a key are accepted (see `key.py`)."""

    LENIENT = "lenient"
    STRICT = "strict"


class BodyMode(StrEnum):
    """How a request body enters the fingerprint."""

    RAW = "raw"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Match:
    """The requests a policy is for; an empty part matches everything."""

    methods: frozenset[str] = frozenset()
    hosts: tuple[HostPattern, ...] = ()
    paths: tuple[PathPattern, ...] = ()

    def matches(self, method: str, authority: str, path: str) -> bool:
        """Whether a request of this method, authority and path (without its query) is meant."""
        return (
            (not self.methods or method in self.methods)
            and (not self.hosts or any(host.matches(authority) for host in self.hosts))
            and (not self.paths or any(pattern.matches(path) for pattern in self.paths))
        )


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the key stands and what it may look like. `header` is lower-case; `max_length` in characters."""

    header: str = "idempotency-key"
    required: bool = False
    format: KeyFormat = KeyFormat.LENIENT
    max_length: int = 255


@dataclass(frozen=True, slots=True)
class FingerprintSpec:
    """What makes two requests the same. `headers` are lower-case names."""

    body: BodyMode = BodyMode.RAW
    query: bool = True
    headers: tuple[str, ...] = ("content-type",)


class Execution(StrEnum):
    """Who makes the call (CONTRACT §6)."""

    INLINE = "inline"
    """Envoy; when the client goes away it cancels the call."""
    DETACHED = "detached"
    """The sidecar, through the origin; the client may go away."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """What happens to a duplicate while the first request runs.

    `wait_ms` milliseconds it waits for the record, 0 being not at all; then it is refused with `status` and
    `retry_after_s`, in whole seconds.
    """

    status: int = 409
    retry_after_s: int = 1
    wait_ms: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, with the defaults of CONTRACT §3. Times in milliseconds, sizes in bytes."""

    name: str
    match: Match = Match(methods=frozenset({"POST", "PATCH"}))
    mode: Mode = Mode.ENFORCE
    key: KeySource = KeySource()
    scope: tuple[ScopePart, ...] = (
        ScopePart.header("authorization"),
        ScopePart.HOST,
        ScopePart.METHOD,
        ScopePart.PATH,
    )
    fingerprint: FingerprintSpec = FingerprintSpec()
    in_progress: InProgress = InProgress()
    lease_ms: int = 30_000
    ttl_ms: int = 86_400_000
    unknown: UnknownPolicy = UnknownPolicy.HOLD
    outcomes: OutcomeRules = OutcomeRules()  # noqa: RUF009 (frozen: safe to share)
    tombstone_ms: int = 0
    execution: Execution = Execution.INLINE
    deadline_ms: int = 60_000
    """How long a detached execution may take."""
    bypass_when_unavailable: bool = False
    """`on_unavailable: bypass`: forward unprotected rather than refuse when the store is down."""
    max_request_body: int = 10_485_760
    max_response_body: int = 1_048_576
    exclude_response_headers: frozenset[str] = frozenset({"set-cookie"})
    docs_url: str | None = None


@dataclass(frozen=True, slots=True)
class Policies:
    """An ordered set of policies: the first that matches a request is the one that counts."""

    policies: tuple[Policy, ...]

    def select(self, method: str, authority: str, path: str) -> Policy | None:
        """The policy for a request, or None where nothing (or a policy switched `off`) matches."""
        for policy in self.policies:
            if policy.match.matches(method, authority, path):
                return policy if policy.mode is Mode.ENFORCE else None
        return None
