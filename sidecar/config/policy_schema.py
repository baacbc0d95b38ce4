"""The shape of a policy in the file (CONTRACT §3): one class per mapping, one description per field."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from sidecar.config import http_values as http
from sidecar.config import identity_values as identity
from sidecar.config.errors import Path, RefusedError, quoted
from sidecar.config.fragments import Fragment
from sidecar.config.key_schema import FingerprintSection, KeySection
from sidecar.config.kinds import choice, duration, flag, one_number, optional, printable, size, text
from sidecar.config.quantities import format_duration, format_size
from sidecar.config.section import Section
from sidecar.idempotency import json_text
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.policy import BodyMode, Execution, KeyPlace, Mode

Method = Annotated[str, http.method()]
Host = Annotated[str, http.host()]
PathGlob = Annotated[str, http.path()]
HeaderName = Annotated[str, http.header_name()]
ScopePartText = Annotated[str, identity.scope_part()]
OutcomeKey = Annotated[str, http.outcome_key()]
OutcomeValue = Annotated[Outcome, choice("an outcome", *Outcome)]
WhenDown = Literal["reject", "bypass"]
_Action = Literal["reject", "wait"]
_ROUTE_FORM = "the name of a route, 1 to 256 printable characters"


class MatchSection(Section):
    """Which requests a policy is for: all parts have to match, an empty list matches everything."""

    methods: tuple[Method, ...] = Field(default=("POST", "PATCH"), description="Request methods.")
    hosts: tuple[Host, ...] = Field(
        default=(),
        description="Hosts, exact or `*.suffix` (any subdomain, not the suffix itself); "
        "without a port they match on every port.",
    )
    paths: tuple[PathGlob, ...] = Field(
        default=(),
        description="Globs over the path without its query: `*` within a segment, `**` across segments; "
        "`/v1/payments/**` also covers `/v1/payments`. One wildcard in a segment, and one `**` besides "
        "a final `/**`.",
    )
    route: Annotated[str | None, optional(printable("a route's name", _ROUTE_FORM, 256))] = Field(
        default=None,
        description="The `name` of the Envoy route that the request takes, exactly; null matches any. A "
        "route may also name its policy itself (docs/policies.md).",
    )


class InProgressSection(Section):
    """What happens to a duplicate while the first request still runs."""

    action: Annotated[_Action, choice("an action", "reject", "wait")] = Field(
        default="reject",
        description="`reject` refuses it at once; `wait` holds it until the first request is decided, then "
        "answers as if it had come later, and refuses it only after `wait`.",
    )
    status: Annotated[int, one_number("a status for this", 409, 429)] = Field(
        default=409, description="The status of the refusal."
    )
    retry_after_ms: Annotated[int, duration("1s", "1d", whole_seconds=True)] = Field(
        default=1_000, alias="retry_after", description="Its `Retry-After`."
    )
    wait_ms: Annotated[int, duration("0s", "1h")] = Field(
        default=10_000,
        alias="wait",
        description="How long to wait for the first request; unused while `action` is `reject`. "
        "Envoy's own limits have to be longer: render its configuration again.",
    )


class PolicySection(Section):
    """One policy. The first that matches a request counts; what matches none passes untouched."""

    name: Annotated[str, text("a policy's name", "1 to 64 of a-z, 0-9, _ and -", "[a-z0-9_-]{1,64}")] = Field(
        description="The policy's name in metrics, logs and the store; unique."
    )
    match: MatchSection = Field(default=MatchSection(), description="Which requests the policy is for.")
    mode: Annotated[Mode, choice("a mode", *Mode)] = Field(
        default=Mode.ENFORCE,
        description="`enforce` protects; `shadow` observes and counts what `enforce` would do (`shadow_*` in "
        "the metrics) and changes nothing; `off` lets what matches pass untouched, whatever policies follow.",
    )
    key: KeySection = Field(default=KeySection(), description="Where the key stands.")
    scope: tuple[ScopePartText, ...] = Field(
        default=("header:authorization", "host", "method", "path"),
        description="Whose key it is: equal keys of different scopes never meet. Without what tells callers "
        "apart, one caller can be given another's response. `header:authorization` changes when a token is "
        "refreshed, and a retry then executes again: prefer `jwt:sub`. `jwt:CLAIM` is of a token that "
        "Envoy's jwt_authn has verified (with `payload_in_metadata`), always together with its `iss`. "
        "`peer` is the client's certificate, and needs a listener that verifies it. "
        "`metadata:NAMESPACE.KEY` is what a filter before this one noted.",
    )
    fingerprint: FingerprintSection = Field(
        default=FingerprintSection(), description="What makes two requests the same."
    )
    in_progress: InProgressSection = Field(
        default=InProgressSection(),
        description="What happens to a duplicate while the first request runs.",
    )
    execution: Annotated[Execution, choice("a way to execute", *Execution)] = Field(
        default=Execution.INLINE,
        description="`inline`: Envoy forwards the request, the response is captured on its way back; when "
        "the client goes away, the call is cancelled and its outcome unknown. `detached`: the sidecar reads "
        "the request and makes the call itself, at `origin.url`; the client may go away; gRPC calls with a "
        "key are refused.",
    )
    deadline_ms: Annotated[int, duration("1s", "1h")] = Field(
        default=60_000,
        alias="deadline",
        description="How long a detached call may take, to the last byte of its response; then its outcome "
        "is unknown. Unused while `execution` is `inline`.",
    )
    lease_ms: Annotated[int, duration("1s", "1h")] = Field(
        default=30_000,
        alias="lease",
        description="How long a claim stands without being renewed; renewed while the exchange lives.",
    )
    ttl_ms: Annotated[int, duration("1s", "365d")] = Field(
        default=86_400_000, alias="ttl", description="How long a key is remembered; longer than `lease`."
    )
    tombstone_ms: Annotated[int, duration("0s", "365d")] = Field(
        default=0,
        alias="tombstone",
        description="How long after `ttl` a reuse is refused instead of executed.",
    )
    unknown: Annotated[UnknownPolicy, choice("a way to treat it", *UnknownPolicy)] = Field(
        default=UnknownPolicy.HOLD,
        description="What happens to retries when nobody knows the outcome: `hold` refuses them until `ttl` "
        "has passed; `retry` lets the next one with the same payload execute again, with a higher "
        "`Idempotency-Attempt`.",
    )
    on_unavailable: Annotated[WhenDown | None, optional(choice("a reaction", "reject", "bypass"))] = Field(
        default=None,
        description="When the store does not answer: `reject` refuses keyed requests (503), "
        "`bypass` forwards them unprotected, counted; null: as `store.on_unavailable` says.",
    )
    outcomes: dict[OutcomeKey, OutcomeValue] = Field(
        default={},
        description='Overrides of the outcome by status or class, such as `{"503": record, "5xx": release}` '
        '(the status wins over the class), and of gRPC calls by theirs: `{"grpc:ABORTED": release}`.',
    )
    max_request_body: Annotated[int, size("0", "1GiB")] = Field(
        default=10_485_760,
        description="The largest request body that is held in memory, where it has to be: with `detached`, "
        "where `unknown: retry` takes over an earlier attempt, and where the key or the fingerprint is made "
        f"of what the body means (then {format_size(json_text.MAX_BYTES)} is the most). A larger one is "
        "refused (413).",
    )
    max_response_body: Annotated[int, size("0", "64MiB")] = Field(
        default=1_048_576,
        description="The largest response that is kept; a larger one passes, recorded as not replayable.",
    )
    exclude_response_headers: tuple[HeaderName, ...] = Field(
        default=("set-cookie",), description="Response headers that are not stored, so not replayed."
    )
    docs_url: Annotated[str | None, http.web_url()] = Field(
        default=None,
        description="Where clients can read about these errors: the `describedby` link of an answer.",
    )
    advertise: Annotated[bool, flag()] = Field(
        default=False,
        description="Whether answers to keyed requests tell how long the key is remembered "
        "(`Idempotency-Expires`) and, with `docs_url`, where that is documented (`Link`).",
    )

    combinations: ClassVar[tuple[Fragment, ...]] = ({"properties": {"scope": {"minItems": 1}}},)

    @field_validator("scope")
    @classmethod
    def _has_a_scope(cls, scope: tuple[str, ...]) -> tuple[str, ...]:
        if not scope:
            raise RefusedError(
                "a scope without parts would share every key among all callers",
                f"at least one of {identity.SCOPE_FORM}",
            )
        for index, part in enumerate(scope):
            if _meaning(part) in map(_meaning, scope[:index]):
                raise RefusedError(f"{quoted(part)} is in the scope already", "each part once", at=(index,))
        return scope

    @field_validator("fingerprint")
    @classmethod
    def _has_what_a_key_is_made_of(
        cls, fingerprint: FingerprintSection, info: ValidationInfo
    ) -> FingerprintSection:
        key: KeySection | None = info.data.get("key")
        if key is not None and key.source is KeyPlace.DERIVED and fingerprint.body is BodyMode.NONE:
            raise RefusedError(
                "with a derived key, requests of different bodies would count as one",
                "raw, json or form with key.from: derived",
                at=("body",),
            )
        return fingerprint

    @field_validator("ttl_ms")
    @classmethod
    def _outlives_the_lease(cls, ttl_ms: int, info: ValidationInfo) -> int:
        lease_ms: int | None = info.data.get("lease_ms")
        if lease_ms is not None and ttl_ms <= lease_ms:
            raise _not_over_lease(ttl_ms, lease_ms)
        return ttl_ms

    @field_validator("outcomes")
    @classmethod
    def _has_outcomes_that_can_be(
        cls, outcomes: dict[OutcomeKey, OutcomeValue], info: ValidationInfo
    ) -> dict[OutcomeKey, OutcomeValue]:
        """A gRPC call with a key is refused under such a policy, so one that counts on calls is a mistake."""
        key: KeySection | None = info.data.get("key")
        refusing = "execution: detached" if info.data.get("execution") is Execution.DETACHED else None
        if key is not None and key.source is KeyPlace.DERIVED:
            refusing = refusing or "key.from: derived"
        of_calls = next((name for name in outcomes if name.startswith("grpc:")), None)
        if refusing and of_calls:
            raise RefusedError(
                f"gRPC calls are refused under {refusing}", "HTTP statuses and classes", at=(of_calls,)
            )
        return outcomes

    @model_validator(mode="after")
    def _has_a_window_over_its_lease(self) -> Self:
        window_ms = self.key.window_ms
        if window_ms is not None and window_ms <= self.lease_ms:
            raise _not_over_lease(window_ms, self.lease_ms, at=("key", "window"))
        return self


def _meaning(part: str) -> str:
    """A scope's part as it counts: the name of a header has no case."""
    return part.lower() if part.startswith("header:") else part


def _not_over_lease(given_ms: int, lease_ms: int, at: Path = ()) -> RefusedError:
    lease = format_duration(lease_ms)
    return RefusedError(
        f"{format_duration(given_ms)} is not longer than the lease", f"more than {lease}, up to 365d", at
    )
