"""A real gRPC client, with messages as raw bytes, that shows all of how a call ended."""

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from tests.stack.grpc_upstream import Metadata

TIMEOUT_S = 10.0
REPLAYED = ("idempotent-replayed", "true")
_NOT_COMPARED = frozenset({"date", REPLAYED[0]})
"""What a replay has of its own (CONTRACT §4)."""
Stream: TypeAlias = "grpc._CallIterator[bytes]"


@dataclass(frozen=True)
class Ended:
    """How a call ended: its status, what came before, and all of its metadata as it came."""

    code: grpc.StatusCode
    details: str
    messages: tuple[bytes, ...]
    initial: Metadata
    trailing: Metadata

    @property
    def replayed(self) -> bool:
        """Whether it is marked as a replay: in the initial metadata, or where there is none."""
        return REPLAYED in (*self.initial, *self.trailing)

    @property
    def problem(self) -> str:
        """The type of the error the sidecar ended it with; empty where it was not the sidecar."""
        kind, _, _ = self.details.partition(": ")
        return kind.removeprefix("urn:idempotency:") if kind.startswith("urn:idempotency:") else ""

    def bare(self) -> "Ended":
        """The same, without what a replay has of its own."""
        return Ended(
            self.code, self.details, self.messages, _compared(self.initial), _compared(self.trailing)
        )


class GrpcClient:
    """Makes calls on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel

    def unary(self, path: str, key: str | None, message: bytes = b"m") -> Ended:
        """Send one message, get one."""
        method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(path)
        call = method.future(message, metadata=_keyed(key), timeout=TIMEOUT_S)
        with contextlib.suppress(grpc.RpcError):
            return _ended(call, (call.result(),))
        return _ended(call, ())

    def stream(self, path: str, key: str | None, messages: Iterable[bytes]) -> Ended:
        """Send a stream, get a stream; a call of any kind is one on the wire."""
        call = self.begin(path, key, messages)
        got: list[bytes] = []
        with contextlib.suppress(grpc.RpcError):
            got.extend(call)
        return _ended(call, tuple(got))

    def begin(self, path: str, key: str | None, messages: Iterable[bytes]) -> Stream:
        """Begin a stream, and read from it as it goes."""
        method: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(path)
        return method(iter(messages), metadata=_keyed(key), timeout=TIMEOUT_S)


@contextlib.contextmanager
def grpc_client(url: str, *, retry_on: str | None = None) -> Iterator[GrpcClient]:
    """A client of the server at this `http://` URL, with a connection of its own.

    `retry_on`: a status on which it makes a call again, up to five times, some 10 ms later.
    """
    # Two channels to one address would share a connection.
    options: list[tuple[str, int | str]] = [("grpc.use_local_subchannel_pool", 1)]
    if retry_on is not None:
        back_off = {"initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1}
        policy = {"maxAttempts": 5, "retryableStatusCodes": [retry_on], **back_off}
        options.append(
            ("grpc.service_config", json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]}))
        )
    with grpc.insecure_channel(url.removeprefix("http://"), options) as channel:
        yield GrpcClient(channel)


def _keyed(key: str | None) -> Metadata:
    return () if key is None else (("idempotency-key", key),)


def _ended(call: grpc.Call, messages: tuple[bytes, ...]) -> Ended:
    initial, trailing = (
        tuple((name, value) for name, value in metadata or ())
        for metadata in (call.initial_metadata(), call.trailing_metadata())
    )
    return Ended(call.code(), call.details() or "", messages, initial, trailing)


def _compared(metadata: Metadata) -> Metadata:
    return tuple(pair for pair in metadata if pair[0] not in _NOT_COMPARED)
