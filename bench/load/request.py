"""What is asked, whoever asks it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Keys(StrEnum):
    """Which key the requests of a burst bear."""

    NONE = "none"
    FIXED = "fixed"
    UNIQUE = "unique"
    """One for each request, beginning with a prefix of the burst's own."""


@dataclass(frozen=True, slots=True)
class Request:
    """A POST, sent again and again.

    Attributes:
        url: Where to.
        keys: Which keys.
        key: The key, or the prefix of them all.
        body: The file with the body; None: none.
    """

    url: str
    keys: Keys
    key: str = "-"
    body: Path | None = None
