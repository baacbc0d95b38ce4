"""Orders in which a peer may send the messages of an exchange: those of Envoy's, and all others."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from sidecar.idempotency.fields import Fields
from tests.unit.extproc import envoy_messages

REQUEST_BODY, RESPONSE_BODY = b"abc", b"xyz"
TYPED: Fields = (("content-type", b"text/plain"),)
TRAILERS: Fields = (("x-sum", b"7"),)

request_body = functools.cache(envoy_messages.request_body)
response_body = functools.cache(envoy_messages.response_body)
request_trailers = functools.cache(envoy_messages.request_trailers)
response_trailers = functools.cache(envoy_messages.response_trailers)


@functools.cache
def response_head(length: int | None = None, *, end: bool = False) -> bytes:
    """The head of the upstream's response, with its length where it is announced."""
    announced: Fields = () if length is None else (("content-length", b"%d" % length),)
    return envoy_messages.response_headers(((":status", b"201"), *TYPED, *announced), end=end)


def request_head(path: str, key: str | None, length: int | None = None, *, end: bool = False) -> bytes:
    """The head of a request."""
    fields: Fields = (
        (":method", b"POST"),
        (":scheme", b"https"),
        (":authority", b"api.example"),
        (":path", path.encode()),
    )
    if key is not None:
        fields = (*fields, ("idempotency-key", key.encode()))
    if length is not None:
        fields = (*fields, ("content-length", b"%d" % length))
    return envoy_messages.request_headers(fields, end=end)


# --- What nobody would send

ANYTHING: dict[str, bytes] = {
    "request head": request_head("/pay", '"another"'),
    "request body": request_body(b"ab"),
    "end of request body": request_body(b"c", end=True),
    "request trailers": request_trailers(),
    "response head": response_head(),
    "response without body": response_head(end=True),
    "response body": response_body(b"xy"),
    "end of response body": response_body(b"z", end=True),
    "response trailers": response_trailers(TRAILERS),
}
"""Every message there is, by its name."""


def every_order(longest: int) -> Iterator[tuple[str, ...]]:
    """Every sequence of messages of at most this length, by their names."""
    for length in range(longest + 1):
        yield from itertools.product(ANYTHING, repeat=length)


# --- What Envoy sends


@dataclass(frozen=True)
class Shape:
    """How a body comes: the pieces that it is cut into, what ends it, and whether its length is announced."""

    pieces: tuple[bytes, ...]
    end: str
    """"last piece", "empty piece", "trailers", or "head" where there is no body."""
    announced: bool

    @property
    def length(self) -> int | None:
        """The length that the head announces."""
        return sum(map(len, self.pieces)) if self.announced else None

    @property
    def whole_at(self) -> int:
        """After how many messages behind the head the receiver has all of it."""
        if self.end == "head":
            return 0
        if not self.announced:
            return len(self.pieces) + (self.end != "last piece")
        reached = list(itertools.accumulate(map(len, self.pieces)))
        return 1 + reached.index(reached[-1])

    @property
    def messages(self) -> int:
        """How many messages it is, with the head."""
        return 1 + len(self.pieces) + (self.end in {"empty piece", "trailers"})

    @property
    def loses_trailers(self) -> bool:
        """Whether trailers come that nobody could wait for (docs/decisions/0004)."""
        return self.end == "trailers" and self.announced

    def request(self, path: str, key: str | None) -> list[bytes]:
        """The messages of a request."""
        head = request_head(path, key, self.length, end=self.end == "head")
        return [head, *self._rest(request_body, request_trailers())]

    def response(self) -> list[bytes]:
        """The messages of a response."""
        head = response_head(self.length, end=self.end == "head")
        return [head, *self._rest(response_body, response_trailers(TRAILERS))]

    def _rest(self, body: "functools._lru_cache_wrapper[bytes]", trailers: bytes) -> list[bytes]:
        if self.end == "head":
            return []
        *begun, last = [body(piece) for piece in self.pieces]
        if self.end == "last piece":
            return [*begun, body(self.pieces[-1], end=True)]
        return [*begun, last, body(b"", end=True) if self.end == "empty piece" else trailers]


def shapes(body: bytes) -> list[Shape]:
    """All the ways in which a body may come, in up to three pieces, one of them empty."""
    cuts = ((body,), (body[:1], body[1:]), (b"", body), (body[:1], b"", body[1:]))
    ends, lengths = ("last piece", "empty piece", "trailers"), (False, True)
    return [Shape((), "head", False), *itertools.starmap(Shape, itertools.product(cuts, ends, lengths))]


def plain_shapes(body: bytes) -> list[Shape]:
    """Those in one piece or two, none of them empty; a length that is announced is reached before the end."""
    return [
        shape
        for shape in shapes(body)
        if b"" not in shape.pieces and (not shape.announced or shape.end == "empty piece")
    ]


def merges(request: int, response: int) -> Iterator[tuple[int, ...]]:
    """Every order of so many messages of each side, which keep their own: 0 and 1 say whose turn it is."""
    places = range(request + response)
    for of_request in itertools.combinations(places, request):
        yield tuple(int(place not in of_request) for place in places)
