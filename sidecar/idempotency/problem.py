"""What a client is told when a request is refused: RFC 9457 problem documents, gRPC errors (CONTRACT §4, §7).

One exception class for each situation, carrying its type and its statuses; `Problem.document` renders it for
HTTP, `Problem.message` for gRPC.
"""

import json
from typing import ClassVar

from sidecar.idempotency.advertising import described_by
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.grpc import GrpcStatus

_NAMESPACE = "urn:idempotency:"


class Problem(Exception):  # noqa: N818 (RFC 9457's own word for it)
    """A request that is refused. `detail` is for people and never holds a key or a credential."""

    type: ClassVar[str]
    title: ClassVar[str]
    status: int
    grpc_status: ClassVar[GrpcStatus] = GrpcStatus.FAILED_PRECONDITION

    def __init__(
        self, detail: str, *, retry_after_s: int | None = None, original_status: int | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.original_status = original_status

    @property
    def result(self) -> str:
        """The value of the `result` label in `idempotency_requests_total` (CONTRACT §8)."""
        return self.type.replace("-", "_")

    def document(self, instance: str | None) -> bytes:
        """The JSON body. `instance` is the request's id (RFC 9457 §3.1.5), left out where there is none."""
        members: dict[str, int | str] = {
            "type": _NAMESPACE + self.type,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if instance:
            members["instance"] = instance
        if self.original_status is not None:
            members["original_status"] = self.original_status
        return json.dumps(members).encode()

    def headers(self, docs_url: str | None) -> Fields:
        """The response header fields that go with the document."""
        fields: list[tuple[str, bytes]] = [("content-type", b"application/problem+json")]
        if self.retry_after_s is not None:
            fields.append(("retry-after", str(self.retry_after_s).encode()))
        return (*fields, *described_by(docs_url))

    def message(self) -> str:
        """The `grpc-message`, before it is percent-encoded: the type, then the detail."""
        return f"{_NAMESPACE}{self.type}: {self.detail}"

    def metadata(self, docs_url: str | None) -> Fields:
        """The metadata that goes with the message.

        `grpc-retry-pushback-ms` tells a client with a retry policy when to try again (gRPC's proposal A6), as
        `Retry-After` does over HTTP.
        """
        if self.retry_after_s is None:
            return described_by(docs_url)
        return (("grpc-retry-pushback-ms", str(self.retry_after_s * 1000).encode()), *described_by(docs_url))


class KeyMissing(Problem):
    """The policy requires a key and the request has none."""

    type, title, status = "key-missing", "Idempotency key missing", 400
    grpc_status = GrpcStatus.INVALID_ARGUMENT


class KeyInvalid(Problem):
    """The key is malformed, too long, given twice, or on a request that cannot have one."""

    type, title, status = "key-invalid", "Idempotency key invalid", 400
    grpc_status = GrpcStatus.INVALID_ARGUMENT


class CallNotSupported(KeyInvalid):
    """The policy wants what a gRPC call cannot have: the policy is at fault, not the argument."""

    grpc_status = GrpcStatus.UNIMPLEMENTED

    def __init__(self, setting: str) -> None:
        """`setting`: the field of the policy and its value."""
        super().__init__(
            f"This gRPC call cannot have an idempotency key: its policy says {setting}, which is for HTTP "
            "alone."
        )


class BodyInvalid(Problem):
    """The body is not what the policy has to read it as; `detail` says where it is wrong."""

    type, title, status = "body-invalid", "Request body invalid", 400
    grpc_status = GrpcStatus.INVALID_ARGUMENT


class InProgress(Problem):
    """The first request with this key is still running. The status is the policy's, 409 or 429."""

    type, title, status = "in-progress", "Request in progress", 409
    grpc_status = GrpcStatus.ABORTED

    def __init__(self, *, status: int, retry_after_s: int) -> None:
        super().__init__(
            "A request with this idempotency key is still being executed. Retry later with the same key.",
            retry_after_s=retry_after_s,
        )
        self.status = status


class KeyReused(Problem):
    """The same key came with another payload."""

    type, title, status = "key-reused", "Idempotency key reused", 422

    def __init__(self) -> None:
        super().__init__(
            "This idempotency key was used before with another request. Use a new key for a new request."
        )


class OutcomeUnknown(Problem):
    """An earlier attempt may have executed and the policy holds the key."""

    type, title, status = "outcome-unknown", "Outcome unknown", 409

    def __init__(self, attempt: int, reason: str, *, status: int = 409) -> None:
        super().__init__(
            f"Attempt {attempt} of this request may or may not have been executed ({reason})."
            + (
                " It is not executed again until an operator resolves the key or it expires."
                if status == 409
                else ""
            )
        )
        self.status = status


class ResponseNotStored(Problem):
    """It was executed, but its response was not kept."""

    type, title, status = "response-not-stored", "Response not stored", 409

    def __init__(self, original_status: int, call_status: GrpcStatus | None = None) -> None:
        """`call_status`: what a gRPC call ended with."""
        status = original_status if call_status is None else call_status.name
        super().__init__(
            f"The request was executed and answered with status {status}, but its response was not "
            "kept and cannot be given again.",
            original_status=original_status,
        )


class ResponseNotRepeatable(ResponseNotStored):
    """It was executed and its response kept, but this Envoy has no form in which to give it (1.36)."""

    def __init__(self, original_status: int, call_status: GrpcStatus | None = None) -> None:
        """`call_status`: what a gRPC call ended with."""
        super().__init__(original_status, call_status)
        status = original_status if call_status is None else call_status.name
        self.detail = (
            f"The request was executed and answered with status {status}, but the Envoy in front of the "
            "service is too old to give that response again."
        )


class StoreUnavailable(Problem):
    """The store cannot be asked, and the policy refuses rather than guesses."""

    type, title, status = "store-unavailable", "Idempotency store unavailable", 503
    grpc_status = GrpcStatus.UNAVAILABLE

    def __init__(self) -> None:
        super().__init__(
            "The idempotency store cannot be asked, so the request was not forwarded. "
            "Retry it with the same key.",
            retry_after_s=1,
        )


class KeyExpired(Problem):
    """It was used, its `ttl` has passed, and the policy's `tombstone` still refuses it."""

    type, title, status = "key-expired", "Idempotency key expired", 409

    def __init__(self) -> None:
        super().__init__(
            "This idempotency key was used so long ago that its response is no longer kept. Use a new key."
        )


class BodyTooLarge(Problem):
    """The request body has to be held, and is larger than the policy's `max_request_body`."""

    type, title, status = "body-too-large", "Request body too large", 413
    grpc_status = GrpcStatus.RESOURCE_EXHAUSTED

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request body must be held before it is executed; allowed: at most {limit} bytes."
        )


class OriginUnavailable(Problem):
    """A detached execution could not reach the origin; nothing was sent."""

    type, title, status = "origin-unavailable", "Origin unavailable", 503
    grpc_status = GrpcStatus.UNAVAILABLE

    def __init__(self) -> None:
        super().__init__(
            "The service could not be reached, so the request was not executed. Retry it with the same key.",
            retry_after_s=1,
        )
