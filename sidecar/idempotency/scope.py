"""Whose key it is: what a key is combined with before it becomes an id (CONTRACT §3, `scope`)."""

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from sidecar.idempotency.fields import values
from sidecar.idempotency.identity import metadata, peer, verified_claim
from sidecar.idempotency.request import Request

_VERSION = b"idempotency-id/1"
_IN_SHADOW = b"idempotency-shadow-id/1"
"""What is only watched never meets what is enforced, though scope and key be the same."""
_LENGTH = struct.Struct(">Q").pack


def frame(*pieces: bytes) -> bytes:
    """The pieces, each behind its length in 8 bytes: an injective concatenation."""
    return b"".join([part for piece in pieces for part in (_LENGTH(len(piece)), piece)])


def frames_of(found: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """What `frame` makes of the number of the values and of each of them, to be joined with the rest."""
    if len(found) == 1:  # as nearly always
        (value,) = found
        return _ONE, _LENGTH(len(value)), value
    return (frame(b"%d" % len(found), *found),)


_ONE, _KEY = frame(b"1"), frame(b"key")


@dataclass(frozen=True, slots=True)
class ScopePart:
    """One part of a scope.

    `kind` is `host`, `method`, `path`, `header`, `jwt`, `peer` or `metadata`; `name` that of the header
    (lower-case), of the claim, or of the namespace and key with a dot between.
    """

    kind: str
    name: str = ""
    frame: bytes = field(init=False, repr=False, compare=False)
    """Kind and name, framed once for every id."""
    frame_of_one: bytes = field(init=False, repr=False, compare=False)
    """The same, and that there is one value."""
    read: "Callable[[Request, str], tuple[bytes, ...]]" = field(init=False, repr=False, compare=False)
    """What a request has here, by `name`: no value where the part is absent, which is not the empty value."""

    HOST: ClassVar["ScopePart"]
    METHOD: ClassVar["ScopePart"]
    PATH: ClassVar["ScopePart"]

    def __post_init__(self) -> None:
        """Make once what is the same for every request."""
        kind_and_name = frame(self.kind.encode(), self.name.encode())
        object.__setattr__(self, "frame", kind_and_name)
        object.__setattr__(self, "frame_of_one", kind_and_name + _ONE)
        object.__setattr__(self, "read", _READERS[self.kind])

    @classmethod
    def header(cls, name: str) -> "ScopePart":
        """The values of a request header, all of them, in order."""
        return cls("header", name.lower())


_READERS: Mapping[str, Callable[[Request, str], tuple[bytes, ...]]] = {
    "host": lambda request, _: (request.authority.lower().encode("latin-1"),),
    "method": lambda request, _: (request.method.encode("latin-1"),),
    "path": lambda request, _: (request.path.encode("latin-1"),),
    "header": lambda request, name: values(request.headers, name),
    "jwt": lambda request, claim: verified_claim(request.context, claim),
    "peer": lambda request, _: peer(request.context),
    "metadata": lambda request, name: metadata(request.context, name),
}

ScopePart.HOST = ScopePart("host")
ScopePart.METHOD = ScopePart("method")
ScopePart.PATH = ScopePart("path")


def record_id(parts: tuple[ScopePart, ...], request: Request, key: str, *, in_shadow: bool = False) -> str:
    """The id of (scope, key): SHA-256 in hexadecimal; `in_shadow`: of one that is only watched.

    Every part is framed with its kind, its name, its number of values and each value's length, so that
    no two different scopes can meet by concatenation and an absent part never equals an empty one.
    """
    framed = [_IN_SHADOW if in_shadow else _VERSION]
    for part in parts:
        found = part.read(request, part.name)
        if len(found) == 1:  # as nearly always
            (value,) = found
            framed += (part.frame_of_one, _LENGTH(len(value)), value)
        else:
            framed += (part.frame, *frames_of(found))
    encoded = key.encode()
    framed += (_KEY, _LENGTH(len(encoded)), encoded)
    return hashlib.sha256(b"".join(framed)).hexdigest()
