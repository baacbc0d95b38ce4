"""What can happen to an exchange: Envoy's messages, the stream's end, answers of store and origin, time."""

from enum import Enum, auto
from typing import TypeAlias

from sidecar.idempotency.body import ReceivedBody
from sidecar.idempotency.claim import Claimed, Expired, InFlight, Recorded, Unknown
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Origin
from sidecar.idempotency.request import Request
from sidecar.idempotency.value import Value


class RequestHeaders(Value):
    """The head of the request; Envoy holds it until it is answered. `end_of_stream`: it has no body.

    `request_duplex` and `response_duplex`: the filter is configured to exchange that body in full duplex.
    """

    request: Request
    end_of_stream: bool
    request_duplex: bool = False
    response_duplex: bool = False


class RequestBody(Value):
    """A piece of the request body, possibly empty; `end_of_stream` marks the last."""

    data: bytes
    end_of_stream: bool


class RequestTrailers(Value):
    """The request ended with trailers (whose contents do not count)."""


class ResponseHeaders(Value):
    """The head of the response, the upstream's or Envoy's own: `origin` tells which."""

    status: int
    headers: Fields
    origin: Origin
    end_of_stream: bool


class ResponseBody(Value):
    """A piece of the response body, possibly empty; `end_of_stream` marks the last."""

    data: bytes
    end_of_stream: bool


class ResponseTrailers(Value):
    """The response ended with trailers."""

    fields: Fields


class StreamEnded(Value):
    """Envoy's stream is over, for whatever reason: done, client gone, upstream reset. Nothing can be sent."""


class ClaimFailed(Value):
    """The store gave no answer to the claim, which may nevertheless have been taken.

    `unavailable` is false where the store answered with something that cannot be read: then nothing is
    known about the key and nothing may pass, whatever the policy says of an unavailable store. `asked` is
    false where nothing was sent to it: then there can be no claim to drop.
    """

    unavailable: bool
    asked: bool = True


class Settled(Value):
    """The store answered `Complete`, `Release` or `MarkUnknown`. Not `held`: the claim was no longer ours."""

    held: bool


class SettlingFailed(Value):
    """The store gave no answer to `Complete`, `Release` or `MarkUnknown`; it may have been done."""


class RenewalDue(Value):
    """The time asked for by `RenewLater` has passed."""


class Renewed(Value):
    """The store answered `Renew`. Not `held`: the claim is no longer ours."""

    held: bool


class RenewalFailed(Value):
    """The store gave no answer to `Renew`."""


class Noted(Value):
    """The store answered `NoteFingerprint`. Not `held`: the claim is no longer ours."""

    held: bool


class NotingFailed(Value):
    """The store gave no answer to `NoteFingerprint`; it may have been done."""


class OwnerGone(Value):
    """The owner of the claim is done, or may be: ask for the claim again."""


class WaitFailed(Value):
    """The store cannot say when the owner is done."""


class PieceFetched(Value):
    """The piece that `FetchPiece` asked for."""

    data: bytes


class PieceLost(Value):
    """The piece that `FetchPiece` asked for is not to be had: it is gone or damaged, or the store away."""


class WaitOver(Value):
    """The time given to `WaitAtMost` has passed."""


class Executed(Value):
    """The origin answered a detached execution, to its end.

    `body` is None where it was larger than the policy's `max_response_body`: it was read and let go.
    """

    status: int
    headers: Fields
    body: ReceivedBody | None
    trailers: Fields
    origin: Origin


class Failure(Enum):
    """Why a detached execution has no answer."""

    NEVER_SENT = auto()
    """Nothing of it was sent."""
    LOST = auto()
    """It may have been sent, and its answer did not come, or not to its end."""
    DEADLINE = auto()
    """It was sent, and not answered within the policy's deadline."""


class ExecutionFailed(Value):
    """A detached execution has no answer."""

    failure: Failure


EnvoyEvent: TypeAlias = (
    RequestHeaders | RequestBody | RequestTrailers | ResponseHeaders | ResponseBody | ResponseTrailers
)
ClaimEvent: TypeAlias = Claimed | InFlight | Recorded | Unknown | Expired | ClaimFailed
StoreEvent: TypeAlias = (
    ClaimEvent
    | Settled
    | SettlingFailed
    | Renewed
    | RenewalFailed
    | Noted
    | NotingFailed
    | OwnerGone
    | WaitFailed
    | PieceFetched
    | PieceLost
)
OriginEvent: TypeAlias = Executed | ExecutionFailed
TimerEvent: TypeAlias = RenewalDue | WaitOver
Event: TypeAlias = EnvoyEvent | StreamEnded | StoreEvent | OriginEvent | TimerEvent

__all__ = [
    "ClaimEvent",
    "ClaimFailed",
    "Claimed",
    "EnvoyEvent",
    "Event",
    "Executed",
    "ExecutionFailed",
    "Expired",
    "Failure",
    "InFlight",
    "Noted",
    "NotingFailed",
    "OriginEvent",
    "OwnerGone",
    "PieceFetched",
    "PieceLost",
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
    "TimerEvent",
    "Unknown",
    "WaitFailed",
    "WaitOver",
]
