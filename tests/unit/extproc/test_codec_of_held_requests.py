"""A request that is held: how Envoy is asked to hold it, to wait, and to forward it after all."""

from dataclasses import dataclass, field

import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderValue
from envoy_data_plane.envoy.service.ext_proc.v3 import HeadersResponse, StreamedBodyResponse

from sidecar.exchange.effects import ExtendTimeout, ForwardHeld, HoldRequest, PassHeld, ReadRequestBody
from sidecar.extproc.codec import encode
from sidecar.extproc.codec.replies import MAX_STREAMED_PIECE
from sidecar.extproc.wire import ext_proc_pb2 as pb
from tests.unit.extproc.envoy_messages import answers, modes, phase, the_answer

# Deprecated in Envoy's protocol, and the only one of the two that ext_proc honours.
pytestmark = pytest.mark.filterwarnings("ignore:HeaderValueOption.append is deprecated:DeprecationWarning")


@dataclass
class Forwarded:
    """A held request as Envoy is told to forward it."""

    phases: list[str] = field(default_factory=list)
    head: HeadersResponse | None = None
    pieces: list[StreamedBodyResponse] = field(default_factory=list)

    @property
    def ends(self) -> list[bool]:
        return [piece.end_of_stream for piece in self.pieces]

    @property
    def body(self) -> bytes:
        return b"".join(piece.body for piece in self.pieces)


def forwarded(body: bytes, *, attempt: int = 2, has_trailers: bool = False) -> Forwarded:
    return told_by(ForwardHeld(attempt, body, has_trailers))


def told_by(answer: ForwardHeld | PassHeld) -> Forwarded:
    told = Forwarded()
    for message in answers(answer):
        told.phases.append(phase(message))
        assert message.mode_override is None, "the mode that shows the response was set when it was held"
        if message.request_headers is not None:
            told.head = message.request_headers
        elif message.request_body is not None:
            assert message.request_body.response is not None
            assert message.request_body.response.body_mutation is not None
            piece = message.request_body.response.body_mutation.streamed_response
            assert piece is not None, "in full duplex a piece that is not echoed is lost"
            told.pieces.append(piece)
    return told


# --- Holding


def test_a_body_that_is_only_read_is_full_duplex_and_its_response_out_of_sight() -> None:
    assert modes(the_answer(ReadRequestBody())) == ("FULL_DUPLEX_STREAMED", "SEND", "SKIP", "NONE", "SKIP")


def test_a_body_that_may_be_forwarded_is_full_duplex_and_its_response_watched() -> None:
    assert modes(the_answer(HoldRequest())) == ("FULL_DUPLEX_STREAMED", "SEND", "SEND", "STREAMED", "SEND")


def test_holding_answers_nothing_so_that_envoy_keeps_holding_the_head() -> None:
    for answer in (ReadRequestBody(), HoldRequest()):
        assert phase(the_answer(answer)) == ""


# --- Waiting


@pytest.mark.parametrize(
    ("timeout_ms", "seconds"),
    [(1, 0.001), (999, 0.999), (1_000, 1), (15_000, 15), (65_001, 65.001), (86_400_000, 86_400)],
)
def test_the_time_envoy_shall_wait_is_given_in_seconds_and_nanoseconds(
    timeout_ms: int, seconds: float
) -> None:
    timeout = the_answer(ExtendTimeout(timeout_ms)).override_message_timeout

    assert timeout is not None
    assert timeout.total_seconds() == pytest.approx(seconds, abs=1e-9)


def test_a_time_has_less_than_a_second_in_nanoseconds() -> None:
    (message,) = encode(ExtendTimeout(61_999))

    timeout = pb.ProcessingResponse.FromString(message).override_message_timeout
    assert (timeout.seconds, timeout.nanos) == (61, 999_000_000)


def test_a_wish_for_time_holds_nothing_else() -> None:
    answer = the_answer(ExtendTimeout(1_000))

    assert phase(answer) == ""
    assert answer.mode_override is None


# --- Forwarding after all


def test_a_held_request_is_forwarded_head_first_then_its_body() -> None:
    told = forwarded(b"xyz")

    assert told.phases == ["request_headers", "request_body"]
    assert (told.body, told.ends) == (b"xyz", [True])


@pytest.mark.parametrize("attempt", [2, 17])
def test_a_held_request_carries_its_attempt_and_replaces_the_clients(attempt: int) -> None:
    told = forwarded(b"x", attempt=attempt)

    assert told.head is not None
    assert told.head.response is not None
    assert told.head.response.header_mutation is not None
    (option,) = told.head.response.header_mutation.set_headers
    assert option.header == HeaderValue(key="idempotency-attempt", raw_value=str(attempt).encode())
    assert option.append is False


@pytest.mark.parametrize("size", [0, 1, 61_999, 62_000, 62_001, 124_000, 300_001])
def test_a_held_body_is_given_back_byte_for_byte_in_pieces_that_envoy_takes(size: int) -> None:
    body = bytes(index % 251 for index in range(size))

    told = forwarded(body)

    assert told.body == body
    assert all(len(piece.body) <= MAX_STREAMED_PIECE for piece in told.pieces)
    assert len(told.pieces) == max(1, -(-size // MAX_STREAMED_PIECE))
    assert told.ends == [False] * (len(told.pieces) - 1) + [True]


@pytest.mark.parametrize("size", [0, 1, 62_000, 62_001])
def test_a_held_body_with_trailers_is_ended_by_them_alone(size: int) -> None:
    body = b"x" * size

    told = forwarded(body, has_trailers=True)

    assert told.body == body
    assert told.ends == [False] * len(told.pieces)
    assert told.phases == ["request_headers", *["request_body"] * len(told.pieces), "request_trailers"]


# --- Passing what was held after all


def test_a_held_request_that_needs_nothing_passes_as_it_came() -> None:
    told = told_by(PassHeld(b"body", has_trailers=False))

    assert told.phases == ["request_headers", "request_body"]
    assert told.head is not None
    assert told.head.response is None
    assert (told.body, told.ends) == (b"body", [True])


def test_it_passes_with_its_trailers_and_without_what_a_client_may_not_set() -> None:
    told = told_by(PassHeld(b"body", has_trailers=True, remove=("idempotency-attempt",)))

    assert told.phases == ["request_headers", "request_body", "request_trailers"]
    assert told.ends == [False]
    assert told.head is not None
    assert told.head.response is not None
    assert told.head.response.header_mutation is not None
    assert told.head.response.header_mutation.remove_headers == ["idempotency-attempt"]
