"""The configuration as it was written, before it is checked: plain values, and where each of them stands."""

from dataclasses import dataclass, field
from typing import TypeAlias

from sidecar.config.errors import ConfigProblem, Path, dotted

Value: TypeAlias = "str | list[Value] | dict[str, Value] | None"
"""What a document is made of. Every scalar is its text; only the field it is for can say what it means."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written: a file and its line, or the name of an environment variable."""

    file: str
    line: int | None = None

    @property
    def is_file(self) -> bool:
        """Whether it stands in a file rather than in the environment."""
        return self.line is not None

    def problem(self, path: Path, message: str, allowed: str) -> ConfigProblem:
        """A problem with the value at `path` that was written here."""
        return ConfigProblem(self.file, self.line, dotted(path), message, allowed)


@dataclass(slots=True)
class Document:
    """Values and their places. `source` stands for what was written nowhere."""

    source: Place
    values: dict[str, Value] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path) -> Place:
        """Where the value at `path` was written, or the nearest thing around it that was."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.source

    def forget(self, path: Path) -> None:
        """Drop the places of a value and of everything in it."""
        for other in [known for known in self.places if known[: len(path)] == path]:
            del self.places[other]
