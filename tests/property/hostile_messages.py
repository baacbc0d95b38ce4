"""What a peer without manners may send: in order or not, well formed, mutated, or not a message at all."""

from enum import Enum, auto

from hypothesis import strategies as st

from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import VIA_UPSTREAM

LARGEST_PIECE = 20_000
"""Of a body, in bytes: larger than a policy's limits where the walk sets them."""

_LARGE = b"z" * LARGEST_PIECE
_BODIES = st.sampled_from([b"", b"x", b"x", b'"k"', b"\0\0\0\0\1m", _LARGE, _LARGE]) | st.binary(max_size=40)
_NAMES = st.sampled_from(
    [
        *("content-length", "content-type", "idempotency-key", "idempotency-attempt", "te", "trailer"),
        *("upgrade", "expect", "x-request-id", "grpc-status", "set-cookie"),
        *(":status", ":path", "", "X-Upper", "\u00fc"),
    ]
)
_VALUES = st.sampled_from(
    [
        *(b"0", b"1", b"-1", b"3", b"99999999999999999999", b"200", b"", b"\xff\x00", b"x" * 300),
        *(b"application/grpc", b"application/grpc-web", b'"k"', b"websocket"),
        *(b"application/json", b"application/x-www-form-urlencoded"),
    ]
)
_ODD_FIELDS: st.SearchStrategy[Fields] = st.lists(st.tuples(_NAMES, _VALUES), max_size=4).map(tuple)
_MANY_FIELDS: st.SearchStrategy[Fields] = st.integers(1_000, 3_000).map(
    lambda count: tuple((f"x-{number}", b"v") for number in range(count))
)
_FIELDS = st.sampled_from([*[st.just(())] * 12, *[_ODD_FIELDS] * 6, _MANY_FIELDS]).flatmap(
    lambda drawn: drawn
)
_KEYED: Fields = ((":method", b"POST"), (":path", b"/pay?key=k"), ("idempotency-key", b'"k"'))
_GRPC: Fields = (*_KEYED, ("content-type", b"application/grpc"), ("te", b"trailers"))
_SELDOM = st.sampled_from([False, False, False, True])
_MODES = st.sampled_from([*[(0, 0)] * 9, (4, 4), (4, 1), (0, 4), (1, 1), (9, 9)])
"""How the filter says it is configured; 4 is full duplex, 9 is nothing yet."""


def _map(fields: Fields) -> pb.HeaderMap:
    return pb.HeaderMap(headers=[pb.HeaderValue(key=name, raw_value=value) for name, value in fields])


def _request_head(fields: Fields, more: Fields, end: bool, modes: tuple[int, int]) -> pb.ProcessingRequest:
    head = pb.HttpHeaders(headers=_map((*fields, *more)), end_of_stream=end)
    message = pb.ProcessingRequest(request_headers=head)
    if modes != (0, 0):
        config = pb.ProtocolConfiguration.FromString(bytes([0x08, modes[0], 0x10, modes[1]]))
        message.protocol_config.CopyFrom(config)
    return message


def _response_head(status: bytes, more: Fields, end: bool, details: str) -> pb.ProcessingRequest:
    head = pb.HttpHeaders(headers=_map(((":status", status), *more)), end_of_stream=end)
    message = pb.ProcessingRequest(response_headers=head)
    message.attributes["filter"].fields["response.code_details"].string_value = details
    return message


_REQUEST_HEADS = st.builds(
    _request_head, st.sampled_from([*[_KEYED] * 6, *[_GRPC] * 2, ()]), _FIELDS, _SELDOM, _MODES
)
_RESPONSE_HEADS = st.builds(
    _response_head,
    st.sampled_from([*[b"200"] * 12, b"204", b"503", b"502", b"100", b"0", b"x"]),
    _FIELDS,
    _SELDOM,
    st.sampled_from([*[VIA_UPSTREAM.details] * 6, "route_not_found", "response_timeout", ""]),
)
_PIECES = st.builds(lambda body, end: pb.HttpBody(body=body, end_of_stream=end), _BODIES, _SELDOM)
_TRAILERS = _FIELDS.map(lambda fields: pb.HttpTrailers(trailers=_map(fields)))
_REQUEST_BODIES = _PIECES.map(lambda piece: pb.ProcessingRequest(request_body=piece))
_RESPONSE_BODIES = _PIECES.map(lambda piece: pb.ProcessingRequest(response_body=piece))
_REQUEST_TRAILERS = _TRAILERS.map(lambda trailers: pb.ProcessingRequest(request_trailers=trailers))
_RESPONSE_TRAILERS = _TRAILERS.map(lambda trailers: pb.ProcessingRequest(response_trailers=trailers))


class Stage(Enum):
    """What comes next from a peer that keeps the order."""

    OPENING = auto()
    REQUEST = auto()
    RESPONSE_HEAD = auto()
    RESPONSE = auto()
    OVER = auto()


_PLAUSIBLE: dict[Stage, list[st.SearchStrategy[pb.ProcessingRequest]]] = {
    Stage.OPENING: [_REQUEST_HEADS],
    # The last of each is that of a response that began early.
    Stage.REQUEST: [*[_REQUEST_BODIES] * 6, *[_REQUEST_TRAILERS] * 2, *[_RESPONSE_HEADS] * 2],
    Stage.RESPONSE_HEAD: [_RESPONSE_HEADS],
    Stage.RESPONSE: [*[_RESPONSE_BODIES] * 6, *[_RESPONSE_TRAILERS] * 2, _REQUEST_BODIES],
}
WELL_FORMED: st.SearchStrategy[bytes] = st.sampled_from(
    [strategy for strategies in _PLAUSIBLE.values() for strategy in dict.fromkeys(strategies)]
).flatmap(lambda drawn: drawn.map(pb.ProcessingRequest.SerializeToString))
"""Messages of any phase, in no order."""


def in_order(stage: Stage) -> st.SearchStrategy[bytes]:
    """What a peer that keeps the order sends next; anything where nothing can follow."""
    if stage is Stage.OVER:
        return WELL_FORMED
    drawn = st.sampled_from(_PLAUSIBLE[stage])
    return drawn.flatmap(lambda strategy: strategy.map(pb.ProcessingRequest.SerializeToString))


def after(request: pb.ProcessingRequest) -> Stage:
    """What follows a message, from a peer that keeps the order."""
    phase = str(request.WhichOneof("request"))
    ends = phase.endswith("_trailers") or getattr(request, phase).end_of_stream
    if phase.startswith("request"):
        return Stage.RESPONSE_HEAD if ends else Stage.REQUEST
    return Stage.OVER if ends else Stage.RESPONSE


_UNKNOWN_FIELDS = st.binary(max_size=12).map(lambda data: b"\xfa\x7f" + bytes([len(data)]) + data)
"""A field of a number that no message has."""


def _mutate(message: bytes, at: int, change: str, junk: bytes) -> bytes:
    """The same message, but for what was done to it at one place."""
    at = at % (len(message) + 1)
    match change:
        case "cut":
            return message[:at]
        case "overwrite":
            return message[:at] + junk + message[at + len(junk) :]
        case "insert":
            return message[:at] + junk + message[at:]
        case _:
            return message + junk


MUTATED = st.builds(
    _mutate,
    WELL_FORMED,
    st.integers(0, 400),
    st.sampled_from(["cut", "overwrite", "insert", "append", "append"]),
    st.binary(min_size=1, max_size=6) | _UNKNOWN_FIELDS | WELL_FORMED,
)
"""Messages that were well formed, and may still be, as others: a second member of the oneof replaces one."""
GARBAGE = st.binary(max_size=60)
