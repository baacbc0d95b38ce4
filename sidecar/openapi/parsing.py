"""A description's text to plain values, bounded in depth, and the lines of what stands in it."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

import yaml

from sidecar.config.errors import ConfigError, ConfigProblem, quoted
from sidecar.config.yaml_reading import TooMuchError

if TYPE_CHECKING:
    from yaml import SafeLoader as _Base
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Step: TypeAlias = str | int

MAX_DEPTH = 256
"""How deep a description may be nested; the parser in C would go on until the process has no stack left."""

_TOO_DEEP = (f"nested more than {MAX_DEPTH} deep", f"{MAX_DEPTH} levels")


class _Loader(_Base):
    """Composes nodes, bounded in depth; whatever is wrong with a scalar is an error with its line."""

    _depth = 0

    def descend_resolver(self, current_node: yaml.Node | None, current_index: object) -> None:
        """Go into one node, unless too many stand around it."""
        if current_node is not None and self._depth >= MAX_DEPTH:
            raise TooMuchError(_TOO_DEEP[0], current_node.start_mark)
        self._depth += 1
        super().descend_resolver(current_node, current_index)

    def ascend_resolver(self) -> None:
        """Come out of a node."""
        self._depth -= 1
        super().ascend_resolver()

    def construct_object(self, node: yaml.Node, deep: bool = False) -> object:
        """Make the value of one node; of a scalar like `!!bool x` there is none."""
        try:
            return super().construct_object(node, deep)
        except (ArithmeticError, AttributeError, LookupError, ValueError):
            problem = f"{quoted(node.value)} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark) from None


def parse(file: str, text: str) -> object:
    """What a text says: JSON where it begins with a brace, otherwise YAML.

    Raises:
        ConfigError: It is neither, or nested too deeply.
    """
    try:
        return _json(text) if text.lstrip().startswith("{") else yaml.load(text, _Loader)  # noqa: S506 - safe
    except json.JSONDecodeError as error:
        raise failed(file, f"not JSON: {error.msg}", "well-formed JSON", error.lineno) from None
    except TooMuchError as error:
        raise failed(file, *_TOO_DEEP, _marked_line(error)) from None
    except yaml.MarkedYAMLError as error:
        raise failed(file, f"not YAML: {error.problem}", "well-formed YAML", _marked_line(error)) from None
    except (yaml.YAMLError, ValueError) as error:
        raise failed(file, f"not YAML: {quoted(error)}", "well-formed YAML", 1) from None
    except RecursionError:
        raise failed(file, *_TOO_DEEP, 1) from None


def line_of(text: str, at: tuple[Step, ...]) -> int:
    """The line of a place, or of the nearest thing around it that is there."""
    try:
        node = yaml.compose(text.replace("\t", " "), _Loader)
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


def failed(file: str, message: str, allowed: str, line: int | None = None) -> ConfigError:
    """The error of one thing that is wrong with a description."""
    return ConfigError([ConfigProblem(file, line, "", message, allowed)])


def _json(text: str) -> object:
    document: object = json.loads(text)
    level: list[object] = [document]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise RecursionError
    return document


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _marked_line(error: yaml.MarkedYAMLError) -> int:
    return error.problem_mark.line + 1 if error.problem_mark else 1
