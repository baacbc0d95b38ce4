"""What an exchange wants done: answers to Envoy, store operations, a call, a timer, things to count."""

from typing import TypeAlias

from sidecar.idempotency.body import HeldBody, LargeBody
from sidecar.idempotency.claim import Claim, UnknownPolicy, UnknownReason
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.grpc import GrpcStatus
from sidecar.idempotency.outcome import Outcome
from sidecar.idempotency.record import Record
from sidecar.idempotency.request import Request
from sidecar.idempotency.value import Value

# --- Answers. Outside full duplex each of Envoy's messages gets exactly one.


class PassRequest(Value):
    """Forward the request and hear no more of it; `remove` names header fields a client may not set."""

    remove: tuple[str, ...] = ()


class PassHeld(Value):
    """Forward a request that was held, head and body, and hear no more of it.

    `remove` names header fields a client may not set.
    """

    body: bytes
    has_trailers: bool
    remove: tuple[str, ...] = ()


class WatchRequest(Value):
    """Forward the request as it is, and show the rest of it and its response as they pass."""

    has_body: bool


class ForwardRequest(Value):
    """Forward the request as attempt `attempt`, and show the rest of it and its response as they pass."""

    attempt: int
    has_body: bool


class ReadRequestBody(Value):
    """Keep holding the request's head and show its body, which is then not forwarded."""


class HoldRequest(Value):
    """Keep holding the request's head and show its body, which `ForwardHeld` may forward later."""


class ForwardHeld(Value):
    """Forward a request that was held, head and body, as attempt `attempt`, and show its response."""

    attempt: int
    body: bytes
    has_trailers: bool


class ExtendTimeout(Value):
    """Wait up to `timeout_ms` for the answer to the message that was shown last; not an answer itself."""

    timeout_ms: int


class PassRequestBody(Value):
    """Forward this piece of the request body."""


class EchoRequestBody(Value):
    """Forward a piece of the request body that was handed over (full duplex)."""

    data: bytes
    end_of_stream: bool


class PassRequestTrailers(Value):
    """Forward the request trailers."""


class PassResponseHeaders(Value):
    """Give the client the head of the response, less the fields named in `remove`.

    With `more` the rest of the response is shown as it passes; without, it passes unseen. `advertised` are
    fields that the client is told beside the upstream's.
    """

    more: bool
    remove: tuple[str, ...] = ()
    advertised: Fields = ()


class PassResponseBody(Value):
    """Give the client this piece of the response body."""


class EchoResponseBody(Value):
    """Give the client a piece of the response body that was handed over (full duplex)."""

    data: bytes
    end_of_stream: bool


class PassResponseTrailers(Value):
    """Give the client the response trailers."""


class Reply(Value):
    """Answer the client here and now; nothing goes upstream. `details` shows in Envoy's access log.

    `to_call`: what is answered is a gRPC call. With a `grpc_status` it ends in that error, `headers` being
    its metadata and `body` the text of its message; without, it gets the recorded response as it was.
    """

    status: int
    headers: Fields
    body: bytes
    details: str
    trailers: Fields = ()
    to_call: bool = False
    grpc_status: GrpcStatus | None = None


class LargeReply(Value):
    """What a client is to be answered with where the body is large; otherwise as `Reply`.

    No answer itself: it is given as `BeginReply`, `ReplyPiece`s and `ReplyTrailers`, or as `ReplyAtOnce`.
    """

    status: int
    headers: Fields
    body: LargeBody
    details: str
    trailers: Fields = ()
    to_call: bool = False


class BeginReply(Value):
    """Give the client the head of a large reply; its body follows."""

    reply: LargeReply


class ReplyPiece(Value):
    """Give the client the next piece of a large reply's body; `ends`: nothing follows, trailers neither."""

    data: bytes
    ends: bool


class ReplyTrailers(Value):
    """End a large reply with trailers; `to_call` as for `Reply`."""

    fields: Fields
    to_call: bool


class ReplyAtOnce(Value):
    """Give the client all of a large reply that would lose something if it were streamed."""

    reply: LargeReply
    body: HeldBody


Answer: TypeAlias = (
    PassRequest
    | PassHeld
    | WatchRequest
    | ForwardRequest
    | ReadRequestBody
    | HoldRequest
    | ForwardHeld
    | ExtendTimeout
    | PassRequestBody
    | EchoRequestBody
    | PassRequestTrailers
    | PassResponseHeaders
    | PassResponseBody
    | EchoResponseBody
    | PassResponseTrailers
    | Reply
    | BeginReply
    | ReplyPiece
    | ReplyTrailers
    | ReplyAtOnce
)

# --- Operations of the store. Each comes back as an event.


class TakeClaim(Value):
    """Ask for the claim; comes back as a `ClaimEvent`."""

    wanted: Claim
    unknown: UnknownPolicy


class Renew(Value):
    """Extend the lease; comes back as `Renewed` or `RenewalFailed`."""

    claim: Claim


class Complete(Value):
    """Keep the record; comes back as `Settled` or `SettlingFailed`."""

    claim: Claim
    record: Record


class Release(Value):
    """Drop the claim; comes back as `Settled` or `SettlingFailed`."""

    claim: Claim


class MarkUnknown(Value):
    """Keep that the outcome is unknown; comes back as `Settled` or `SettlingFailed`."""

    claim: Claim
    reason: UnknownReason
    fingerprint: bytes | None


class NoteFingerprint(Value):
    """Keep the fingerprint with the claim in flight; comes back as `Noted` or `NotingFailed`."""

    claim: Claim
    fingerprint: bytes


class AwaitOwner(Value):
    """Wait for the owner of an id to be done; comes back as `OwnerGone` or `WaitFailed`.

    It is called off when the exchange leaves WAITING.
    """

    claim_id: str
    timeout_ms: int


class FetchPiece(Value):
    """Bring a piece of a large body, once the peer has taken most of what it was sent.

    Comes back as `PieceFetched` or `PieceLost`; as nothing where the stream ends before.
    """

    body: LargeBody
    number: int


SettleEffect: TypeAlias = Complete | Release | MarkUnknown
StoreEffect: TypeAlias = TakeClaim | Renew | NoteFingerprint | AwaitOwner | FetchPiece | SettleEffect

# --- The origin.


class Execute(Value):
    """Make the call, detached from the client; comes back as `Executed` or `ExecutionFailed`.

    `request` has the header fields as they are to be sent, without those about a connection.
    `deadline_ms` is in milliseconds, `max_response_body` in bytes.
    """

    request: Request
    body: bytes
    deadline_ms: int
    max_response_body: int


# --- The stream.


class BreakOff(Value):
    """Fail the stream: the client must not take what it has of a reply for the whole. `detail` says why."""

    detail: str


# --- Time, and what operators see. An exchange has one timer: a new one replaces the one before, and leaving
# the states that have one (`states.TIMED`) stops it.


class RenewLater(Value):
    """Bring `RenewalDue` in `after_ms` milliseconds."""

    after_ms: int


class WaitAtMost(Value):
    """Bring `WaitOver` in `after_ms` milliseconds."""

    after_ms: int


class Count(Value):
    """A request was decided: `result` is a value of CONTRACT §8; `claim_id` is empty without a key."""

    policy: str
    result: str
    claim_id: str
    request_id: str


class CountOutcome(Value):
    """An execution ended, and how."""

    policy: str
    outcome: Outcome
    reason: str
    claim_id: str
    request_id: str


TimerEffect: TypeAlias = RenewLater | WaitAtMost
Effect: TypeAlias = Answer | StoreEffect | Execute | BreakOff | TimerEffect | Count | CountOutcome
