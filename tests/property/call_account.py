"""What a gRPC call is, told from all that was shown of it: the walks' own account, beside the product's."""

from sidecar.exchange.events import ResponseHeaders
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.grpc import GrpcStatus
from sidecar.idempotency.outcome import Verdict, judge, judge_call
from sidecar.idempotency.policy import Policy


def messages_in(body: bytes) -> tuple[int, int]:
    """How many messages have begun in a body, and how many of them are complete."""
    begun = complete = 0
    while body:
        begun += 1
        length = int.from_bytes(body[1:5])
        complete += len(body) >= 5 + length
        body = body[5 + length :] if len(body) >= 5 else b""
    return begun, complete


class CallAccount:
    """One gRPC call."""

    def __init__(self) -> None:
        self.request = self.response = b""
        self.request_over = False
        self.answered_open: bool | None = None
        """The request had not ended when the head of the response was let go; None before that."""
        self.trailers: Fields = ()

    def meet_answer(self) -> None:
        """The response has begun, and nothing holds its head back any more."""
        if self.answered_open is None:
            self.answered_open = not self.request_over

    def may_execute(self) -> bool:
        """Whether the upstream may act on what it can have of the request."""
        return messages_in(self.request)[1] > 0

    def is_unary(self) -> bool:
        """Whether the request ended before it was answered, and each side has a message at most."""
        several = max(messages_in(self.request)[0], messages_in(self.response)[0]) > 1
        return self.request_over and not self.answered_open and not several

    def verdict(self, head: ResponseHeaders, policy: Policy) -> Verdict:
        """What the whole of a response means."""
        text = first(self.trailers, "grpc-status") or first(head.headers, "grpc-status")
        if head.status != 200 or text is None:
            return judge(head.status, head.origin, policy.outcomes)
        known = text.isdigit() and int(text) in list(GrpcStatus)
        return judge_call(
            GrpcStatus(int(text)) if known else GrpcStatus.UNKNOWN, head.origin, policy.outcomes
        )
