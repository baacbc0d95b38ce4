"""A request's fields: whether they are well-formed HTTP (RFC 9113 §8) and a gRPC call, and what they ask."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from sidecar.extproc.transport.native.faults import ErrorCode, H2StreamError
from sidecar.extproc.transport.native.responses import Status, http_error, trailers_only

_NAME: Final = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
"""A field's name: a token in lower case (RFC 9113 §8.2.1, RFC 9110 §5.6.2)."""
_BAD_VALUE: Final = re.compile(rb"[\x00\r\n]|\A[ \t]|[ \t]\Z")
_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_CONNECTION_SPECIFIC: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_CONTENT_TYPE: Final = re.compile(rb"application/grpc(\+proto)?[ \t]*(;.*)?", re.IGNORECASE)
_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_S: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


@dataclass(frozen=True, slots=True)
class RequestHead:
    """What a well-formed head asks for.

    `refusal` is the field block of the answer where the request is refused on the strength of its head alone.
    """

    path: bytes
    timeout_s: float | None = None
    content_length: int | None = None
    encoding: bytes = b"identity"
    refusal: bytes | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    """The regular ones by name, as Latin-1, but for `-bin`; of several of one name, the last."""


def read_head(fields: Iterable[tuple[bytes, bytes]]) -> RequestHead:
    """Check a request's fields and read what is needed of them.

    Raises:
        H2StreamError: The request is malformed: PROTOCOL_ERROR (RFC 9113 §8.1.1).
    """
    pseudo: dict[bytes, bytes] = {}
    regular: dict[bytes, bytes] = {}
    for name, value in fields:
        _check(name, value)
        if name.startswith(b":"):
            if regular or name in pseudo or name not in _PSEUDO:
                _malformed(f"{name!r} where it is not allowed")
            pseudo[name] = value
        elif name == b"content-length" and regular.get(name, value) != value:
            _malformed("two lengths")
        else:
            regular[name] = value
    _check_target(pseudo)
    return _call(pseudo, regular)


def check_trailers(fields: Iterable[tuple[bytes, bytes]]) -> None:
    """Check the fields after a request's content; gRPC's requests give them no meaning.

    Raises:
        H2StreamError: They are malformed, or hold a pseudo-header field: PROTOCOL_ERROR (RFC 9113 §8.1).
    """
    for name, value in fields:
        _check(name, value)
        if name.startswith(b":"):
            _malformed(f"{name!r} in trailers")


def _check(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
        _malformed(f"a field named {name!r} that must not be sent like this")
    if name in _CONNECTION_SPECIFIC or (name == b"te" and value != b"trailers"):
        _malformed(f"{name!r}, which is of HTTP/1.1")


def _check_target(pseudo: dict[bytes, bytes]) -> None:
    """What a request must have and must not (RFC 9113 §8.3.1, §8.5)."""
    method = pseudo.get(b":method")
    if method == b"CONNECT":
        if not pseudo.get(b":authority") or b":scheme" in pseudo or b":path" in pseudo:
            _malformed("a CONNECT of anything but an authority")
    elif not method or not pseudo.get(b":scheme") or not pseudo.get(b":path"):
        _malformed("a request without a method, a scheme or a path")


def _call(pseudo: dict[bytes, bytes], regular: dict[bytes, bytes]) -> RequestHead:
    """The gRPC-over-HTTP/2 spec's Call-Definition."""
    length = regular.get(b"content-length")
    if length is not None and not re.fullmatch(rb"[0-9]{1,18}", length):
        _malformed("a length that is no number")
    timeout = regular.get(b"grpc-timeout")
    return RequestHead(
        path=pseudo.get(b":path", b""),
        timeout_s=None if timeout is None else _timeout_s(timeout),
        content_length=None if length is None else int(length),
        encoding=regular.get(b"grpc-encoding", b"identity"),
        refusal=_refusal(pseudo[b":method"], regular),
        fields={
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in regular.items()
            if not name.endswith(b"-bin")
        },
    )


def _refusal(method: bytes, regular: dict[bytes, bytes]) -> bytes | None:
    if method != b"POST":
        return http_error(405)
    if not _CONTENT_TYPE.fullmatch(regular.get(b"content-type", b"")):
        return http_error(415)
    if regular.get(b"te") != b"trailers":
        # TE is part of a call. What is between here and a client that cannot send it may drop trailers as
        # well, and a failure without its trailers might be taken for an end that is well.
        return trailers_only(Status.INTERNAL, "a call without te: trailers")
    timeout = regular.get(b"grpc-timeout")
    if timeout is not None and _timeout_s(timeout) is None:
        return trailers_only(
            Status.INTERNAL, "grpc-timeout is not a number of up to 8 digits and one of HMSmun"
        )
    return None


def _timeout_s(value: bytes) -> float | None:
    """The seconds in a grpc-timeout; None where it is none."""
    found = _TIMEOUT.fullmatch(value)
    return int(found[1]) * _UNIT_S[found[2]] if found else None


def _malformed(detail: str) -> NoReturn:
    raise H2StreamError(ErrorCode.PROTOCOL_ERROR, detail)
