"""Commands as the bytes of RESP, without a copy of what is big."""

from typing import TypeAlias

import hiredis

Argument: TypeAlias = str | bytes | int
Packed: TypeAlias = tuple[bytes, ...]
"""One command, to be written in this order."""

JOINED_BELOW = 64 * 1024
"""From so many bytes on, one more system call is cheaper than copying them next to others."""


def pack(command: tuple[Argument, ...]) -> Packed:
    """One command; its last argument stays as it is where it is big, for only records are."""
    last = command[-1]
    if not isinstance(last, bytes) or len(last) < JOINED_BELOW:
        return (_pack(command),)
    beginning = _pack((*command[:-1], b"")).removesuffix(b"$0\r\n\r\n")
    return (b"%b$%d\r\n" % (beginning, len(last)), last, b"\r\n")


def size(command: Packed) -> int:
    """How many bytes a command is."""
    return len(command[0]) if len(command) == 1 else sum(map(len, command))


def _pack(command: tuple[Argument, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # declared for one argument only
    return packed
