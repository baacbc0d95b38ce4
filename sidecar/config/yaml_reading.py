"""YAML to plain values with their lines; bounded, and the schema rather than YAML decides about types.

Only mappings, lists, texts and null come out. Anchors, aliases and merge keys work, up to a bound on
what they expand to; tags that would make anything else are problems, and so are keys given twice.
"""

import re
from dataclasses import dataclass, field

import yaml

from sidecar.config.document import Place, Value
from sidecar.config.errors import ConfigProblem, Path, quoted

MAX_DEPTH = 32
MAX_VALUES = 50_000

_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"
_PLAIN = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "merge", "seq", "map")
)


class TooMuchError(yaml.MarkedYAMLError):
    """The document is nested too deeply, or its aliases expand to too much."""

    def __init__(self, problem: str, mark: yaml.Mark) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.BaseLoader):
    """Composes nodes, bounded in depth; knows null and merge keys, leaves every other plain scalar a text."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, unless too many stand around it."""
        if self._depth >= MAX_DEPTH:
            raise TooMuchError(f"nested more than {MAX_DEPTH} deep", self.get_mark())
        self._depth += 1
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        return node


_Loader.add_implicit_resolver(_NULL, re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(_MERGE, re.compile(r"<<\Z"), ["<"])


@dataclass(slots=True)
class Reading:
    """What was read: the value, the place of everything in it, and what is wrong with it so far."""

    file: str
    value: Value = None
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)


def read_yaml(text: str, file: str) -> Reading:
    """Read one YAML document.

    Raises:
        yaml.YAMLError: It is not well-formed, or exceeds the bounds.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    finally:
        loader.dispose()
    reading = Reading(file)
    if node is not None:
        reading.value = _Walk(reading).value(node, (), 0)
    return reading


class _Walk:
    """One walk over the nodes; what an alias stands for is walked, and counted, each time."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._left = MAX_VALUES

    def value(self, node: yaml.Node, path: Path, depth: int) -> Value:
        """The plain value of a node."""
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise TooMuchError("aliases expand to too much", node.start_mark)
        if node.tag not in _PLAIN:
            self._problem(
                node,
                path,
                f"the tag {quoted(node.tag)} is not understood",
                "plain values, lists and mappings",
            )
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._entry(item, (*path, index), item, depth) for index, item in enumerate(node.value)]
        return None if node.tag == _NULL else str(node.value)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Value]:
        merged: dict[str, Value] = {}
        own: dict[str, Value] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                self._merge(value, path, depth, merged)
        for key, value in node.value:
            if key.tag == _MERGE:
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._problem(key, path, "a key is not a plain name", "names of fields as keys")
            elif key.value in own:
                self._problem(key, (*path, key.value), "given twice", "each field once")
            else:
                own[key.value] = self._entry(key, (*path, key.value), value, depth)
        return merged | own

    def _merge(self, node: yaml.Node, path: Path, depth: int, into: dict[str, Value]) -> None:
        """Take in what `<<` names: a mapping, or a list of them of which the first counts most."""
        for part in reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]:
            value = self.value(part, path, depth + 1)
            if isinstance(value, dict):
                into.update(value)
            else:
                self._problem(
                    part, path, "<< does not name a mapping", "an alias of a mapping, or a list of them"
                )

    def _entry(self, at: yaml.Node, path: Path, node: yaml.Node, depth: int) -> Value:
        self._reading.places[path] = self._place(at)
        return self.value(node, path, depth + 1)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self._reading.file, node.start_mark.line + 1)

    def _problem(self, node: yaml.Node, path: Path, message: str, allowed: str) -> None:
        self._reading.problems.append(self._place(node).problem(path, message, allowed))
