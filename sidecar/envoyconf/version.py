"""Which Envoy a configuration is for, and what that one can do (docs/decisions/0018).

Light to import: none of Envoy's types is loaded here.
"""

import re
from dataclasses import dataclass
from typing import ClassVar

_FORM = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.\d{1,4})?")


@dataclass(frozen=True, slots=True, order=True)
class EnvoyVersion:
    """A minor version of Envoy: features do not change within one."""

    major: int
    minor: int

    SUPPORTED: ClassVar[tuple["EnvoyVersion", ...]]
    """Oldest first."""

    @classmethod
    def parse(cls, text: str) -> "EnvoyVersion":
        """Read `1.39` or `1.39.3`.

        Raises:
            ValueError: It is neither, or no configuration is made for it; the message says what is allowed.
        """
        form = _FORM.fullmatch(text)
        version = None if form is None else cls(int(form[1]), int(form[2]))
        if version not in cls.SUPPORTED:
            allowed = ", ".join(map(str, cls.SUPPORTED[:-1]))
            raise ValueError(
                f"{text} is not available; allowed: {allowed} or {cls.SUPPORTED[-1]}, or a release of one, "
                f"such as {cls.SUPPORTED[-2]}.1"
            )
        return version

    def __str__(self) -> str:
        """As it is written: `1.40`."""
        return f"{self.major}.{self.minor}"

    @property
    def reads_held_bodies(self) -> bool:
        """It shows a body on demand while it holds the head (a `mode_override` on its own)."""
        return self >= EnvoyVersion(1, 40)

    @property
    def keeps_lengths(self) -> bool:
        """It can leave a content-length on what is shown as it passes (`allow_content_length_header`)."""
        return self >= EnvoyVersion(1, 38)

    @property
    def streams_replies(self) -> bool:
        """It knows StreamedImmediateResponse."""
        return self >= EnvoyVersion(1, 37)


EnvoyVersion.SUPPORTED = tuple(EnvoyVersion(1, minor) for minor in range(36, 41))
NEWEST = EnvoyVersion.SUPPORTED[-1]
"""What a configuration is for where nobody says otherwise."""
