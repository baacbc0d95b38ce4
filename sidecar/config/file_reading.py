"""The configuration file and the files that hold secrets: read whole, bounded, each failure a problem."""

from pathlib import Path

import yaml

from sidecar.config.document import Document, Place
from sidecar.config.errors import ConfigError, ConfigProblem
from sidecar.config.yaml_reading import MAX_DEPTH, MAX_VALUES, Reading, TooMuchError, read_yaml

MAX_FILE = 1 << 20
MAX_SECRET = 1 << 14

_A_FILE = "a YAML file that can be read, of at most 1MiB"
_A_MAPPING = "a mapping with the fields server, store and policies"


def read_document(path: Path) -> tuple[Document, list[ConfigProblem]]:
    """The document in a file, and what is wrong with it so far.

    Raises:
        ConfigError: Nothing could be read of it.
    """
    reading = _parse(_text(path), str(path))
    if reading.value is None and not reading.problems:
        raise _error(path, "the file is empty", _A_MAPPING, 1)
    if reading.value is not None and not isinstance(reading.value, dict):
        raise _error(path, "the file does not hold a mapping", _A_MAPPING, 1)
    return Document(Place(str(path), 1), reading.value or {}, reading.places), reading.problems


def read_secret(path: Path) -> str:
    """The text of a file that holds one secret, without the line end after it.

    Raises:
        OSError: It cannot be read.
        ValueError: It is empty, too large, or not one line of UTF-8.
    """
    with path.open("rb") as file:
        content = file.read(MAX_SECRET + 1)
    text = content.decode().rstrip("\r\n")
    if not text or len(content) > MAX_SECRET or not text.isprintable():
        raise ValueError("not one line of text")
    return text


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise _error(path, f"the file cannot be read: {error.strerror}", _A_FILE) from None
    except ValueError:
        raise _error(path, "the file cannot be read: its name is not one", _A_FILE) from None
    if len(content) > MAX_FILE:
        raise _error(path, "the file is larger than 1MiB", _A_FILE)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _error(path, "the file is not UTF-8", "YAML in UTF-8", line) from None


def _parse(text: str, file: str) -> Reading:
    try:
        return read_yaml(text, file)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _error(
            file, f"the character U+{ord(text[error.position]):04X} is not YAML", "YAML", line
        ) from None
    except yaml.MarkedYAMLError as error:
        raise _error(file, *_words(error), error.problem_mark.line + 1 if error.problem_mark else 1) from None


def _words(error: yaml.MarkedYAMLError) -> tuple[str, str]:
    """What the parser says, without the excerpt of the text, which may hold a secret; and what is allowed."""
    if isinstance(error, TooMuchError):
        return f"{error.problem}", f"{MAX_DEPTH} levels and {MAX_VALUES} values"
    said = ", ".join(part for part in (error.context, error.problem) if part)
    colon = (
        ' (a text with a colon inside or at its end in quotes: "memory:")' if "mapping values" in said else ""
    )
    return f"not YAML: {said}", f"well-formed YAML{colon}"


def _error(file: Path | str, message: str, allowed: str, line: int | None = None) -> ConfigError:
    return ConfigError([ConfigProblem(str(file), line, "", message, allowed)])
