"""What tells a unary gRPC call from a stream, seen from outside as it passes (docs/decisions/0016)."""

from sidecar.idempotency.grpc import MessageCounter


class Call:
    """A gRPC call: how many messages each direction has, and which of them was over first.

    Nothing else says whether a method is a stream. A call counts as unary where its request ended, with at
    most one message, before its response began, and the response has at most one message too. Only such a
    call can be compared and replayed: a duplicate of it ends its request before it waits for anything, so its
    request may be read to the end. A duplicate of a stream might wait for an answer that nobody gives it.
    """

    __slots__ = ("_answered_open", "is_open", "request", "response")

    def __init__(self, *, is_open: bool) -> None:
        self.is_open = is_open
        """The request has not ended: more messages may follow."""
        self.request = MessageCounter()
        self.response = MessageCounter()
        self._answered_open = False

    def take_request(self, data: bytes, *, ends: bool) -> None:
        """The next bytes of the request have come; `ends`: they are its last."""
        self.request.feed(data)
        self.is_open = self.is_open and not ends

    def begin_response(self) -> None:
        """The head of the response has come."""
        self._answered_open = self.is_open

    @property
    def may_execute(self) -> bool:
        """Whether what has come of the request is enough for the upstream to act: a whole message.

        An upstream need not wait for the end of the request, and many do not: the handler of a unary method
        may run as soon as it has its one message.
        """
        return self.request.has_one

    @property
    def is_stream(self) -> bool:
        """Whether it is not, or not yet, known to be unary."""
        return self.is_open or self._answered_open or self.request.has_several or self.response.has_several
