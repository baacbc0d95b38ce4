"""What the schema says about a path: which section stands there, which fields it has, what they allow."""

from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from sidecar.config.errors import Path
from sidecar.config.kinds import Kind
from sidecar.config.schema import Config
from sidecar.config.section import Section


def fields(section: type[Section]) -> dict[str, FieldInfo]:
    """The fields of a section by the names they have in the file."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, or holds a list of; None for a value."""
    for candidate in (field.annotation, *get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


def kinds_of(field: FieldInfo) -> tuple[Kind[Any], ...]:
    """The kind of a field's value or of its list's items; of keys and values where it is a mapping."""
    inner = (found for part in get_args(field.annotation) for found in getattr(part, "__metadata__", ()))
    return tuple(found for found in (*field.metadata, *inner) if isinstance(found, Kind))


def allowed_in(field: FieldInfo) -> str:
    """What a field, each item of its list, or each key and value of its mapping may be."""
    return ", each with ".join(kind.allowed for kind in kinds_of(field))


def holds_list(field: FieldInfo) -> bool:
    """Whether a field holds a list."""
    return get_origin(field.annotation) is tuple


def section_at(path: Path) -> type[Section] | None:
    """The section at a path (indexes do not matter); None where a value stands there, or nothing."""
    section: type[Section] | None = Config
    for part in path:
        if isinstance(part, str):
            field = fields(section).get(part) if section else None
            section = section_of(field) if field else None
    return section


def field_at(path: Path) -> FieldInfo | None:
    """The field at a path, or whose list the path leads into; None where there is none."""
    names = [part for part in path if isinstance(part, str)]
    section = section_at(tuple(names[:-1])) if names else None
    return fields(section).get(names[-1]) if section else None


def is_list(path: Path) -> bool:
    """Whether the path is that of a list."""
    field = field_at(path) if path and isinstance(path[-1], str) else None
    return field is not None and holds_list(field)


def names_in(path: Path) -> tuple[str, ...]:
    """The names of the fields of the section at a path."""
    section = section_at(path)
    return tuple(fields(section)) if section else ()


def walk(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every field of a section and of the sections in it, by dotted name; a section before its fields."""
    for name, field in fields(section).items():
        yield prefix + name, field
        inner = section_of(field)
        if inner is not None:
            yield from walk(inner, f"{prefix}{name}.")
