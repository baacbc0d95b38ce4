"""The shape of a policy in the file (CONTRACT §3): one class per mapping, one description per field."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from sidecar.config import http_values as http
from sidecar.config.errors import RefusedError
from sidecar.config.kinds import (
    choice,
    duration,
    flag,
    not_yet,
    one_number,
    optional,
    size,
    text,
    whole_number,
)
from sidecar.config.quantities import format_duration
from sidecar.config.section import Section
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.policy import BodyMode, Execution, KeyFormat, Mode

Method = Annotated[str, http.method()]
Host = Annotated[str, http.host()]
PathGlob = Annotated[str, http.path()]
HeaderName = Annotated[str, http.header_name()]
ScopePartText = Annotated[str, http.scope_part()]
OutcomeKey = Annotated[str, http.outcome_key()]
OutcomeValue = Annotated[Outcome, choice("an outcome", *Outcome)]
WhenDown = Literal["reject", "bypass"]
_Action = Literal["reject", "wait"]
_KeyPlace = Literal["header"]


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
    route: Annotated[None, not_yet("null", "null", null=True)] = Field(
        default=None, description="The name of an Envoy route."
    )


class KeySection(Section):
    """Where the key stands and what it may look like."""

    source: Annotated[_KeyPlace, choice("a place of a key", "header", later=("query", "json", "derived"))] = (
        Field(default="header", alias="from", description="Where the key stands in the request.")
    )
    name: HeaderName = Field(default="Idempotency-Key", description="The header that holds the key.")
    required: Annotated[bool, flag()] = Field(
        default=False,
        description="Whether a request without a key is refused (400); otherwise it passes untouched.",
    )
    format: Annotated[KeyFormat, choice("a format", *KeyFormat)] = Field(
        default=KeyFormat.LENIENT,
        description="`lenient` takes a quoted string (RFC 9651) or a bare token, `strict` only the string.",
    )
    max_length: Annotated[int, whole_number(1, 4096)] = Field(
        default=255, description="The longest key, in characters; longer ones are refused (400)."
    )


class FingerprintSection(Section):
    """What makes two requests the same; method and path always count."""

    body: Annotated[BodyMode, choice("a way to take the body", *BodyMode, later=("json",))] = Field(
        default=BodyMode.RAW, description="`raw`: every byte of the body counts; `none`: the body does not."
    )
    query: Annotated[bool, flag()] = Field(default=True, description="Whether the query string counts.")
    headers: tuple[HeaderName, ...] = Field(default=("content-type",), description="Headers that count.")


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
    mode: Annotated[Mode, choice("a mode", *Mode, later=("shadow",))] = Field(
        default=Mode.ENFORCE,
        description="`enforce` protects; `off` lets what matches pass untouched, whatever policies follow.",
    )
    key: KeySection = Field(default=KeySection(), description="Where the key stands.")
    scope: tuple[ScopePartText, ...] = Field(
        default=("header:authorization", "host", "method", "path"),
        description="Whose key it is: equal keys of different scopes never meet. Without what tells callers "
        "apart, one caller can be given another's response.",
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
        "and where `unknown: retry` takes over an earlier attempt. A larger one is refused (413).",
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

    @field_validator("scope")
    @classmethod
    def _has_a_scope(cls, scope: tuple[str, ...]) -> tuple[str, ...]:
        if not scope:
            raise RefusedError(
                "a scope without parts would share every key among all callers",
                "at least one of header:NAME, host, method and path",
            )
        return scope

    @field_validator("ttl_ms")
    @classmethod
    def _outlives_the_lease(cls, ttl_ms: int, info: ValidationInfo) -> int:
        lease_ms: int | None = info.data.get("lease_ms")
        if lease_ms is not None and ttl_ms <= lease_ms:
            lease = format_duration(lease_ms)
            raise RefusedError(
                f"{format_duration(ttl_ms)} is not longer than the lease", f"more than {lease}, up to 365d"
            )
        return ttl_ms
