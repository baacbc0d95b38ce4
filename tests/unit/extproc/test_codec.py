"""Bytes as Envoy builds them become events; answers become bytes that Envoy reads as meant."""

import pytest
from envoy_data_plane.envoy.config.core.v3 import HeaderMap, HeaderValue
from envoy_data_plane.envoy.service.ext_proc.v3 import HttpHeaders, ProcessingRequest
from envoy_data_plane.google.protobuf import Struct, Value

from sidecar.exchange.effects import (
    Answer,
    ExtendTimeout,
    ForwardRequest,
    HoldRequest,
    PassRequest,
    PassRequestBody,
    PassRequestTrailers,
    PassResponseBody,
    PassResponseHeaders,
    PassResponseTrailers,
    ReadRequestBody,
    Reply,
    WatchRequest,
)
from sidecar.exchange.events import (
    RequestBody,
    RequestHeaders,
    RequestTrailers,
    ResponseBody,
    ResponseHeaders,
    ResponseTrailers,
)
from sidecar.extproc.codec import UndecodableMessageError, decode
from sidecar.extproc.codec.replies import MAX_STREAMED_PIECE
from sidecar.idempotency.fields import Fields
from sidecar.idempotency.outcome import Origin
from sidecar.idempotency.policy import Policies, Policy
from sidecar.idempotency.request import Request
from tests.unit.extproc.envoy_messages import (
    CREATED,
    FILTER,
    REQUEST,
    answers,
    attributes,
    header_map,
    modes,
    phase,
    request_body,
    request_headers,
    request_trailers,
    response_body,
    response_headers,
    response_trailers,
    the_answer,
)

# Deprecated in Envoy's protocol, and the only one of the two that ext_proc honours.
pytestmark = pytest.mark.filterwarnings("ignore:HeaderValueOption.append is deprecated:DeprecationWarning")


def decoded_request(message: bytes) -> RequestHeaders:
    event = decode(message)
    assert isinstance(event, RequestHeaders)
    return event


def decoded_response(message: bytes) -> ResponseHeaders:
    event = decode(message)
    assert isinstance(event, ResponseHeaders)
    return event


# --- In


@pytest.mark.parametrize("end", [True, False])
def test_request_headers_become_a_request(end: bool) -> None:
    fields: Fields = (
        ("accept", b"*/*"),
        ("x", b"\xff\x00"),
        ("accept", b"text/plain"),
        ("x-request-id", b"req-1"),
        ("empty", b""),
    )

    event = decode(request_headers((*REQUEST, *fields), end=end))

    assert event == RequestHeaders(
        Request("POST", "api.example", "/pay", "a=1", fields, "req-1"), end_of_stream=end
    )


def test_of_the_requests_fields_those_that_are_read_are_kept_in_their_order() -> None:
    fields: Fields = (("b", b"1"), ("accept", b"*/*"), ("a", b"2"), ("x-request-id", b"req-1"), ("b", b"3"))
    reads = frozenset({"a", "b", "x-request-id", ":path"})

    # Wherever the pseudo-header fields stand among them.
    event = decode(request_headers((*fields[:3], *REQUEST, *fields[3:]), end=True), reads)

    kept = tuple(field for field in fields if field[0] != "accept")
    assert event == RequestHeaders(
        Request("POST", "api.example", "/pay", "a=1", kept, "req-1"), end_of_stream=True
    )


def test_a_requests_id_is_known_whatever_policies_read() -> None:
    fields: Fields = (*REQUEST, ("x-request-id", b"req-1"))

    event = decode(request_headers(fields, end=True), Policies((Policy("any"),)).reads)

    assert isinstance(event, RequestHeaders)
    assert event.request.id == "req-1"


def test_what_is_read_of_a_request_leaves_its_response_whole() -> None:
    message = response_headers(((":status", b"200"), ("accept-ranges", b"none")))

    assert decode(message, frozenset()) == decode(message)


def test_bytes_of_a_path_that_are_not_text_are_kept_one_for_one() -> None:
    event = decoded_request(request_headers(((":path", b"/caf\xc3\xa9?\xff"),)))

    assert event.request.path.encode("latin-1") == b"/caf\xc3\xa9"
    assert event.request.query == "\xff"


def test_pseudo_fields_that_are_missing_are_empty() -> None:
    assert decoded_request(request_headers(())).request == Request("", "", "", None, (), "")


def test_a_header_value_is_the_raw_one_and_text_only_where_there_is_no_raw_one() -> None:
    headers = [
        HeaderValue(key="a", value="text", raw_value=b"raw"),
        HeaderValue(key="b", value="caf\xe9"),
        HeaderValue(key="c"),
    ]
    head = HttpHeaders(headers=HeaderMap(headers=headers))

    event = decoded_request(bytes(ProcessingRequest(request_headers=head)))

    assert event.request.headers == (("a", b"raw"), ("b", b"caf\xc3\xa9"), ("c", b""))


