"""What the server answers with: field blocks that need no compression state, and gRPC's statuses.

All fields are sent as literals without indexing (RFC 7541 §6.2.2) or from the static table, so a block is the
same bytes on every stream, and most of them are made once.
"""

from enum import IntEnum
from typing import Final

from hpack.hpack import encode_integer

MAX_DETAIL: Final = 1024
"""Characters of a grpc-message; with it a block of trailers always fits in one frame."""


class Status(IntEnum):
    """The statuses of gRPC that this server gives of its own accord."""

    OK = 0
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


_STATUS, _ALLOW, _CONTENT_TYPE = 8, 22, 31
"""Entries of the static table (RFC 7541, appendix A) that have these names."""
_STATUS_200: Final = b"\x88"


def _indexed_name(entry: int, value: bytes) -> bytes:
    return bytes(encode_integer(entry, 4)) + _string(value)


def _new_name(name: bytes, value: bytes) -> bytes:
    return b"\x00" + _string(name) + _string(value)


def _string(octets: bytes) -> bytes:
    return bytes(encode_integer(len(octets), 7)) + octets


TABLE_OFF: Final = b"\x20"
"""A dynamic table size update to 0 (RFC 7541 §6.3). It opens the first block of a connection: from then on
there is no dynamic table for the client to keep, and no lower size that it could demand (RFC 9113 §4.3.1)."""
RESPONSE: Final = _STATUS_200 + _indexed_name(_CONTENT_TYPE, b"application/grpc")
"""The head of every gRPC response."""
_ACCEPT_ENCODING: Final = _new_name(b"grpc-accept-encoding", b"identity")


def trailers(status: Status, detail: str = "") -> bytes:
    """The block that ends a response.

    A message that is refused as compressed is told what is accepted, as gRPC's compression spec demands.
    """
    block = _new_name(b"grpc-status", str(int(status)).encode())
    if status is Status.UNIMPLEMENTED:
        block += _ACCEPT_ENCODING
    return block + _new_name(b"grpc-message", percent_encoded(detail)) if detail else block


OK_TRAILERS: Final = trailers(Status.OK)


def trailers_only(status: Status, detail: str) -> bytes:
    """The block of a response that has nothing but an end: gRPC's Trailers-Only."""
    return RESPONSE + trailers(status, detail)


def http_error(status: int) -> bytes:
    """The block of an answer to what is not gRPC.

    The status is one of HTTP's errors, so that no client of HTTP takes it for a success, as it would 200 with
    a grpc-status (the gRPC-over-HTTP/2 spec, on content-type).
    """
    block = _indexed_name(_STATUS, str(status).encode())
    return block + _indexed_name(_ALLOW, b"POST") if status == 405 else block


def percent_encoded(detail: str) -> bytes:
    """A grpc-message: printable ASCII but `%` stands for itself, every other byte of UTF-8 as `%XX`."""
    octets = detail[:MAX_DETAIL].encode(errors="replace")
    return b"".join(
        bytes((octet,)) if 0x20 <= octet <= 0x7E and octet != 0x25 else b"%%%02X" % octet for octet in octets
    )
