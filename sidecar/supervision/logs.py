"""What the processes print: each line with the name of its process in front, as one stream."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TextIO

Sink = Callable[[str, str], None]
"""Takes the name of a process and one line of what it printed."""

LONGEST_LINE = 64 * 1024
"""Bytes; a longer line is passed on in pieces, so that a process that prints no newline costs no memory."""

_READ_SIZE = 16 * 1024
_COLOURS = (36, 32, 35, 33, 34, 96, 92, 95)
_NAME_WIDTH = 9


def discard(name: str, line: str) -> None:
    """The sink for whoever wants no logs."""
    del name, line


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether to colour: on a terminal, unless NO_COLOR is set or the terminal is dumb."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class NamedLines:
    """The sink that writes `envoy     | text` to a stream; each name keeps a colour of its own."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        self._stream = stream
        self._colour = colour
        self._colours: dict[str, int] = {}
        self._broken = False

    def __call__(self, name: str, line: str) -> None:
        """Write one line. A reader that went away (`… 2>&1 | head`) is no reason to stop the processes."""
        if self._broken:
            return
        try:
            self._stream.write(f"{self._label(name)} {line}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._broken = True

    def _label(self, name: str) -> str:
        label = f"{name:<{_NAME_WIDTH}}|"
        if not self._colour:
            return label
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        return f"\x1b[{colour}m{label}\x1b[0m"


async def forward(reader: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    """Pass every line of `reader` to `take`, without its end, until nothing more comes; drop blank lines."""
    pending = b""
    while chunk := await reader.read(_READ_SIZE):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            _take(line, take)
        if len(pending) >= LONGEST_LINE:
            _take(pending, take)
            pending = b""
    _take(pending, take)


def _take(line: bytes, take: Callable[[str], None]) -> None:
    text = line.decode(errors="replace").rstrip()
    if text:
        take(text)
