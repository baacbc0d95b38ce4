"""Whose key it is: what a key is combined with before it becomes an id (CONTRACT §3, `scope`)."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from sidecar.idempotency.fields import values
from sidecar.idempotency.framing import ONE_VALUE, frame, frame_of_text, frames, frames_of_values
from sidecar.idempotency.identity import JWT_NAMESPACE, metadata, peer, verified_claim
from sidecar.idempotency.request import Request

_VERSION = b"idempotency-id/1"
_IN_SHADOW = b"idempotency-shadow-id/1"
"""What is only watched never meets what is enforced, though scope and key be the same."""
_KEY = frame(b"key")

PEER = "peer"
"""The source of what is read off the client's certificate."""

Framed: TypeAlias = Callable[[Request], bytes]
"""What a request has in one part of a scope."""


@dataclass(frozen=True, slots=True)
class ScopePart:
    """One part of a scope.

    `kind` is `host`, `method`, `path`, `header`, `jwt`, `peer` or `metadata`; `name` that of the header
    (lower-case), of the claim, or of the namespace and key with a dot between.
    """

    kind: str
    name: str = ""
    framed: Framed = field(init=False, repr=False, compare=False)
    """Kind, name, and what a request has here: no value where it is absent, which is not the empty value."""

    HOST: ClassVar["ScopePart"]
    METHOD: ClassVar["ScopePart"]
    PATH: ClassVar["ScopePart"]

    source: str = field(init=False, repr=False, compare=False)
    """Where Envoy has to tell it from, beside the request's head: `PEER`, or a namespace of dynamic metadata;
    empty where the head is enough."""

    def __post_init__(self) -> None:
        """Make once what is the same for every request."""
        object.__setattr__(self, "source", _source(self.kind, self.name))
        kind_and_name = frames(self.kind.encode(), self.name.encode())
        object.__setattr__(self, "framed", _FRAMED[self.kind](kind_and_name, self.name))

    @classmethod
    def header(cls, name: str) -> "ScopePart":
        """The values of a request header, all of them, in order."""
        return cls("header", name.lower())


def _source(kind: str, name: str) -> str:
    """A namespace may have dots of its own, a key has none."""
    if kind == "metadata":
        return name.rpartition(".")[0]
    return {"jwt": JWT_NAMESPACE, "peer": PEER}.get(kind, "")


def _host(head: bytes, _: str) -> Framed:
    head += ONE_VALUE
    return lambda request: head + frame_of_text(request.authority.lower())


def _method(head: bytes, _: str) -> Framed:
    """In one case, as policies match it: a service that takes `patch` for PATCH must not execute both."""
    head += ONE_VALUE
    return lambda request: head + frame_of_text(request.method.upper())


def _path(head: bytes, _: str) -> Framed:
    head += ONE_VALUE
    return lambda request: head + frame_of_text(request.path)


_FRAMED: Mapping[str, Callable[[bytes, str], Framed]] = {
    "host": _host,
    "method": _method,
    "path": _path,
    "header": lambda head, name: lambda request: head + frames_of_values(values(request.headers, name)),
    "jwt": lambda head, claim: (
        lambda request: head + frames_of_values(verified_claim(request.context, claim))
    ),
    "peer": lambda head, _: lambda request: head + frames_of_values(peer(request.context)),
    "metadata": lambda head, name: lambda request: head + frames_of_values(metadata(request.context, name)),
}

ScopePart.HOST = ScopePart("host")
ScopePart.METHOD = ScopePart("method")
ScopePart.PATH = ScopePart("path")


def record_id(parts: tuple[ScopePart, ...], request: Request, key: str, *, in_shadow: bool = False) -> str:
    """The id of (scope, key): SHA-256 in hexadecimal; `in_shadow`: of one that is only watched.

    Every part is framed with its kind, its name, its number of values and each value's length, so that
    no two different scopes can meet by concatenation and an absent part never equals an empty one.
    """
    framed = [part.framed(request) for part in parts]
    version = _IN_SHADOW if in_shadow else _VERSION
    return hashlib.sha256(b"".join((version, *framed, _KEY, frame(key.encode())))).hexdigest()
