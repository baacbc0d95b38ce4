"""The shape of the configuration as a JSON Schema (2020-12), for editors: `check --schema` prints it.

It is written from the same kinds as the checks themselves, and refuses nothing that they take. What JSON
Schema cannot say (the bounds of a duration, what a file holds, what goes together across sections) only
`check` finds.
"""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sidecar.config.fragments import Fragment
from sidecar.config.kinds import Kind
from sidecar.config.schema import Config
from sidecar.config.section import Section
from sidecar.config.shape import allowed_in, fields, holds_list, kinds_of, section_of

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_TITLE = "idempotency-sidecar"


def json_schema() -> dict[str, Any]:
    """The schema of a whole file; each field with its description, what is allowed, and its default."""
    return {"$schema": _DIALECT, "title": _TITLE, **_section(Config)}


def _section(section: type[Section], *, null: bool = False) -> dict[str, Any]:
    """A mapping of known fields; with nothing under its name it is null, and has its defaults, if it can."""
    known = fields(section)
    required = [name for name, field in known.items() if field.is_required()]
    return {
        "type": "object" if required and not null else ["object", "null"],
        "properties": {name: _field(field) for name, field in known.items()},
        "additionalProperties": False,
        **({"required": required} if required else {}),
        **({"allOf": list(section.combinations)} if section.combinations else {}),
    }


def _field(field: FieldInfo) -> dict[str, Any]:
    inner = section_of(field)
    if inner is None:
        words = f"{field.description}\n\nAllowed: {allowed_in(field)}."
        return {"description": words, **_values(field), **_default(field)}
    schema: dict[str, Any] = _section(inner, null=field.default is None)
    if holds_list(field):
        schema = {"type": "array", "items": schema, "minItems": 1}
    return {"description": field.description, **schema}


def _values(field: FieldInfo) -> Fragment:
    """What a field, each item of its list, or each key and value of its mapping may be."""
    kinds = [dict(kind.fragment) for kind in kinds_of(field)]
    if len(kinds) > 1:
        return {"type": "object", "propertyNames": kinds[0], "additionalProperties": kinds[1]}
    return {"type": "array", "items": kinds[0]} if holds_list(field) else kinds[0]


def _default(field: FieldInfo) -> dict[str, Any]:
    value = field.default
    if value is PydanticUndefined:
        return {}
    if isinstance(value, dict):
        return {"default": value}
    kind = kinds_of(field)[0]
    if isinstance(value, tuple):
        return {"default": [_written(kind, item) for item in value]}
    return {"default": None if value is None else _written(kind, value)}


def _written(kind: Kind[Any], value: Any) -> bool | int | str:  # noqa: ANN401 - a field's value is of any type
    """A value as a file would have it: a flag and a plain number as such, everything else as a text."""
    shown = kind.show(value)
    return value if isinstance(value, bool) or (isinstance(value, int) and shown == str(value)) else shown
