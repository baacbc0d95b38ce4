"""Commands as the bytes of RESP, without a copy of what is big."""

from functools import lru_cache
from typing import TypeAlias

import hiredis

Argument: TypeAlias = str | bytes | int
Packed: TypeAlias = tuple[bytes, ...]
"""One command, to be written in this order."""

_END = b"\r\n"

JOINED_BELOW = 64 * 1024
"""From so many bytes on, one more system call is cheaper than copying them next to others."""


def pack(command: tuple[Argument, ...]) -> Packed:
    """One command; its last argument stays as it is where it is big, for only records are."""
    last = command[-1]
    if not isinstance(last, bytes) or len(last) < JOINED_BELOW:
        return (_pack(command),)
    beginning = _pack((*command[:-1], b"")).removesuffix(b"$0\r\n\r\n")
    return (beginning + _announced(len(last)), last, _END)


def pack_transition(
    sha1: str, key: str, owner: str, settings: tuple[Argument, ...], data: bytes | None = None
) -> Packed:
    """The EVALSHA of a script with one key, as `pack` would have it, in half of the time.

    Args:
        sha1: The script.
        key: Its key.
        owner: Its first argument.
        settings: Its further arguments, such as come again: what a policy says, an attempt's number.
        data: Its last argument; None where it has none.
    """
    head, same = _packed_once(sha1, settings, data is not None)
    key_, owner_ = key.encode(), owner.encode()
    begun = (head, _announced(len(key_)), key_, _END, _announced(len(owner_)), owner_, _END, same)
    if data is None:
        return (b"".join(begun),)
    if len(data) < JOINED_BELOW:
        return (b"".join((*begun, _announced(len(data)), data, _END)),)
    return (b"".join((*begun, _announced(len(data)))), data, _END)


@lru_cache(maxsize=1024)
def _packed_once(sha1: str, settings: tuple[Argument, ...], with_data: bool) -> tuple[bytes, bytes]:
    """What stands before the key, and what stands behind the owner."""
    before = ("EVALSHA", sha1, 1)
    count = len(before) + 2 + len(settings) + with_data
    return b"*%d\r\n%b" % (count, _arguments(before)), _arguments(settings)


@lru_cache(maxsize=1024)
def _announced(size: int) -> bytes:
    """What stands before an argument of so many bytes; to remember it is cheaper than to write it."""
    return b"$%d\r\n" % size


def _arguments(command: tuple[Argument, ...]) -> bytes:
    """A command without the number of its arguments."""
    return _pack(command).partition(b"\r\n")[2]


def size(command: Packed) -> int:
    """How many bytes a command is."""
    return len(command[0]) if len(command) == 1 else sum(map(len, command))


def _pack(command: tuple[Argument, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type]  # declared for one argument only
    return packed
