"""What can happen to an exchange: Envoy's messages, the end of its stream, the store's answers, a timer."""

from dataclasses import dataclass
from typing import TypeAlias

from sidecar.idempotency.claim import Claimed, InFlight, Recorded, Unknown
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Origin
from sidecar.idempotency.request import Request


@dataclass(frozen=True, slots=True)
class RequestHeaders:
    """The head of the request; Envoy holds it until it is answered. `end_of_stream`: it has no body."""

    request: Request
    end_of_stream: bool


@dataclass(frozen=True, slots=True)
class RequestBody:
    """A piece of the request body, possibly empty; `end_of_stream` marks the last."""

    data: bytes
    end_of_stream: bool


@dataclass(frozen=True, slots=True)
class RequestTrailers:
    """The request ended with trailers (whose contents do not count)."""


@dataclass(frozen=True, slots=True)
class ResponseHeaders:
    """The head of the response, the upstream's or Envoy's own: `origin` tells which."""

    status: int
    headers: Fields
    origin: Origin
    end_of_stream: bool


@dataclass(frozen=True, slots=True)
class ResponseBody:
    """A piece of the response body, possibly empty; `end_of_stream` marks the last."""

    data: bytes
    end_of_stream: bool


@dataclass(frozen=True, slots=True)
class ResponseTrailers:
    """The response ended with trailers."""

    fields: Fields


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """Envoy's stream is over, for whatever reason: done, client gone, upstream reset. Nothing can be sent."""


@dataclass(frozen=True, slots=True)
class ClaimFailed:
    """The store gave no answer to the claim, which may nevertheless have been taken.

    `unavailable` is false where the store answered with something that cannot be read: then nothing is
    known about the key and nothing may pass, whatever the policy says of an unavailable store.
    """

    unavailable: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """The store answered `Complete`, `Release` or `MarkUnknown`. Not `held`: the claim was no longer ours."""

    held: bool


@dataclass(frozen=True, slots=True)
class SettlingFailed:
    """The store gave no answer to `Complete`, `Release` or `MarkUnknown`; it may have been done."""


@dataclass(frozen=True, slots=True)
class RenewalDue:
    """The time asked for by `RenewLater` has passed."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """The store answered `Renew`. Not `held`: the claim is no longer ours."""

    held: bool


@dataclass(frozen=True, slots=True)
class RenewalFailed:
    """The store gave no answer to `Renew`."""


EnvoyEvent: TypeAlias = (
    RequestHeaders | RequestBody | RequestTrailers | ResponseHeaders | ResponseBody | ResponseTrailers
)
ClaimEvent: TypeAlias = Claimed | InFlight | Recorded | Unknown | ClaimFailed
StoreEvent: TypeAlias = ClaimEvent | Settled | SettlingFailed | Renewed | RenewalFailed
Event: TypeAlias = EnvoyEvent | StreamEnded | StoreEvent | RenewalDue

__all__ = [
    "ClaimEvent",
    "ClaimFailed",
    "Claimed",
    "EnvoyEvent",
    "Event",
    "InFlight",
    "Recorded",
    "RenewalDue",
    "RenewalFailed",
    "Renewed",
    "RequestBody",
    "RequestHeaders",
    "RequestTrailers",
    "ResponseBody",
    "ResponseHeaders",
    "ResponseTrailers",
    "Settled",
    "SettlingFailed",
    "StoreEvent",
    "StreamEnded",
    "Unknown",
]