@pytest.mark.parametrize("details", ["via_upstream", "response_timeout"])
@pytest.mark.parametrize("name", [FILTER, "", "my-filter"])
def test_attributes_count_under_whatever_name_the_filter_has(name: str, details: str) -> None:
    head = HttpHeaders(headers=header_map(CREATED))
    told = attributes({"response.code_details": details}, name)
    message = ProcessingRequest(response_headers=head, attributes=told)

    assert decoded_response(bytes(message)).origin.details == details


@pytest.mark.parametrize("details", ["via_upstream", "response_timeout"])
def test_the_attributes_of_several_filters_are_searched(details: str) -> None:
    several = attributes({"request.protocol": "HTTP/2"}, "a") | attributes(
        {"response.code_details": details}, "b"
    )
    head = HttpHeaders(headers=header_map(CREATED))

    told = decoded_response(bytes(ProcessingRequest(response_headers=head, attributes=several))).origin
    assert told.details == details


def test_a_request_that_envoy_gave_no_id_has_none() -> None:
    assert decoded_request(request_headers(REQUEST)).request.id == ""


@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize("data", [b"", b"\x00\xff", b"x" * 1_000_000], ids=len)
def test_bodies_become_pieces(data: bytes, end: bool) -> None:
    assert decode(request_body(data, end=end)) == RequestBody(data, end_of_stream=end)
    assert decode(response_body(data, end=end)) == ResponseBody(data, end_of_stream=end)


def test_trailers_become_events_and_a_responses_keep_their_fields() -> None:
    fields: Fields = (("sum", b"1"), ("sum", b"2"))

    assert decode(request_trailers(fields)) == RequestTrailers()
    assert decode(response_trailers(fields)) == ResponseTrailers(fields)
    assert decode(response_trailers()) == ResponseTrailers(())


@pytest.mark.parametrize("end", [True, False])
def test_response_headers_become_a_status_fields_and_an_origin(end: bool) -> None:
    fields: Fields = (("set-cookie", b"a=1"), ("set-cookie", b"b=2"))
    attrs: dict[str, str | float] = {
        "response.code_details": "response_timeout",
        "response.flags": 4,
        "upstream.address": "10.0.0.1:80",
        "upstream.request_attempt_count": 2,
    }

    event = decode(response_headers(((":status", b"504"), *fields), end=end, attrs=attrs))

    origin = Origin("response_timeout", 4, "10.0.0.1:80", 2)
    assert event == ResponseHeaders(504, fields, origin, end_of_stream=end)


def test_the_largest_flags_survive_the_way_through_a_number() -> None:
    event = decoded_response(response_headers(attrs={"response.flags": float(1 << 40 | 1 << 24)}))

    assert event.origin.flags == 1 << 40 | 1 << 24


def test_attributes_that_are_missing_or_of_another_type_say_nothing() -> None:
    wrong = Struct(
        fields={
            "response.code_details": Value(number_value=1.0),
            "response.flags": Value(string_value="UT"),
            "upstream.address": Value(bool_value=True),
        }
    )
    head = HttpHeaders(headers=header_map(CREATED))
    message = bytes(ProcessingRequest(response_headers=head, attributes={FILTER: wrong}))

    assert decoded_response(message).origin == Origin()
    assert decoded_response(response_headers(attrs={})).origin == Origin()


@pytest.mark.parametrize("status", [b"", b"abc", b"20", b"2000", b"-20", b"2\xb20", b"20 "])
def test_response_headers_without_a_readable_status_are_undecodable(status: bytes) -> None:
    with pytest.raises(UndecodableMessageError, match="response headers without a status"):
        decode(response_headers(((":status", status),)))


def test_response_headers_without_any_status_are_undecodable() -> None:
    with pytest.raises(UndecodableMessageError, match="response headers without a status"):
        decode(response_headers(()))


@pytest.mark.parametrize("message", [b"\xff", b"\x12\x05", b"\x12\xff\xff\xff\xff\x0f", b"GET / HTTP/1.1"])
def test_bytes_that_are_not_a_processing_request_are_undecodable(message: bytes) -> None:
    with pytest.raises(UndecodableMessageError, match="not a ProcessingRequest"):
        decode(message)


@pytest.mark.parametrize(
    "message", [b"", bytes(ProcessingRequest(observability_mode=True)), b"\xa2\x06\x01x"], ids=repr
)
def test_a_message_of_no_known_phase_is_undecodable(message: bytes) -> None:
    with pytest.raises(UndecodableMessageError, match="no known phase"):
        decode(message)


