"""An OpenAPI 3.x description, as far as it counts here: operations, where they are served, what they say.

What is not looked at is not checked: an Overlay leaves it as it is.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from sidecar.config.errors import ConfigError, RefusedError, quoted
from sidecar.idempotency.pointer import Pointer
from sidecar.openapi.parsing import Step, failed, line_of, parse
from sidecar.openapi.servers import urls

Object: TypeAlias = Mapping[str, object]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MAX_FILE = 32 << 20
_VERSION = re.compile(r"3\.\d+(\.\d+)?(-.*)?")
_AN_OBJECT = "a mapping"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        path: The path's template, as it stands in the description.
        method: In lower case, as it stands there.
        servers: The URLs where it is served, by the nearest servers that the description names.
        parameters: Its own and those of its path, by place and name; names of headers in lower case.
    """

    path: str
    method: str
    servers: tuple[str, ...]
    parameters: frozenset[tuple[str, str]]


class Specification:
    """A description that was read, and the text it was read from."""

    def __init__(self, file: str, text: str, root: object) -> None:
        """Refuses (`ConfigError`) what is no description of a version 3."""
        self._file, self._text = file, text
        self.root = self._object(root, (), "the document")
        version = self.root.get("openapi", "")
        if not _VERSION.fullmatch(_text(version)):
            raise self._error(
                ("openapi",), f"{quoted(version)} is not a version", "openapi: 3.0.x or later 3.x"
            )

    @classmethod
    def read(cls, path: Path) -> "Specification":
        """The description in a file, YAML or JSON.

        Raises:
            ConfigError: It cannot be read, is no YAML or JSON, or describes nothing.
        """
        file = str(path)
        try:
            with path.open("rb") as opened:
                content = opened.read(_MAX_FILE + 1)
        except OSError as error:
            raise failed(
                file, f"the file cannot be read: {error.strerror}", "a file that can be read"
            ) from None
        if len(content) > _MAX_FILE:
            raise failed(file, "the file is larger than 32MiB", "at most 32MiB")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise failed(file, "the file is not UTF-8", "YAML or JSON in UTF-8", line) from None
        return cls(file, text, parse(file, text))

    def operations(self) -> Iterator[Operation]:
        """Every operation, in the order of the document; a path that is a reference has none of its own.

        Raises:
            ConfigError: Something that is looked at does not have its shape.
        """
        paths = self._object(self.root.get("paths", {}), ("paths",), "paths")
        for path, value in paths.items():
            if path.startswith("/"):
                item = self._object(value, ("paths", path), f"the path {path}")
                yield from (self._operation(path, item, method) for method in METHODS if method in item)

    def title(self) -> tuple[str, str]:
        """The title and the version of what is described."""
        info = self._object(self.root.get("info", {}), ("info",), "info")
        return _text(info.get("title")) or "the API", _text(info.get("version")) or "1"

    def existing(self, steps: tuple[str, ...]) -> object | None:
        """What stands at a place, None where nothing does."""
        found: object = self.root
        for step in steps:
            found = found.get(step) if isinstance(found, Mapping) else None
        return found

    def _operation(self, path: str, item: Object, method: str) -> Operation:
        at = ("paths", path, method)
        own = self._object(item[method], at, f"{method} of {path}")
        self._object(own.get("responses", {}), (*at, "responses"), "responses")
        nearest = next((each for each in (own, item, self.root) if each.get("servers")), None)
        servers = self._list([{"url": "/"}] if nearest is None else nearest["servers"], at, "servers")
        parameters = {
            *self._parameters(item, ("paths", path)),
            *self._parameters(own, at),
        }
        return Operation(
            path,
            method,
            tuple(url for each in servers for url in self._urls(each, at)),
            frozenset(parameters),
        )

    def _urls(self, value: object, at: tuple[Step, ...]) -> tuple[str, ...]:
        try:
            return urls(self._object(value, at, "a server"))
        except RefusedError as error:
            raise self._error(at, error.message, error.allowed) from None

    def _parameters(self, holder: Object, at: tuple[Step, ...]) -> Iterator[tuple[str, str]]:
        for index, value in enumerate(
            self._list(holder.get("parameters", []), (*at, "parameters"), "parameters")
        ):
            parameter = self._resolved(self._object(value, (*at, "parameters", index), "a parameter"))
            place, name = _text(parameter.get("in")), _text(parameter.get("name"))
            yield place, name.lower() if place == "header" else name

    def _resolved(self, value: Object) -> Object:
        """What a reference within the document is for; nothing where it leads out of it or nowhere."""
        reference = value.get("$ref")
        if not isinstance(reference, str):
            return value
        try:
            place = Pointer.parse(reference.removeprefix("#"))
        except ValueError:
            return {}
        found = self.existing(place.parts) if reference.startswith("#/") else None
        return cast("Object", found) if isinstance(found, Mapping) else {}

    def _object(self, value: object, at: tuple[Step, ...], what: str) -> Object:
        """A mapping with texts as keys: YAML reads the key `200` as a number."""
        if not isinstance(value, Mapping):
            raise self._error(at, f"{what} is not a mapping", _AN_OBJECT)
        return {str(name): each for name, each in value.items()}

    def _list(self, value: object, at: tuple[Step, ...], what: str) -> list[object]:
        if not isinstance(value, list):
            raise self._error(at, f"{what} is not a list", "a list")
        return value

    def _error(self, at: tuple[Step, ...], message: str, allowed: str) -> ConfigError:
        return failed(self._file, message, allowed, line_of(self._text, at))


def _text(value: object) -> str:
    """A value as text: YAML reads `3.1` as a number. A list or a mapping, however deep, has none."""
    return "" if value is None or isinstance(value, dict | list) else str(value)
