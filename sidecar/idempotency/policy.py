"""A policy: which requests are protected, and how. Compiled once from the configuration (CONTRACT §3)."""

from dataclasses import dataclass, field
from enum import StrEnum

from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.outcome import OutcomeRules
from sidecar.idempotency.paths import normalise
from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.request import ALWAYS_READ
from sidecar.idempotency.scope import ScopePart
from sidecar.idempotency.selection import Selection


class Mode(StrEnum):
    """What a policy does with the requests it matches."""

    ENFORCE = "enforce"
    """Protects."""
    SHADOW = "shadow"
    """Observes and counts what `enforce` would do, and changes nothing."""
    OFF = "off"
    """Lets them pass, whatever policies follow."""


_OFF = Mode.OFF  # what every request is compared with is not looked up on its class (see exchange.states)


class KeyFormat(StrEnum):
    """Which syntaxes of a key are accepted (see `key.py`)."""

    LENIENT = "lenient"
    STRICT = "strict"


class KeyPlace(StrEnum):
    """Where the key of a request stands."""

    HEADER = "header"
    QUERY = "query"
    JSON = "json"
    """In its body, at a JSON Pointer."""
    DERIVED = "derived"
    """Nowhere: it is made of what the fingerprint takes, so that equal requests have equal keys."""


PLACES_IN_BODY = frozenset({KeyPlace.JSON, KeyPlace.DERIVED})
"""Where the whole body has to be read before the key is known."""


class BodyMode(StrEnum):
    """How a request body enters the fingerprint."""

    RAW = "raw"
    """Byte by byte."""
    JSON = "json"
    """By its meaning (RFC 8785), where its content-type is one of JSON; otherwise byte by byte."""
    FORM = "form"
    """The fields of a form in any order, where its content-type says that it is one; otherwise as `raw`."""
    NONE = "none"
    """Not at all."""


@dataclass(frozen=True, slots=True)
class Match:
    """The requests a policy is for; an empty part matches everything."""

    methods: frozenset[str] = frozenset()
    hosts: tuple[HostPattern, ...] = ()
    paths: tuple[PathPattern, ...] = ()
    route: str | None = None
    """The name of an Envoy route."""

    def matches(self, method: str, authority: str, path: str, route: str = "") -> bool:
        """Whether a request of this method, authority and path (without its query) is meant.

        Methods are case-sensitive (RFC 9110 §9.1), but many services take `patch` for PATCH, and browsers
        send it so: a policy for PATCH is for both. `path` is normalised (`paths.normalise`); `route` names
        the one it takes.
        """
        return (
            (self.route is None or self.route == route)
            and (not self.methods or method in self.methods or method.upper() in self.methods)
            and (not self.hosts or any(host.matches(authority) for host in self.hosts))
            and (not self.paths or any(pattern.matches(path) for pattern in self.paths))
        )


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where the key stands and what it may look like.

    `name` is that of the header, lower-case, or of the query's parameter, `pointer` the place in a JSON body.
    `format` is for a header alone: elsewhere a key is the text itself. `max_length` in characters.
    """

    name: str = "idempotency-key"
    place: KeyPlace = KeyPlace.HEADER
    pointer: Pointer = Pointer("", ())  # noqa: RUF009 (frozen: safe to share)
    required: bool = False
    format: KeyFormat = KeyFormat.LENIENT
    max_length: int = 255


@dataclass(frozen=True, slots=True)
class FingerprintSpec:
    """What makes two requests the same.

    `headers` are lower-case names. `omit` is left out of a JSON body. Without `query_order` the parameters of
    the query count in any order.
    """

    body: BodyMode = BodyMode.RAW
    omit: tuple[Pointer, ...] = ()
    query: bool = True
    query_order: bool = True
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
    advertise: bool = False
    """Answers tell how long the key is remembered, and where that is documented."""
    needs: frozenset[str] = field(init=False, repr=False, compare=False)
    """What Envoy has to tell of the caller beside the request's head (`ScopePart.source`)."""

    def __post_init__(self) -> None:
        """Find once what its scope is read from."""
        sources = frozenset([part.source for part in self.scope if part.source])
        object.__setattr__(self, "needs", sources)


@dataclass(frozen=True, slots=True)
class Policies:
    """An ordered set of policies: the first that matches a request is the one that counts."""

    policies: tuple[Policy, ...]
    reads: frozenset[str] | None = field(init=False, repr=False, compare=False)
    """The names of the request's header fields that can make a difference; None where all of them can."""
    needs: frozenset[str] = field(init=False, repr=False, compare=False)
    """What one of them at least needs to be told of callers (`Policy.needs`); one that is off, nothing."""
    _selection: Selection = field(init=False, repr=False, compare=False)
    _by_name: dict[str, "Policies"] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Index them once, by what they are for and by name; and find what they read."""
        object.__setattr__(self, "reads", _reads(self.policies))
        needs = [policy.needs for policy in self.policies if policy.mode is not _OFF]
        object.__setattr__(self, "needs", frozenset().union(*needs))
        wanted = [(policy.match.route, policy.match.hosts, policy.match.paths) for policy in self.policies]
        object.__setattr__(self, "_selection", Selection(wanted))
        by_name: dict[str, tuple[Policy, ...]] = {}
        for policy in self.policies:
            by_name[policy.name] = (*by_name.get(policy.name, ()), policy)
        # Where there is one name alone it stands for this very set: else making the sets would never end.
        alone = {name: self if len(by_name) == 1 else Policies(named) for name, named in by_name.items()}
        object.__setattr__(self, "_by_name", alone)

    def select(self, method: str, authority: str, path: str, route: str = "") -> Policy | None:
        """The policy for a request, or None where nothing (or a policy switched `off`) matches.

        `path` is without its query; `route` names the Envoy route that the request takes.
        """
        path = normalise(path)
        for place in self._selection.candidates(authority, path, route):
            policy = self.policies[place]
            if policy.match.matches(method, authority, path, route):
                return None if policy.mode is _OFF else policy
        return None

    def named(self, name: str) -> "Policies | None":
        """The one policy that a route asks for by name, alone; None where there is none of that name.

        Its `match` still has to hold: a route may carry requests that the policy is not for.
        """
        return self._by_name.get(name)


def _reads(policies: tuple[Policy, ...]) -> frozenset[str] | None:
    """What one of them at least reads of a request's head. A detached call is sent with all of it."""
    if any(policy.execution is Execution.DETACHED for policy in policies):
        return None
    names = set(ALWAYS_READ)
    for policy in policies:
        if policy.key.place is KeyPlace.HEADER:
            names.add(policy.key.name)
        names.update(part.name for part in policy.scope if part.kind == "header")
        names.update(policy.fingerprint.headers)
    return frozenset(names)
