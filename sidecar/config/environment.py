"""`IDEMPOTENCY__SECTION__FIELD` in the environment: every value of the file, set from outside.

`IDEMPOTENCY__STORE__URL` is `store.url`; `IDEMPOTENCY__POLICIES__0__LEASE` is `policies[0].lease`. A value
that begins with a bracket, a brace or a quote is read as YAML, any other is the text itself.
"""

from collections.abc import Mapping

import yaml

from sidecar.config.document import Document, Place, Value
from sidecar.config.errors import ConfigProblem, Path
from sidecar.config.shape import is_list
from sidecar.config.yaml_reading import Reading, read_yaml

PREFIX = "IDEMPOTENCY__"
_NAME_FORM = f"{PREFIX}SECTION__FIELD in upper case, such as {PREFIX}STORE__URL"
_NULLS = ("", "~", "null")


class _MisplacedError(Exception):
    """There is no room in the document for what a variable sets."""


def overlay(document: Document, environ: Mapping[str, str]) -> list[ConfigProblem]:
    """Set what the environment sets, whole sections before their fields; returns what is wrong with it."""
    problems: list[ConfigProblem] = []
    names = (name for name in environ if name.startswith(PREFIX))
    for path, name in sorted(((_path(name), name) for name in names), key=lambda item: _order(item[0])):
        place = Place(name)
        if not path or name != name.upper():
            problems.append(ConfigProblem(name, None, "", "not the name of a setting", _NAME_FORM))
            continue
        try:
            reading = _read(environ[name])
            problems += [place.problem(path, found.message, found.allowed) for found in reading.problems]
            _set(document, path, reading.value, place)
        except yaml.YAMLError:
            problems.append(
                place.problem(path, "the value is not YAML", "a plain value, or YAML such as [a, b]")
            )
        except _MisplacedError as error:
            problems.append(place.problem(path, "there is nothing to set here", str(error)))
    return problems


def _path(name: str) -> Path:
    """The path that a variable names; empty where it is none."""
    path: Path = ()
    for part in name.removeprefix(PREFIX).lower().split("__"):
        if not part:
            return ()
        is_index = part.isascii() and part.isdecimal() and len(part) < 5 and is_list(path)
        path = (*path, int(part) if is_index else part)
    return path


def _order(path: Path) -> tuple[int, list[tuple[int, str]]]:
    return len(path), [(part, "") if isinstance(part, int) else (-1, part) for part in path]


def _read(text: str) -> Reading:
    if text in _NULLS:
        return Reading("")
    return read_yaml(text, "") if text[0] in "[{\"'" else Reading("", text)


def _set(document: Document, path: Path, value: Value, place: Place) -> None:
    if path[0] == "policies" and len(path) > 1 and "policies" not in document.values:
        document.values["policies"] = [{"name": "default"}]
    inside: Value = document.values
    for length, part in enumerate(path[:-1], start=1):
        inside = _descend(document, inside, path[:length], place, part)
    _put(inside, path[-1], value)
    document.forget(path)
    document.places[path] = place


def _descend(document: Document, inside: Value, path: Path, place: Place, part: str | int) -> Value:
    """The container at `path`, made where there is none."""
    found = inside.get(part) if isinstance(inside, dict) and isinstance(part, str) else None
    if isinstance(inside, list) and isinstance(part, int) and part < len(inside):
        found = inside[part]
    if found is None:
        found = [] if is_list(path) else {}
        _put(inside, part, found)
        document.places.setdefault(path, place)
    return found


def _put(inside: Value, part: str | int, value: Value) -> None:
    if isinstance(inside, dict) and isinstance(part, str):
        inside[part] = value
    elif isinstance(inside, list) and isinstance(part, int) and part <= len(inside):
        inside[part : part + 1] = [value]
    elif isinstance(inside, list):
        raise _MisplacedError(f"an index from 0 to {len(inside)}")
    else:
        raise _MisplacedError("fields of a mapping, or items of a list")
