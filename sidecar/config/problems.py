"""What pydantic found, in this project's words: the place, the field, what is wrong, what is allowed."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sidecar.config import shape
from sidecar.config.document import Document, Value
from sidecar.config.errors import ConfigProblem, Path, RefusedError, quoted
from sidecar.config.kinds import near

_KEY = "[key]"
"""pydantic's mark at the end of a path: the key of the mapping is meant, not its value."""


def explain(error: ValidationError, document: Document) -> list[ConfigProblem]:
    """Every problem of a document that does not have the right shape."""
    return [_problem(detail, document) for detail in error.errors(include_url=False)]


def _problem(detail: Mapping[str, Any], document: Document) -> ConfigProblem:
    path: Path = tuple(part for part in detail["loc"] if part != _KEY)
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, RefusedError):
        path = (*path, *cause.at)
        return document.place(path).problem(path, cause.message, cause.allowed)
    message, allowed = _words(detail["type"], path, detail["input"])
    return document.place(path).problem(path, message, allowed)


def _words(kind: str, path: Path, value: Value) -> tuple[str, str]:
    """What pydantic's own errors mean here, and what is allowed."""
    if kind == "extra_forbidden":
        names = shape.names_in(path[:-1])
        return f"unknown field{near(str(path[-1]), names)}", ", ".join(names)
    field = shape.field_at(path)
    allowed = shape.allowed_in(field) if field else ""
    if kind == "missing":
        return "is required", allowed
    if kind == "tuple_type":
        items = f", each {allowed}" if allowed else " of mappings"
        return f"{quoted(value)} is not a list", f"a list{items}"
    fields = ", ".join(shape.names_in(path))
    return f"{quoted(value)} is not a mapping", f"a mapping of {fields or allowed}"
