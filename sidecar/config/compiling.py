"""From the policies of the file to the policies of the domain; once, when the configuration is loaded."""

from sidecar.config.key_schema import FingerprintSection, KeySection
from sidecar.config.policy_schema import InProgressSection, MatchSection, PolicySection
from sidecar.config.schema import Config
from sidecar.idempotency.outcome import OutcomeRules
from sidecar.idempotency.patterns import HostPattern, PathPattern
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.policy import (
    FingerprintSpec,
    InProgress,
    KeyPlace,
    KeySource,
    Match,
    Policies,
    Policy,
)
from sidecar.idempotency.scope import ScopePart


def compile_policies(config: Config) -> Policies:
    """The policies of a configuration, in their order."""
    return Policies(tuple(_policy(section, config) for section in config.policies))


def _policy(section: PolicySection, config: Config) -> Policy:
    return Policy(
        name=section.name,
        match=_match(section.match),
        mode=section.mode,
        key=_key(section.key),
        scope=tuple(map(_scope_part, section.scope)),
        fingerprint=_fingerprint(section.fingerprint),
        in_progress=_in_progress(section.in_progress),
        lease_ms=section.lease_ms,
        ttl_ms=section.ttl_ms if section.key.window_ms is None else section.key.window_ms,
        tombstone_ms=section.tombstone_ms,
        execution=section.execution,
        deadline_ms=section.deadline_ms,
        unknown=section.unknown,
        outcomes=OutcomeRules(dict(section.outcomes)),
        bypass_when_unavailable=(section.on_unavailable or config.store.on_unavailable) == "bypass",
        max_request_body=section.max_request_body,
        max_response_body=section.max_response_body,
        exclude_response_headers=frozenset(map(str.lower, section.exclude_response_headers)),
        docs_url=section.docs_url,
        advertise=section.advertise,
    )


def _match(section: MatchSection) -> Match:
    return Match(
        frozenset(section.methods),
        tuple(map(HostPattern, section.hosts)),
        tuple(map(PathPattern, section.paths)),
        section.route,
    )


def _key(section: KeySection) -> KeySource:
    """The name of a header has no case, that of a parameter has; a pointer has no name beside it."""
    name = section.name or ""
    in_header, in_json = section.source is KeyPlace.HEADER, section.source is KeyPlace.JSON
    return KeySource(
        name=name.lower() if in_header else "" if in_json else name,
        place=section.source,
        pointer=Pointer.parse(name if in_json else ""),
        required=section.required,
        format=section.format,
        max_length=section.max_length,
    )


def _fingerprint(section: FingerprintSection) -> FingerprintSpec:
    return FingerprintSpec(
        body=section.body,
        omit=tuple(map(Pointer.parse, section.omit)),
        query=section.query,
        query_order=section.query_order == "kept",
        headers=tuple(map(str.lower, section.headers)),
    )


def _in_progress(section: InProgressSection) -> InProgress:
    wait_ms = section.wait_ms if section.action == "wait" else 0
    return InProgress(section.status, section.retry_after_ms // 1000, wait_ms)


def _scope_part(text: str) -> ScopePart:
    kind, _, name = text.partition(":")
    return ScopePart.header(name) if kind == "header" else ScopePart(kind, name)
