"""Which policy a request would meet, and what the policy would make of it: `check --explain`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from sidecar.config.errors import quoted
from sidecar.config.quantities import format_duration
from sidecar.idempotency import paths
from sidecar.idempotency.context import Context
from sidecar.idempotency.fields import values
from sidecar.idempotency.key_places import key_in_head
from sidecar.idempotency.policy import BodyMode, FingerprintSpec, KeyPlace, KeySource, Mode, Policies, Policy
from sidecar.idempotency.problem import Problem
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import ScopePart

REQUEST_FORM = "a method and a URL, such as 'POST https://api.example.com/v1/payments?x=1'"
HEADER_FORM = "a name, a colon and a value, such as 'Idempotency-Key: 8e03978e'"


@dataclass(frozen=True, slots=True)
class Considered:
    """A policy that was tried, in order, and why it does not apply; nothing in `because`: it does."""

    policy: str
    because: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happens to a request.

    Attributes:
        request: The request as Envoy and the sidecar see it.
        considered: Every policy up to the one that applies.
        policy: The one that applies; None where none does.
        verdict: What happens to this request, in one sentence.
        key: Where the key stands.
        scope: What it is combined with, each part with what this request has there.
        fingerprint: What makes another request the same.
        without_key: What happens to a request without one.
    """

    request: str
    considered: tuple[Considered, ...]
    policy: str | None
    verdict: str
    key: str = ""
    scope: tuple[str, ...] = ()
    fingerprint: tuple[str, ...] = ()
    without_key: str = ""


def read_request(text: str, headers: Sequence[str], route: str) -> Request:
    """The request that `--explain`, `--header` and `--route` describe; its path as Envoy normalises it.

    Raises:
        ValueError: It is none; says what is allowed.
    """
    method, _, url = text.strip().partition(" ")
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not method or " " in url.strip() or not text.isascii() or not text.isprintable():
        raise ValueError(f"{quoted(text)} is not a request; allowed: {REQUEST_FORM}")
    path = paths.normalise(parts.path or "/")
    target = f"{path}?{parts.query}" if "?" in url else path
    authority = parts.netloc.rpartition("@")[2]
    fields = tuple(map(_field, headers))
    return Request.from_target(method, authority, target, fields, "", Context(route=route))


def _field(text: str) -> tuple[str, bytes]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise ValueError(f"--header {quoted(text)} is not a header; allowed: {HEADER_FORM}")
    return name.strip().lower(), value.strip().encode()


def explain(policies: Policies, request: Request) -> Explanation:
    """What these policies make of a request."""
    tried: list[Considered] = []
    for policy in policies.policies:
        tried.append(Considered(policy.name, tuple(_against(policy, request))))
        if not tried[-1].because:
            return _applied(policy, request, tuple(tried))
    return Explanation(_shown(request), tuple(tried), None, "passes untouched: no policy is for it")


def _shown(request: Request) -> str:
    query = "" if request.query is None else f"?{request.query}"
    route = f" on the route {quoted(request.context.route)}" if request.context.route else ""
    return f"{request.method} {request.authority}{request.path}{query}{route}"


def _against(policy: Policy, request: Request) -> Iterator[str]:
    """The parts of its `match` that the request does not meet."""
    match, route = policy.match, request.context.route
    if match.route is not None and match.route != route:
        yield f"route is {quoted(route) if route else 'not known'}, not {quoted(match.route)}"
    if match.methods and request.method not in match.methods:
        yield f"method is {request.method}, not {_or(sorted(match.methods))}"
    if match.hosts and not any(host.matches(request.authority) for host in match.hosts):
        yield f"host is {request.authority}, not {_or([host.host for host in match.hosts])}"
    if match.paths and not any(pattern.matches(request.path) for pattern in match.paths):
        yield f"path is {request.path}, not {_or([pattern.glob for pattern in match.paths])}"


def _or(words: Sequence[str]) -> str:
    return " or ".join(words)


def _applied(policy: Policy, request: Request, tried: tuple[Considered, ...]) -> Explanation:
    if policy.mode is Mode.OFF:
        return Explanation(_shown(request), tried, policy.name, f"passes untouched: {policy.name} is off")
    return Explanation(
        _shown(request),
        tried,
        policy.name,
        _verdict(policy, request),
        _place(policy),
        tuple(_part(part, request) for part in policy.scope),
        tuple(_counts(policy.fingerprint)),
        _without(policy.key),
    )


def _verdict(policy: Policy, request: Request) -> str:
    said = _protection(policy, request)
    if policy.mode is Mode.SHADOW:
        return f"passes untouched, watched: with enforce, it {said}"
    return said


def _protection(policy: Policy, request: Request) -> str:
    if policy.key.place is KeyPlace.DERIVED:
        return "is protected, whatever it is: its key is made of it"
    if policy.key.place is KeyPlace.JSON:
        return "is protected if its body has a key"
    try:
        key = key_in_head(request, policy.key)
    except Problem as problem:
        return f"is refused with {problem.status} {problem.type}: {problem.detail}"
    if key is None:
        return "passes untouched: it has no key, and none is required"
    return f"is protected: it has a key, of length {len(key)}"


def _place(policy: Policy) -> str:
    key = policy.key
    bounds = f"at most {key.max_length} characters"
    if key.place is KeyPlace.HEADER:
        return f"header {key.name}, {key.format}, {bounds}"
    if key.place is KeyPlace.QUERY:
        return f"query parameter {key.name}, {bounds}"
    if key.place is KeyPlace.JSON:
        return f"member {key.pointer.text} of a JSON body, {bounds}"
    return f"derived from what the fingerprint takes, for {format_duration(policy.ttl_ms)}"


def _part(part: ScopePart, request: Request) -> str:
    """A part of the scope. What identifies the caller is not shown, only whether it is there."""
    if part.kind == "header":
        found = values(request.headers, part.name)
        return f"header:{part.name} ({'given' if found else 'absent, which is a scope of its own'})"
    shown = {"host": request.authority.lower(), "method": request.method, "path": request.path}
    if part.kind in shown:
        return f"{part.kind} ({shown[part.kind]})"
    name = f":{part.name}" if part.name else ""
    return f"{part.kind}{name} (known to Envoy alone)"


def _counts(spec: FingerprintSpec) -> Iterator[str]:
    yield "method and path"
    if spec.query:
        yield "query" if spec.query_order else "query, its parameters in any order"
    yield from (f"header {name}" for name in spec.headers)
    if spec.body is not BodyMode.NONE:
        omitted = f", without {' and '.join(pointer.text for pointer in spec.omit)}" if spec.omit else ""
        yield f"body ({_BODIES[spec.body]}{omitted})"


_BODIES = {
    BodyMode.RAW: "byte by byte",
    BodyMode.JSON: "what its JSON means",
    BodyMode.FORM: "the fields of a form in any order",
}


def _without(key: KeySource) -> str:
    if key.place is KeyPlace.DERIVED:
        return "cannot be: every request has one"
    return "refused with 400 key-missing" if key.required else "passes untouched"