def test_what_envoy_adds_beyond_the_subset_is_skipped() -> None:
    unknown_field = b"\xa2\x06\x01x"

    assert decode(request_body(b"x", end=True) + unknown_field) == RequestBody(b"x", end_of_stream=True)


# --- Out


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (PassRequest(), "request_headers"),
        (PassRequest(("a",)), "request_headers"),
        (ForwardRequest(1, has_body=True), "request_headers"),
        (ForwardRequest(9, has_body=False), "request_headers"),
        (ReadRequestBody(), ""),
        (HoldRequest(), ""),
        (ExtendTimeout(1), ""),
        (PassRequestBody(), "request_body"),
        (PassRequestTrailers(), "request_trailers"),
        (PassResponseHeaders(more=True), "response_headers"),
        (PassResponseHeaders(more=False, remove=("a",)), "response_headers"),
        (PassResponseHeaders(more=True, advertised=(("link", b"<a>"),)), "response_headers"),
        (WatchRequest(has_body=True), "request_headers"),
        (WatchRequest(has_body=False), "request_headers"),
        (PassResponseBody(), "response_body"),
        (PassResponseTrailers(), "response_trailers"),
        (Reply(204, (), b"", "d"), "immediate_response"),
        (Reply(200, (), b"", "d", trailers=(("a", b"b"),)), "streamed_immediate_response"),
    ],
    ids=repr,
)
def test_every_answer_is_of_the_phase_it_answers_and_never_spurious(answer: Answer, expected: str) -> None:
    # Only what is no answer may have its oneof unset: Envoy takes it for the override alone.
    messages = answers(answer)

    assert {phase(message) for message in messages} == {expected}
    if not expected:
        overrides = (messages[0].mode_override, messages[0].override_message_timeout)
        assert sum(override is not None for override in overrides) == 1


def test_passing_a_request_overrides_nothing() -> None:
    assert the_answer(PassRequest()).mode_override is None


def test_a_field_a_client_may_not_set_is_removed() -> None:
    answer = the_answer(PassRequest(remove=("idempotency-attempt",)))

    assert answer.request_headers is not None
    assert answer.request_headers.response is not None
    assert answer.request_headers.response.header_mutation is not None
    assert answer.request_headers.response.header_mutation.remove_headers == ["idempotency-attempt"]


@pytest.mark.parametrize("attempt", [1, 2, 1000])
def test_a_forwarded_request_carries_its_attempt_and_replaces_the_clients(attempt: int) -> None:
    answer = the_answer(ForwardRequest(attempt, has_body=True))

    assert answer.request_headers is not None
    assert answer.request_headers.response is not None
    assert answer.request_headers.response.header_mutation is not None
    (option,) = answer.request_headers.response.header_mutation.set_headers
    assert option.header == HeaderValue(key="idempotency-attempt", raw_value=str(attempt).encode())
    assert option.append is False


def test_a_forwarded_request_is_watched_to_the_end_of_its_response() -> None:
    with_body = the_answer(ForwardRequest(1, has_body=True))
    without = the_answer(ForwardRequest(1, has_body=False))

    assert modes(with_body) == ("STREAMED", "SEND", "SEND", "STREAMED", "SEND")
    assert modes(without) == ("NONE", "SKIP", "SEND", "STREAMED", "SEND")


def test_a_response_of_which_no_more_is_wanted_is_let_out_of_sight() -> None:
    assert the_answer(PassResponseHeaders(more=True)).mode_override is None
    assert modes(the_answer(PassResponseHeaders(more=False))) == ("NONE", "SKIP", "SKIP", "NONE", "SKIP")


def test_a_forged_mark_is_removed_from_a_response() -> None:
    answer = the_answer(PassResponseHeaders(more=True, remove=("idempotent-replayed",)))

    assert answer.response_headers is not None
    assert answer.response_headers.response is not None
    assert answer.response_headers.response.header_mutation is not None
    assert answer.response_headers.response.header_mutation.remove_headers == ["idempotent-replayed"]


TYPED: Fields = (("content-type", b"text/plain"),)


def test_a_reply_is_immediate_with_status_fields_body_and_details() -> None:
    fields: Fields = (*TYPED, ("set-cookie", b"a=1"), ("etag", b"\xff"), ("set-cookie", b"b=2"))

    reply = the_answer(Reply(422, fields, b"\x00body", "idempotency_key_reused")).immediate_response

    assert reply is not None
    assert reply.status is not None
    assert reply.headers is not None
    assert (int(reply.status.code), reply.body, reply.details) == (422, b"\x00body", "idempotency_key_reused")
    options = [(o.header.key, o.header.raw_value, o.append) for o in reply.headers.set_headers if o.header]
    # The first of a name replaces what Envoy would put there, the next are added to it.
    assert options == [
        ("content-type", b"text/plain", False),
        ("set-cookie", b"a=1", False),
        ("etag", b"\xff", False),
        ("set-cookie", b"b=2", True),
    ]


