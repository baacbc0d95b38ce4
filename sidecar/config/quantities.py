"""Durations and sizes as they are written: `30s` is milliseconds inside, `64KiB` is bytes."""

import re
from types import MappingProxyType

from sidecar.config.errors import RefusedError, quoted

DURATION_FORM = "a number with ms, s, m, h or d, such as 30s"
SIZE_FORM = "a number of bytes, or one with KiB, MiB or GiB, such as 64KiB"

_MILLISECONDS = MappingProxyType({"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1})
_BYTES = MappingProxyType({"GiB": 1 << 30, "MiB": 1 << 20, "KiB": 1 << 10, "": 1})
DURATION = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")
SIZE = re.compile(r"([0-9]{1,12})(KiB|MiB|GiB|)")


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as `250ms`, `30s`, `24h` or `7d`.

    Raises:
        RefusedError: The text is not a duration.
    """
    found = DURATION.fullmatch(text)
    if found is None:
        raise RefusedError(f"{quoted(text)} is not a duration", DURATION_FORM)
    return int(found[1]) * _MILLISECONDS[found[2]]


def parse_size(text: str) -> int:
    """Bytes of a size such as `512`, `64KiB` or `1MiB`.

    Raises:
        RefusedError: The text is not a size.
    """
    found = SIZE.fullmatch(text)
    if found is None:
        raise RefusedError(f"{quoted(text)} is not a size", SIZE_FORM)
    return int(found[1]) * _BYTES[found[2]]


def format_duration(milliseconds: int) -> str:
    """The shortest way to write a duration, in whole units: 86_400_000 is `1d`, 0 is `0s`."""
    if milliseconds == 0:
        return "0s"
    return next(
        f"{milliseconds // size}{unit}" for unit, size in _MILLISECONDS.items() if not milliseconds % size
    )


def format_size(size: int) -> str:
    """The shortest way to write a size, in whole units: 1_048_576 is `1MiB`, 0 is `0`."""
    if size == 0:
        return "0"
    return next(f"{size // factor}{unit}" for unit, factor in _BYTES.items() if not size % factor)
