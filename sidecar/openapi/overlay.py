"""The Overlay (OpenAPI Overlay Specification 1.0.0) that adds the policies to a description.

Nothing that a description says is changed. An update of an object replaces what it names again, and what one
does to a list inside an object is not said by 1.0.0; so an action's target is always the deepest object that
is there, its update holds only names that are not, and what goes into a list that is there is an action on
the list, of which 1.0.0 says that it appends.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from sidecar.idempotency.policy import Policies
from sidecar.openapi.additions import SCHEMA, answers, parameters, problem_schema
from sidecar.openapi.covering import Coverage, coverage
from sidecar.openapi.specification import Object, Operation, Specification

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def overlay(specification: Specification, policies: Policies) -> Object | None:
    """The Overlay for the operations that a policy covers, even in part; None where none is.

    Raises:
        ConfigError: The description does not have its shape.
    """
    actions: list[Object] = []
    for operation in specification.operations():
        found = coverage(policies, operation)
        if found.policies:
            actions += _operation(specification, operation, found)
    if not actions:
        return None
    title, version = specification.title()
    info = {"title": f"Idempotency of {title}", "version": version}
    return {"overlay": "1.0.0", "info": info, "actions": [*_schema(specification), *actions]}


def _schema(specification: Specification) -> Iterator[Object]:
    path = ("components", "schemas")
    if specification.existing((*path, SCHEMA)) is None:
        yield _addition(specification, path, {SCHEMA: problem_schema()}, "The document of every refusal.")


def _operation(specification: Specification, operation: Operation, found: Coverage) -> Iterator[Object]:
    at = ("paths", operation.path, operation.method)
    names = ", ".join(policy.name for policy in found.policies)
    described = f"{operation.method.upper()} {operation.path}: {names}."
    new = [parameter for key, parameter in parameters(found).items() if key not in operation.parameters]
    yield from _into_list(specification, (*at, "parameters"), new, described)
    said = specification.existing((*at, "responses"))
    known = {str(status) for status in said} if isinstance(said, Mapping) else set()
    added = {status: answer for status, answer in answers(found.policies).items() if status not in known}
    if added:
        yield _addition(specification, (*at, "responses"), added, described)


def _into_list(
    specification: Specification, path: tuple[str, ...], entries: Sequence[Object], description: str
) -> Iterator[Object]:
    """Append entries to a list; make it where it is not there."""
    if specification.existing(path) is not None:
        yield from ({"target": _target(path), "description": description, "update": each} for each in entries)
    elif entries:
        yield _addition(specification, path[:-1], {path[-1]: list(entries)}, description)


def _addition(specification: Specification, path: tuple[str, ...], value: Object, description: str) -> Object:
    """An action that adds names to the object at a path; objects that are not there yet are made."""
    there = next(
        length for length in range(len(path), -1, -1) if specification.existing(path[:length]) is not None
    )
    for name in reversed(path[there:]):
        value = {name: value}
    return {"target": _target(path[:there]), "description": description, "update": value}


def _target(path: Sequence[str]) -> str:
    """A path as JSONPath writes it (RFC 9535): `$.paths['/x'].post`."""
    return "$" + "".join(
        f".{name}" if _PLAIN_NAME.fullmatch(name) else f"['{_escaped(name)}']" for name in path
    )


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace("'", "\\'")
