import ssl

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from sidecar.store.port import StoreCorruptError, StoreUnavailableError
from sidecar.store.redis.errors import port_error

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "no answer within 250 ms"),
        (ReadOnlyError(SECRET), "the server is a read-only replica"),
        (OutOfMemoryError(SECRET), "the server is out of memory and evicts nothing"),
        (BusyLoadingError(SECRET), "the server is still loading its data"),
        (MasterDownError(SECRET), "the server is a replica that lost its primary"),
        (ClusterDownError(SECRET), "the cluster is down"),
        (MovedError("3999 127.0.0.1:6381"), "the id belongs to another node of the cluster"),
        (AuthenticationError(SECRET), "the server refused the credentials"),
        (
            NoPermissionError(SECRET),
            (
                "the user may not do this; "
                "it needs EVALSHA, EVAL, SET, GET, EXISTS, SUBSCRIBE, UNSUBSCRIBE and what the scripts call"
            ),
        ),
        (ResponseError(f"MISCONF {SECRET}"), "the server answered MISCONF"),
        (ResponseError(f"unknown command, with args {SECRET}"), "the server answered with an error"),
        (RedisConnectionError(SECRET), "no connection (closed by the server)"),
        (ConnectionResetError(104, SECRET), "no connection (Connection reset by peer)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_is_said_in_words_of_our_own(error: Exception, said: str) -> None:
    made = port_error("claim", "store:6379/0", error, 250)
    assert isinstance(made, StoreUnavailableError)
    assert str(made) == f"claim on store:6379/0: {said}"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("WRONGTYPE", "the key holds another type of value"),
        ("CORRUPT", "the entry is damaged, or written by a newer sidecar"),
    ],
)
def test_damage_is_never_called_unavailability(code: str, said: str) -> None:
    made = port_error("renew", "store:6379/0", ResponseError(f"{code} {SECRET}"), 250)
    assert isinstance(made, StoreCorruptError)
    assert str(made) == f"renew on store:6379/0: {said}"


def test_the_cause_below_the_drivers_exception_is_named() -> None:
    certificate = ssl.SSLCertVerificationError(1, SECRET)
    certificate.verify_message = "self-signed certificate"
    refused = RedisConnectionError(SECRET)
    refused.__context__ = certificate
    made = port_error("ping", "store:6379/0", refused, 250)
    assert str(made).endswith("no connection (certificate not accepted: self-signed certificate)")
