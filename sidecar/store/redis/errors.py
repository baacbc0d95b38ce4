"""From what redis-py raises to what the port promises; no message carries a credential or a driver's text."""

import os
import ssl

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from sidecar.store.port import StoreCorruptError, StoreError, StoreUnavailableError

_REASONS: tuple[tuple[type[RedisError], str], ...] = (
    (ReadOnlyError, "the server is a read-only replica"),
    (OutOfMemoryError, "the server is out of memory and evicts nothing"),
    (BusyLoadingError, "the server is still loading its data"),
    (MasterDownError, "the server is a replica that lost its primary"),
    (ClusterDownError, "the cluster is down"),
    (MovedError, "the id belongs to another node of the cluster"),
    (AuthenticationError, "the server refused the credentials"),
    (
        NoPermissionError,
        (
            "the user may not do this; "
            "it needs EVALSHA, EVAL, SET, GET, EXISTS, SUBSCRIBE, UNSUBSCRIBE and what the scripts call"
        ),
    ),
)
"""The first that fits, so subclasses come before their bases."""

_SAID = {"DB index is out of range": "the server has no database of that number"}
"""Plain `ERR` replies with a meaning of their own; any other text may repeat a command's arguments."""

_DAMAGED = {
    "WRONGTYPE": "the key holds another type of value",
    "CORRUPT": "the entry is damaged, or written by a newer sidecar",
}


def port_error(operation: str, place: str, error: Exception, timeout_ms: int) -> StoreError:
    """The port's error for one of the driver's.

    Args:
        operation: The store operation, as the port calls it.
        place: The server, `host:port/db`.
        error: A `RedisError` or an `OSError`, of which a `TimeoutError` is one.
        timeout_ms: How long the operation was given, in milliseconds.
    """
    code = _code(error)
    if code in _DAMAGED:
        return StoreCorruptError(f"{operation} on {place}: {_DAMAGED[code]}")
    return StoreUnavailableError(f"{operation} on {place}: {_reason(error, code, timeout_ms)}")


def _reason(error: Exception, code: str, timeout_ms: int) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_ms} ms"
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if str(error) in _SAID:
        return _SAID[str(error)]
    if isinstance(error, ResponseError):
        return f"the server answered {code or 'with an error'}"
    return f"no connection ({_cause(error)})"


def _cause(error: BaseException) -> str:
    """What the operating system or TLS said, found below the driver's exception."""
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLCertVerificationError):
            return f"certificate not accepted: {below.verify_message}"
        if isinstance(below, OSError) and below.strerror:
            return os.strerror(below.errno) if below.errno and below.errno > 0 else below.strerror
        below = below.__cause__ or below.__context__
    return "closed by the server"


def _code(error: Exception) -> str:
    """The error code a reply begins with (`MISCONF`, `NOREPLICAS`), or an empty string."""
    word = str(error).partition(" ")[0]
    return word if isinstance(error, ResponseError) and word.isalpha() and word.isupper() else ""
