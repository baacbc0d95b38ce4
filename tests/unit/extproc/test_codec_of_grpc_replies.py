"""Replies to gRPC calls: errors in Envoy's own way, what was recorded as it was, and nothing in between."""

import pytest

from sidecar.exchange.effects import Reply
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.grpc import GrpcStatus
from tests.unit.extproc.envoy_messages import answers, modes, phase, the_answer

# Deprecated in Envoy's protocol, and the only one of the two that ext_proc honours.
pytestmark = pytest.mark.filterwarnings("ignore:HeaderValueOption.append is deprecated:DeprecationWarning")

GRPC: Fields = (("content-type", b"application/grpc"),)
OK: Fields = (("grpc-status", b"0"),)


@pytest.mark.parametrize("status", GrpcStatus)
def test_an_error_is_immediate_with_its_status_and_its_text_as_the_body(status: GrpcStatus) -> None:
    pushback: Fields = (("grpc-retry-pushback-ms", b"1000"),)
    error = Reply(200, pushback, b"urn:x: text", "idempotency_x", to_call=True, grpc_status=status)

    reply = the_answer(error).immediate_response

    assert reply is not None
    assert reply.grpc_status is not None
    assert reply.status is not None
    assert reply.headers is not None
    assert (reply.grpc_status.status, int(reply.status.code)) == (status.value, 200)
    assert (reply.body, reply.details) == (b"urn:x: text", "idempotency_x")
    assert [option.header.key for option in reply.headers.set_headers if option.header] == [pushback[0][0]]


def test_a_reply_over_http_has_no_status_of_grpc() -> None:
    reply = the_answer(Reply(409, (("content-type", b"a/b"),), b"x", "d")).immediate_response

    assert reply is not None
    assert reply.grpc_status is None


@pytest.mark.parametrize(
    ("headers", "body", "trailers"),
    [
        (GRPC, b"\x00\x00\x00\x00\x01x", OK),
        (GRPC, b"", OK),
        ((*GRPC, *OK), b"", ()),
        ((("content-type", b"text/html"),), b"<p>", ()),
        ((*GRPC, ("set-cookie", b"a=1"), ("set-cookie", b"b=2")), b"", ()),
    ],
    ids=["message", "no message", "trailers-only", "a page", "cookies"],
)
def test_what_was_recorded_is_always_streamed_for_an_immediate_reply_would_be_an_error(
    headers: Fields, body: bytes, trailers: Fields
) -> None:
    messages = answers(Reply(200, headers, body, "idempotency_replayed", trailers, to_call=True))

    assert {phase(message) for message in messages} == {"streamed_immediate_response"}
    assert modes(messages[0]) == ("NONE", "SKIP", "SKIP", "NONE", "SKIP")
    head = messages[0].streamed_immediate_response
    assert head is not None
    assert head.headers_response is not None
    assert head.headers_response.end_of_stream == (not body and not trailers)
    assert len(messages) == 1 + bool(body) + bool(trailers)


def test_repeated_metadata_is_joined_with_bare_commas() -> None:
    twice: Fields = (("x", b"a"), ("y-bin", b"AAH/"), ("x", b"b"))
    first, last = answers(Reply(200, (*GRPC, *twice), b"", "d", (*OK, *twice), to_call=True))

    head, tail = first.streamed_immediate_response, last.streamed_immediate_response
    assert head is not None
    assert head.headers_response is not None
    assert head.headers_response.headers is not None
    assert tail is not None
    assert tail.trailers_response is not None
    for fields in (head.headers_response.headers.headers, tail.trailers_response.headers):
        found = {field.key: field.raw_value for field in fields}
        assert (found["x"], found["y-bin"]) == (b"a,b", b"AAH/")
        assert [field.key for field in fields].count("x") == 1