def streamed(reply: Reply) -> tuple[Fields, list[bytes], Fields, list[bool]]:
    """Head, pieces, trailers, and each message's end mark, of a streamed reply."""
    head: Fields = ()
    pieces: list[bytes] = []
    trailers: Fields = ()
    ends: list[bool] = []
    for message in answers(reply):
        part = message.streamed_immediate_response
        assert part is not None
        if part.headers_response is not None:
            assert part.headers_response.headers is not None
            head = tuple((h.key, h.raw_value) for h in part.headers_response.headers.headers)
            ends.append(part.headers_response.end_of_stream)
            assert modes(message) == ("NONE", "SKIP", "SKIP", "NONE", "SKIP")
        elif part.body_response is not None:
            pieces.append(part.body_response.body)
            ends.append(part.body_response.end_of_stream)
        elif part.trailers_response is not None:
            trailers = tuple((h.key, h.raw_value) for h in part.trailers_response.headers)
            ends.append(True)
    return head, pieces, trailers, ends


def test_a_reply_with_trailers_is_streamed_head_first_trailers_last() -> None:
    reply = Reply(201, TYPED, b"done", "d", trailers=(("sum", b"1"),))

    head, pieces, trailers, ends = streamed(reply)

    assert head == ((":status", b"201"), *TYPED)
    assert pieces == [b"done"]
    assert trailers == (("sum", b"1"),)
    assert ends == [False, False, True]


@pytest.mark.parametrize("size", [1, 62_000, 62_001, 124_000, 300_000])
def test_no_streamed_piece_is_larger_than_envoy_takes(size: int) -> None:
    body = bytes(index % 251 for index in range(size))

    _, pieces, _, ends = streamed(Reply(200, TYPED, body, "d", trailers=(("sum", b"1"),)))

    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= MAX_STREAMED_PIECE == 62_000
    assert ends == [False] * (len(pieces) + 1) + [True]


def test_repeated_fields_of_a_streamed_reply_are_joined_in_their_order() -> None:
    fields: Fields = (*TYPED, ("vary", b"a"), ("etag", b"x"), ("vary", b"b"))

    head, _, trailers, _ = streamed(Reply(200, fields, b"x", "d", trailers=(("t", b"1"), ("t", b"2"))))

    assert head == ((":status", b"200"), *TYPED, ("vary", b"a, b"), ("etag", b"x"))
    assert trailers == (("t", b"1, 2"),)


@pytest.mark.parametrize(
    ("values", "joined"),
    [((b"", b"a", b""), b"a"), ((b"a", b"", b"b"), b"a, b"), ((b"", b""), b""), ((b"",), b"")],
)
def test_empty_members_are_left_out_when_fields_are_joined(values: tuple[bytes, ...], joined: bytes) -> None:
    fields: Fields = (*TYPED, *[("vary", value) for value in values])
    trailers: Fields = tuple(("t", value) for value in values)

    head, _, ending, _ = streamed(Reply(200, fields, b"x", "d", trailers=trailers))

    assert head[-1] == ("vary", joined)
    assert ending == (("t", joined),)


def test_a_body_without_a_type_is_streamed_for_an_immediate_reply_would_give_it_one() -> None:
    head, pieces, trailers, ends = streamed(Reply(200, (), b"done", "d"))

    assert head == ((":status", b"200"), ("content-length", b"4"))
    assert (pieces, trailers, ends) == ([b"done"], (), [False, True])


def test_an_empty_body_with_a_type_or_a_length_is_streamed_for_an_immediate_reply_would_lose_them() -> None:
    for fields in (TYPED, (("content-length", b"1234"),)):
        head, pieces, trailers, ends = streamed(Reply(200, fields, b"", "d"))

        assert head == ((":status", b"200"), *fields)
        assert (pieces, trailers, ends) == ([], (), [True])


def test_several_cookies_are_never_joined() -> None:
    cookies: Fields = (("set-cookie", b"a=1"), ("set-cookie", b"b=2"))

    assert phase(the_answer(Reply(200, cookies, b"done", "d"))) == "immediate_response"


def test_what_is_no_answer_cannot_be_encoded() -> None:
    with pytest.raises(TypeError, match="no message for"):
        answers(object())  # type: ignore[arg-type]  # what the type forbids is what is tested
