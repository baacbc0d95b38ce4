"""What the policies of an operation add to its description: the key, and the answers of CONTRACT §4."""

from collections.abc import Iterator, Mapping, Sequence

from sidecar.idempotency import problem as problems
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.policy import PLACES_IN_BODY, BodyMode, Execution, KeyFormat, KeyPlace, Policy
from sidecar.openapi.covering import Coverage
from sidecar.openapi.specification import Object

SCHEMA = "IdempotencyProblem"
"""The name of the schema of every answer, among the components."""
_QUOTES = 2
_MEANINGS: Mapping[type[problems.Problem], str] = {
    problems.KeyMissing: "no key was given",
    problems.KeyInvalid: "the key is malformed, too long or given twice",
    problems.BodyInvalid: "the body cannot be read",
    problems.InProgress: "the first request with this key is still running",
    problems.OutcomeUnknown: "nobody knows whether an earlier request with this key was executed",
    problems.ResponseNotStored: "an earlier request with this key was executed, its response was not kept",
    problems.KeyExpired: "the key was used too long ago",
    problems.BodyTooLarge: "the body is too large to be held",
    problems.KeyReused: "the key was used before with another request",
    problems.StoreUnavailable: "nobody can tell now whether the key was used",
    problems.OriginUnavailable: "the service cannot be reached",
}
_RETRIED_LATER = (problems.InProgress, problems.StoreUnavailable, problems.OriginUnavailable)


def problem_schema() -> Object:
    """The problem document (RFC 9457) of the answers."""
    text = {"type": "string"}
    types = sorted(f"urn:idempotency:{each.type}" for each in _MEANINGS)
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail"],
        "properties": {
            "type": {"type": "string", "enum": types},
            "title": dict(text),
            "status": {"type": "integer"},
            "detail": dict(text),
            "instance": {"type": "string", "description": "The request's id."},
            "original_status": {
                "type": "integer",
                "description": "What the first request was answered with.",
            },
        },
    }


def parameters(coverage: Coverage) -> dict[tuple[str, str], Object]:
    """The keys in headers and queries, by place and name (a header's in lower case).

    One is required where each request meets a policy that requires just it.
    """
    found: dict[tuple[str, str], list[Policy]] = {}
    for policy in coverage.policies:
        if policy.key.place in {KeyPlace.HEADER, KeyPlace.QUERY}:
            found.setdefault((policy.key.place.value, policy.key.name), []).append(policy)
    return {
        key: _parameter(policies, required=coverage.certain and len(policies) == len(coverage.policies))
        for key, policies in found.items()
    }


def answers(policies: Sequence[Policy]) -> dict[str, Object]:
    """The answers by status, each with what it can mean under one of the policies."""
    meanings: dict[int, list[type[problems.Problem]]] = {}
    for policy in policies:
        for status, kind in _answers(policy):
            kinds = meanings.setdefault(status, [])
            kinds += [kind] if kind not in kinds else []
    return {str(status): _answer(meanings[status]) for status in sorted(meanings)}


def _parameter(policies: Sequence[Policy], *, required: bool) -> Object:
    key = policies[0].key
    in_header = key.place is KeyPlace.HEADER
    longest = max(policy.key.max_length for policy in policies)
    quoted = in_header and all(policy.key.format is KeyFormat.STRICT for policy in policies)
    form = " It is written in double quotes." if quoted else ""
    return {
        "name": "-".join(map(str.capitalize, key.name.split("-"))) if in_header else key.name,
        "in": key.place.value,
        "required": required and all(policy.key.required for policy in policies),
        "description": "Names this request, so that it is executed once however often it is sent: a retry "
        f"with the same key gets the first answer. A new request needs a new key.{form}",
        "schema": {
            "type": "string",
            "minLength": 1 + _QUOTES * quoted,
            "maxLength": longest + _QUOTES * in_header,
        },
    }


def _answers(policy: Policy) -> Iterator[tuple[int, type[problems.Problem]]]:
    """What a client of this policy can be answered with, by the status."""
    place = policy.key.place
    if policy.key.required and place is not KeyPlace.DERIVED:
        yield 400, problems.KeyMissing
    if place is not KeyPlace.DERIVED:
        yield 400, problems.KeyInvalid
    if place is KeyPlace.JSON or policy.fingerprint.body is BodyMode.JSON:
        yield 400, problems.BodyInvalid
    yield policy.in_progress.status, problems.InProgress
    if policy.unknown is UnknownPolicy.HOLD:
        yield 409, problems.OutcomeUnknown
    yield 409, problems.ResponseNotStored
    if policy.tombstone_ms:
        yield 409, problems.KeyExpired
    detached = policy.execution is Execution.DETACHED
    by_meaning = policy.fingerprint.body in {BodyMode.JSON, BodyMode.FORM}
    if detached or by_meaning or place in PLACES_IN_BODY or policy.unknown is UnknownPolicy.RETRY:
        yield 413, problems.BodyTooLarge
    if place is not KeyPlace.DERIVED:
        yield 422, problems.KeyReused
    if not policy.bypass_when_unavailable:
        yield 503, problems.StoreUnavailable
    if detached:
        yield 503, problems.OriginUnavailable


def _answer(kinds: Sequence[type[problems.Problem]]) -> Object:
    meanings = [f"{_MEANINGS[kind]} (`{kind.type}`)" for kind in kinds]
    text = "; ".join(meanings)
    later = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
    return {
        "description": f"{text[0].upper()}{text[1:]}.",
        **({"headers": later} if any(kind in _RETRIED_LATER for kind in kinds) else {}),
        "content": {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{SCHEMA}"}}},
    }
