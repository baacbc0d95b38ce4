"""An OpenAPI 3.x description, as far as it counts here: operations, where they are served, what they say.

What is not looked at is not checked: an Overlay leaves it as it is.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast
from urllib.parse import urlsplit

import yaml

from sidecar.config.errors import ConfigError, ConfigProblem, quoted
from sidecar.idempotency.pointer import Pointer

Step: TypeAlias = str | int
Object: TypeAlias = Mapping[str, object]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_MAX_FILE = 32 << 20
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_VERSION = re.compile(r"3\.\d+(\.\d+)?(-.*)?")
_AN_OBJECT = "a mapping"


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path.

    Attributes:
        path: The path's template, as it stands in the description.
        method: In lower case, as it stands there.
        servers: Where it is served: the nearest that the description names.
        parameters: Its own and those of its path, by place and name; names of headers in lower case.
    """

    path: str
    method: str
    servers: tuple[Object, ...]
    parameters: frozenset[tuple[str, str]]


class Specification:
    """A description that was read, and the text it was read from."""

    def __init__(self, file: str, text: str, root: object) -> None:
        """Refuses (`ConfigError`) what is no description of a version 3."""
        self._file, self._text = file, text
        self.root = self._object(root, (), "the document")
        version = str(self.root.get("openapi", ""))
        if not _VERSION.fullmatch(version):
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
            raise _failed(
                file, f"the file cannot be read: {error.strerror}", "a file that can be read"
            ) from None
        if len(content) > _MAX_FILE:
            raise _failed(file, "the file is larger than 32MiB", "at most 32MiB")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise _failed(file, "the file is not UTF-8", "YAML or JSON in UTF-8", line) from None
        return cls(file, text, _parse(file, text))

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
        return str(info.get("title", "the API")), str(info.get("version", "1"))

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
            tuple(self._server(each, at) for each in servers),
            frozenset(parameters),
        )

    def _server(self, value: object, at: tuple[Step, ...]) -> Object:
        server = self._object(value, at, "a server")
        try:
            urlsplit(str(server.get("url", "/")))
        except ValueError:
            raise self._error(
                at, f"{quoted(server['url'])} is not a URL", "https://HOST/PATH or /PATH"
            ) from None
        return server

    def _parameters(self, holder: Object, at: tuple[Step, ...]) -> Iterator[tuple[str, str]]:
        for index, value in enumerate(
            self._list(holder.get("parameters", []), (*at, "parameters"), "parameters")
        ):
            parameter = self._resolved(self._object(value, (*at, "parameters", index), "a parameter"))
            place, name = str(parameter.get("in", "")), str(parameter.get("name", ""))
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
        return _failed(self._file, message, allowed, _line(self._text, at))


def _parse(file: str, text: str) -> object:
    try:
        return json.loads(text) if text.lstrip().startswith("{") else yaml.load(text, _LOADER)  # noqa: S506 - safe
    except json.JSONDecodeError as error:
        raise _failed(file, f"not JSON: {error.msg}", "well-formed JSON", error.lineno) from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _failed(file, f"not YAML: {error.problem}", "well-formed YAML", line) from None
    except (yaml.YAMLError, ValueError) as error:
        raise _failed(file, f"not YAML: {quoted(error)}", "well-formed YAML", 1) from None
    except RecursionError:
        raise _failed(file, "nested too deeply", "a document that is not", 1) from None


def _line(text: str, at: tuple[Step, ...]) -> int:
    """The line of a place, or of the nearest thing around it that is there."""
    try:
        node = yaml.compose(text.replace("\t", " "), _LOADER)
    except (yaml.YAMLError, RecursionError):  # JSON may be written as no YAML is
        return 1
    line = node.start_mark.line if node else 0
    for step in at:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == step]
            key, node = found[-1] if found else (node, None)
            line = key.start_mark.line if found else line
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line
    return line + 1


def _failed(file: str, message: str, allowed: str, line: int | None = None) -> ConfigError:
    return ConfigError([ConfigProblem(file, line, "", message, allowed)])
