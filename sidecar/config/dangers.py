"""What is allowed and dangerous: `check` warns of it, and says what happens and what would be safe."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from sidecar.config.errors import Path, dotted
from sidecar.config.hiding import Reach
from sidecar.config.loading import Loaded
from sidecar.config.policy_schema import PolicySection
from sidecar.config.quantities import format_duration
from sidecar.config.schema import Config
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.grpc import GrpcStatus
from sidecar.idempotency.outcome import Outcome, OutcomeRules
from sidecar.idempotency.policy import Execution, Mode

_HOUR_MS = 3_600_000
_TRIES_IN_A_LEASE = 4
"""How many operations of the store, each at its timeout, have to fit into a lease: it is renewed thrice."""
_AUTHORIZATION = "header:authorization"
_CALLER = ("header:", "jwt:", "metadata:", "peer")
_OF_THE_CONTENT = ("content-type", "content-length", "content-encoding", "accept", "user-agent")
"""Headers that tell nobody apart."""
_MONEY = re.compile(r"(?i)payment|payout|charge|refund|order|transfer|checkout|invoice")
_DEFAULTS = OutcomeRules()


class Level(StrEnum):
    """How much a danger counts."""

    WARNING = "warning"
    """It can execute a request twice, or give a response to the wrong caller; `--strict` refuses it."""
    NOTE = "note"
    """It is the default, or good enough for many; worth knowing."""


@dataclass(frozen=True, slots=True)
class Danger:
    """One dangerous combination, in words for the person who wrote the file.

    Attributes:
        file: The file, or the environment variable that a value came from.
        line: Line in the file, from 1; None for the environment, and for the file as a whole.
        field: The field that makes it so, such as `policies[0].unknown`.
        message: What happens.
        safe: What would be safe.
        level: How much it counts.
    """

    file: str
    line: int | None
    field: str
    message: str
    safe: str
    level: Level = Level.WARNING

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{self.level}: {place}: {self.field}: {self.message}; safe: {self.safe}"


@dataclass(frozen=True, slots=True)
class _Found:
    """A danger before it is known where it stands: the path of its field, in the whole configuration."""

    path: Path
    message: str
    safe: str
    level: Level = field(default=Level.WARNING)


def dangers(loaded: Loaded) -> list[Danger]:
    """Everything dangerous in a configuration; of policies that are `off`, nothing."""
    config = loaded.config
    found = [*_of_policies(config), *_of_order(config), *_of_tokens(config)]
    return [_placed(each, loaded) for each in found]


def _placed(found: _Found, loaded: Loaded) -> Danger:
    place = loaded.document.place(found.path)
    return Danger(place.file, place.line, dotted(found.path), found.message, found.safe, found.level)


def _of_policies(config: Config) -> Iterator[_Found]:
    for index, policy in enumerate(config.policies):
        if policy.mode is not Mode.OFF:
            path = ("policies", index)
            yield from _of_identity(policy, path)
            yield from _of_time(policy, config, path)
            yield from _of_retries(policy, path)
            yield from _of_a_store_that_is_gone(policy, config, path)


def _of_identity(policy: PolicySection, path: Path) -> Iterator[_Found]:
    own = {f"header:{name.lower()}" for name in (policy.key.name, *_OF_THE_CONTENT) if name}
    if not any(part.startswith(_CALLER) and part.lower() not in own for part in policy.scope):
        yield _Found(
            (*path, "scope"),
            "nothing in it tells callers apart: one that sends another's key and payload gets its response",
            "a stable identity in the scope, such as jwt:sub, peer or a header that the gateway sets",
        )


def _of_time(policy: PolicySection, config: Config, path: Path) -> Iterator[_Found]:
    window_ms = policy.key.window_ms
    memory_ms, name = (policy.ttl_ms, ("ttl",)) if window_ms is None else (window_ms, ("key", "window"))
    longest_ms = _longest_ms(policy)
    if memory_ms <= longest_ms:
        yield _Found(
            (*path, *name),
            f"a request may take {format_duration(longest_ms)}, and its key is forgotten after "
            f"{format_duration(memory_ms)}: a retry that was waiting can execute again",
            f"well over {format_duration(longest_ms)}, such as 24h",
        )
    elif window_ms is None and memory_ms < _HOUR_MS:
        yield _Found(
            (*path, *name),
            f"clients and queues retry for longer than {format_duration(memory_ms)}, and each retry after it "
            "executes again",
            "longer than any client retries, such as 24h, or a tombstone that refuses later ones",
        )
    if policy.lease_ms < _TRIES_IN_A_LEASE * config.store.timeout_ms:
        yield _Found(
            (*path, "lease"),
            f"a store that takes its whole timeout ({format_duration(config.store.timeout_ms)}) cannot renew "
            "it in time: the outcome becomes unknown while the request is still running",
            f"at least {format_duration(_TRIES_IN_A_LEASE * config.store.timeout_ms)}, or a shorter "
            "store.timeout",
        )


def _longest_ms(policy: PolicySection) -> int:
    """How long a request may wait for its owner and then take, as far as the policy says, in milliseconds."""
    wait_ms = policy.in_progress.wait_ms if policy.in_progress.action == "wait" else 0
    return wait_ms + (policy.deadline_ms if policy.execution is Execution.DETACHED else 0)


def _of_retries(policy: PolicySection, path: Path) -> Iterator[_Found]:
    if policy.unknown is UnknownPolicy.RETRY:
        yield _Found(
            (*path, "unknown"),
            "a retry executes again while nobody knows whether the earlier attempt did, or still does",
            "hold; or an upstream that refuses an Idempotency-Attempt lower than one it has seen (fencing)",
        )
        if policy.execution is Execution.DETACHED and policy.lease_ms < policy.deadline_ms:
            yield _Found(
                (*path, "lease"),
                f"where the store is out of reach for {format_duration(policy.lease_ms)}, a retry takes over "
                f"a call that may go on for {format_duration(policy.deadline_ms)}",
                f"at least the deadline, {format_duration(policy.deadline_ms)}",
            )
    for name, outcome in policy.outcomes.items():
        what = _executed(name) if outcome is Outcome.RELEASE else ""
        if what:
            yield _Found(
                (*path, "outcomes", name),
                f"a retry executes again what {what}",
                "record, unknown, or no override",
            )


def _executed(name: str) -> str:
    """What is known of a request that ended with this status; nothing where it is known to have failed."""
    if name == "grpc:OK" or name.startswith("2"):
        return "has succeeded"
    if name == "5xx" or _default(name) is Outcome.UNKNOWN:
        return "may have executed: nobody knows"
    return ""


def _default(name: str) -> Outcome:
    if name.startswith("grpc:"):
        return _DEFAULTS.of_call(GrpcStatus[name.removeprefix("grpc:")])
    return _DEFAULTS.of_status(int(name)) if name.isdecimal() else Outcome.RECORD


def _of_a_store_that_is_gone(policy: PolicySection, config: Config, path: Path) -> Iterator[_Found]:
    bypasses = (policy.on_unavailable or config.store.on_unavailable) == "bypass"
    texts = (policy.name, policy.match.route or "", *policy.match.paths)
    reason = "requires a key" if policy.key.required else "is about money or orders, by its name or path"
    if policy.mode is Mode.ENFORCE and bypasses and (policy.key.required or any(map(_MONEY.search, texts))):
        yield _Found(
            (*path, "on_unavailable") if policy.on_unavailable else ("store", "on_unavailable"),
            f"without a store, keyed requests pass unprotected, and {policy.name} {reason}: a retry "
            "executes again",
            f"reject for {policy.name}: clients get 503 and retry",
        )


def _of_order(config: Config) -> Iterator[_Found]:
    """The policies that no request comes to: the first one that hides each is named."""
    earlier: list[tuple[str, Reach]] = []
    for index, policy in enumerate(config.policies):
        reach = Reach.of(policy.match)
        name = next((name for name, other in earlier if other.hides(reach)), None)
        earlier.append((policy.name, reach))
        if name is not None and policy.mode is not Mode.OFF:
            yield _Found(
                ("policies", index, "match"),
                f"{name} stands before it and matches every request that {policy.name} does: none comes to "
                "it, save on a route that names it",
                f"{policy.name} before {name}, or a narrower match there",
            )


def _of_tokens(config: Config) -> Iterator[_Found]:
    """Once for the whole file: it is the default, and would otherwise be said of nearly every policy."""
    concerned = [
        (index, policy.name)
        for index, policy in enumerate(config.policies)
        if policy.mode is not Mode.OFF and _AUTHORIZATION in map(str.lower, policy.scope)
    ]
    if concerned:
        yield _Found(
            ("policies", concerned[0][0], "scope"),
            f"{_AUTHORIZATION} tells callers apart ({', '.join(name for _, name in concerned)}): a retry "
            "with a refreshed token counts as another caller's, and executes again. And it has to arrive: "
            "Envoy's jwt_authn takes it off unless `forward: true` (Istio: forwardOriginalToken), and then "
            "all callers share one scope",
            "jwt:sub, peer, or a header that the gateway sets",
            Level.NOTE,
        )
