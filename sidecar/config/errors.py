"""What is wrong with a configuration: every problem with its place, what it is, and what is allowed."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands in the configuration: names of fields and indexes of list items."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One thing that is wrong, in words for the person who wrote the file.

    Attributes:
        file: The file as it was named, or the environment variable the value came from.
        line: Line in the file, from 1; None for the environment, and for the file as a whole.
        field: The field, such as `policies[0].lease`; empty for the file as a whole.
        message: What is wrong. Never shows a secret.
        allowed: What would be right.
    """

    file: str
    line: int | None
    field: str
    message: str
    allowed: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        field = f" {self.field}:" if self.field else ""
        return f"{place}:{field} {self.message}; allowed: {self.allowed}"


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` holds everything that is wrong with it."""

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class RefusedError(ValueError):
    """A value that is not allowed, before it is known where it stands.

    Attributes:
        message: What is wrong.
        allowed: What would be right; empty where whoever asked for the value knows better.
        at: Where in the checked section, when the section was checked as a whole.
    """

    def __init__(self, message: str, allowed: str = "", at: Path = ()) -> None:
        self.message = message
        self.allowed = allowed
        self.at = at
        super().__init__(message)


def quoted(value: object, limit: int = 60) -> str:
    """A value as it is shown in a message: in quotes, short, without control characters."""
    if value is None:
        return "an empty value"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = str(value)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return '"' + "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text) + '"'


def dotted(path: Path) -> str:
    """A path as people write it: `policies[0].match.methods`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            name = part if part.replace("_", "").replace("-", "").isalnum() else quoted(part)
            text += f".{name}" if text else name
    return text
