"""A response being captured as it passes, within the policy's limit."""

from sidecar.exchange.events import ResponseHeaders
from sidecar.idempotency.body import PIECE_BYTES, ReceivedBody, assembled, cut
from sidecar.idempotency.fields import Fields, content_length, first, values
from sidecar.idempotency.grpc import BINARY
from sidecar.idempotency.policy import Policy
from sidecar.idempotency.record import Record
from sidecar.idempotency.replay import storable

_WITHOUT_CONTENT = frozenset({204, 304})


class Capture:
    """Keeps what may be stored of a response, and knows when the last byte of its body has been seen.

    A large body is held once, in the pieces in which it will be stored. One over `max_response_body` is let
    go of at once; the record then says that it was executed but cannot be replayed.
    """

    __slots__ = ("_excluded", "_kept", "_left", "_limit", "_of_call", "_pieces", "_seen", "head")

    def __init__(
        self, head: ResponseHeaders, policy: Policy, method: str = "", *, of_call: bool = False
    ) -> None:
        self.head = head
        self._of_call = of_call
        self._excluded = policy.exclude_response_headers
        self._limit = policy.max_response_body
        self._pieces: list[bytes] = []
        self._kept: bytearray | None = bytearray()
        """What has come since the last of `_pieces`; None where nothing is kept."""
        self._seen = 0
        self._left = _content_length(head, method, of_call=of_call)

    def feed(self, data: bytes) -> None:
        """Take in the next bytes of the response body."""
        self._seen += len(data)
        if self._left is not None:
            self._left -= len(data)
        if self._seen > self._limit:
            self.let_go()
        elif self._kept is not None:
            self._kept += data
            if len(self._kept) > PIECE_BYTES:
                cut(self._kept, self._pieces)

    def take(self, body: ReceivedBody) -> None:
        """Take in a whole body at once, as the first; the pieces of a large one are shared, not copied."""
        if isinstance(body, bytes):
            self.feed(body)
            return
        *self._pieces, last = body.pieces
        self._seen = body.size - len(last)
        self.feed(last)

    def let_go(self) -> None:
        """Keep nothing of the body: it is too large, or will never be given again."""
        self._kept, self._pieces = None, []

    @property
    def has_whole_body(self) -> bool:
        """Whether the body is complete by its content-length, whether or not its end was announced.

        The end may follow as an empty piece. If the piece that completes the body were let go before the
        record is kept, the client would have the whole response too early; and Envoy sends trailers only
        once the body is answered, so holding it until they come would wait for ever. A response that
        announces trailers (RFC 9110 §6.6.2) is therefore complete only with them.
        """
        return self._left is not None and self._left <= 0

    def record(self, fingerprint: bytes | None, trailers: Fields = ()) -> Record:
        """The record of the finished response.

        It cannot be replayed without a fingerprint; nor where Envoy has no form of reply that loses nothing
        of it: a streamed one keeps the last of several fields of one name, an immediate one has no trailers.
        """
        headers = storable(self.head.headers, self._excluded)
        kept_trailers = storable(trailers, self._excluded)
        if self._of_call:
            lossless = _is_joinable(headers) and _is_joinable(kept_trailers)
        else:
            lossless = not kept_trailers or len(values(headers, "set-cookie")) < 2
        kept = self._kept if fingerprint is not None and lossless else None
        return Record(
            status=self.head.status,
            headers=headers,
            body=b"" if kept is None else assembled(self._pieces, kept),
            trailers=kept_trailers,
            fingerprint=fingerprint,
            replayable=kept is not None,
        )


def _content_length(head: ResponseHeaders, method: str, *, of_call: bool) -> int | None:
    """The length after which the response is complete; None where only its end can tell.

    A gRPC call is complete with its trailers, which need no announcement. Some responses have no content, and
    are complete with their head, whatever it announces (RFC 9112 §6.3): over HTTP/2 their end may come apart.
    """
    if (of_call and head.status == 200) or first(head.headers, "trailer") is not None:
        return None
    if method == "HEAD" or head.status in _WITHOUT_CONTENT:
        return 0
    return content_length(head.headers)


def _is_joinable(metadata: Fields) -> bool:
    """Whether fields of one name can be joined to one, as a gRPC call is always given again as a stream.

    Set-Cookie cannot be (RFC 6265 §3), nor can binary metadata: PROTOCOL-HTTP2 has clients split its values
    at commas, but gRPC's own C core takes joined ones for broken base64 and fails the whole call.
    """
    single = [name for name, _ in metadata if name == "set-cookie" or name.endswith(BINARY)]
    return len(single) == len(set(single))
