"""The shape of a policy's `key` and `fingerprint` (CONTRACT §3), and what of them goes together."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from sidecar.config import http_values as http
from sidecar.config import identity_values as identity
from sidecar.config.errors import RefusedError, quoted
from sidecar.config.fragments import Fragment
from sidecar.config.kinds import Kind, choice, duration, flag, optional, printable, whole_number
from sidecar.config.section import Section
from sidecar.idempotency.policy import BodyMode, KeyFormat, KeyPlace

DEFAULT_HEADER = "Idempotency-Key"
QueryOrder = Literal["kept", "any"]
_NAME_FORM = "the name of a header or of a query parameter, or a JSON Pointer, by what `from` says"
_NAMES: dict[KeyPlace, Kind[str]] = {
    KeyPlace.HEADER: http.key_header_name(),
    KeyPlace.QUERY: identity.parameter(),
    KeyPlace.JSON: identity.pointer(),
}


class KeySection(Section):
    """Where the key stands and what it may look like."""

    source: Annotated[KeyPlace, choice("a place of a key", *KeyPlace)] = Field(
        default=KeyPlace.HEADER,
        alias="from",
        description="Where the key stands in the request. `query`: in a parameter. `json`: in the body, "
        "which is read before anything is decided. `derived`: nowhere; it is made of what `fingerprint` "
        "takes, so that an equal request is a repeat. The body is read for that, too.",
    )
    name: Annotated[str | None, optional(printable("a name", _NAME_FORM, 512))] = Field(
        default=None,
        validate_default=True,
        description="The header, the query parameter, or the place in the body as a JSON Pointer, such as "
        "`/params/_meta/idempotencyKey`. For a header, null stands for `Idempotency-Key`; `query` and `json` "
        "need a name, `derived` takes none.",
    )
    window_ms: Annotated[int | None, optional(duration("1s", "365d"))] = Field(
        default=None,
        alias="window",
        description="With `derived` alone: how long an equal request is taken for a repeat of the first, in "
        "place of `ttl`: from its answer on, not extended by repeats; longer than `lease`.",
    )
    required: Annotated[bool, flag()] = Field(
        default=False,
        description="Whether a request without a key is refused (400); otherwise it passes untouched. With "
        "`derived` there is always a key.",
    )
    format: Annotated[KeyFormat, choice("a format", *KeyFormat)] = Field(
        default=KeyFormat.LENIENT,
        description="Of a header alone: `lenient` takes a quoted string (RFC 9651) or a bare token, `strict` "
        "only the string. Elsewhere the key is the text itself.",
    )
    max_length: Annotated[int, whole_number(1, 4096)] = Field(
        default=255,
        description="The longest key, in characters; longer ones are refused (400). Unused with `derived`.",
    )

    combinations: ClassVar[tuple[Fragment, ...]] = (
        {
            "if": {"properties": {"from": {"enum": ["query", "json"]}}, "required": ["from"]},
            "then": {
                "properties": {"name": {"not": {"type": "null"}}, "format": False},
                "required": ["name"],
            },
        },
        {
            "if": {"properties": {"from": {"const": "derived"}}, "required": ["from"]},
            "then": {"properties": {"name": {"type": "null"}, "format": False}},
            "else": {"properties": {"window": {"type": "null"}}},
        },
        {
            "if": {"properties": {"from": {"const": "header"}}},
            "then": {"properties": {"name": dict(optional(http.key_header_name()).fragment)}},
        },
        {
            "if": {"properties": {"from": {"const": "json"}}, "required": ["from"]},
            "then": {"properties": {"name": dict(identity.pointer().fragment)}},
        },
    )

    @field_validator("name")
    @classmethod
    def _names_a_place(cls, name: str | None, info: ValidationInfo) -> str | None:
        source: KeyPlace | None = info.data.get("source")
        if source is None:
            return name
        if source is KeyPlace.DERIVED and name is not None:
            raise RefusedError(f"{quoted(name)} names a place, and a derived key stands nowhere", "null")
        if source is KeyPlace.HEADER and name is None:
            return DEFAULT_HEADER
        if source is not KeyPlace.DERIVED and name is None:
            raise RefusedError(f"is required with from: {source}", _NAMES[source].allowed)
        return None if name is None else _NAMES[source].validate(name)

    @field_validator("window_ms")
    @classmethod
    def _is_of_a_derived_key(cls, window_ms: int | None, info: ValidationInfo) -> int | None:
        source: KeyPlace | None = info.data.get("source")
        if window_ms is not None and source not in (None, KeyPlace.DERIVED):
            raise RefusedError(
                f"a window is of a derived key, and this one stands in a request ({source})",
                "null, or from: derived; ttl says how long other keys are remembered",
            )
        return window_ms

    @field_validator("format")
    @classmethod
    def _is_of_a_header(cls, form: KeyFormat, info: ValidationInfo) -> KeyFormat:
        source: KeyPlace | None = info.data.get("source")
        if source not in (None, KeyPlace.HEADER):
            raise RefusedError(
                f"a format is of a header, and this key has from: {source}", "no such field, or from: header"
            )
        return form


class FingerprintSection(Section):
    """What makes two requests the same; method and path always count."""

    body: Annotated[BodyMode, choice("a way to take the body", *BodyMode)] = Field(
        default=BodyMode.RAW,
        description="`raw`: every byte of the body counts. `json`: what it means (RFC 8785: no spaces, any "
        "order of members), where its content-type is one of JSON; what is no JSON is then refused (400). "
        "`form`: the fields of a form in any order, save where it can mean something, as of `items[][id]`. "
        "`none`: the body does not count.",
    )
    omit: tuple[Annotated[str, identity.pointer()], ...] = Field(
        default=(),
        description="With `body: json` alone: what does not count, such as a time of sending, "
        "`/meta/sentAt`. An item of a list counts as null.",
    )
    query: Annotated[bool, flag()] = Field(default=True, description="Whether the query string counts.")
    query_order: Annotated[QueryOrder, choice("an order", "kept", "any")] = Field(
        default="kept",
        description="`kept`: the query counts as it was sent; `any`: its parameters count in any order, save "
        "where it can mean something, as in a form.",
    )
    headers: tuple[Annotated[str, http.header_name()], ...] = Field(
        default=("content-type",), description="Headers that count."
    )

    combinations: ClassVar[tuple[Fragment, ...]] = (
        {
            "if": {"not": {"properties": {"body": {"const": "json"}}, "required": ["body"]}},
            "then": {"properties": {"omit": {"maxItems": 0}}},
        },
    )

    @field_validator("omit")
    @classmethod
    def _is_of_a_json_body(cls, omit: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        body: BodyMode | None = info.data.get("body")
        if omit and body not in (None, BodyMode.JSON):
            raise RefusedError(
                f"members can be left out of what a body means, and this one counts as body: {body}",
                "an empty list, or body: json",
            )
        return omit
