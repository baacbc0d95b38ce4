"""Pieces of JSON Schema (2020-12) of which each kind of value has one, for editors (`json_schema.py`)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

Fragment: TypeAlias = Mapping[str, Any]
"""A piece of a JSON Schema."""

TEXT: Fragment = MappingProxyType({"type": ["string", "number", "boolean"]})
"""Any scalar: what a number or a flag is to an editor may be meant as a text here (`name: 2024`)."""


def string(pattern: str) -> Fragment:
    """A text that an expression covers as a whole, in what Python and ECMA 262 share."""
    return {"type": "string", "pattern": f"^(?:{pattern})$"}


def scalar(pattern: str) -> Fragment:
    """The same, of a text that may look like a number; JSON Schema tries patterns on strings alone."""
    return {**string(pattern), **TEXT}


def either(fragment: Fragment, *others: Fragment) -> Fragment:
    """What one of several allows."""
    return {"anyOf": [dict(each) for each in (fragment, *others)]}
