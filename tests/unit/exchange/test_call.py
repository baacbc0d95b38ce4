"""What tells a unary gRPC call from a stream, as its messages pass."""

import pytest

from sidecar.exchange.call import Call
from tests.unit.exchange.scenes import framed

ONE, TWO = framed(b"a"), framed(b"a", b"b")


def call(request: bytes, *, ended: bool, response: bytes = b"", ends_later: bool = False) -> Call:
    """A call whose request came, then its response."""
    made = Call(is_open=True)
    made.take_request(request, ends=ended)
    made.begin_response()
    made.response.feed(response)
    if ends_later:
        made.take_request(b"", ends=True)
    return made


@pytest.mark.parametrize("request_", [b"", ONE, ONE[:3]])
@pytest.mark.parametrize("response", [b"", ONE, ONE[:3]])
def test_a_request_that_ended_before_its_response_and_one_message_at_most_each_way_is_unary(
    request_: bytes, response: bytes
) -> None:
    assert not call(request_, ended=True, response=response).is_stream


def test_several_messages_either_way_make_a_stream() -> None:
    assert call(TWO, ended=True).is_stream
    assert call(ONE, ended=True, response=TWO).is_stream


def test_a_response_that_begins_before_the_request_has_ended_makes_a_stream_for_good() -> None:
    assert call(ONE, ended=False).is_stream
    assert call(ONE, ended=False, response=ONE, ends_later=True).is_stream


def test_a_request_that_goes_on_may_yet_turn_out_to_be_a_stream() -> None:
    made = Call(is_open=True)
    made.take_request(ONE, ends=False)

    assert made.is_stream
    made.take_request(b"", ends=True)
    assert not made.is_stream


def test_a_whole_message_is_enough_for_an_upstream_to_act() -> None:
    made = Call(is_open=True)

    for byte in ONE[:-1]:
        made.take_request(bytes([byte]), ends=False)
        assert not made.may_execute
    made.take_request(ONE[-1:], ends=False)
    assert made.may_execute


def test_a_call_without_a_body_has_ended_with_its_head() -> None:
    made = Call(is_open=False)

    assert not made.is_stream
    made.begin_response()
    assert not made.is_stream
