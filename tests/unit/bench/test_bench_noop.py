"""The no-op processors answer each message with the continuation of its phase."""

from collections.abc import AsyncIterator

import pytest

from bench.noop import PLAIN, TUNED, continuations, handler, plain
from sidecar.extproc.wire import ext_proc_pb2 as pb

PHASES = ("request_headers", "request_body", "response_headers", "response_body")


@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_is_answered_by_its_own_continuation(phase: str) -> None:
    request = pb.ProcessingRequest()
    getattr(request, phase).SetInParent()
    request.attributes["x"].fields["y"].string_value = "attributes come after the phase on the wire"

    answer = pb.ProcessingResponse.FromString(continuations()[request.SerializeToString()[0]])

    assert answer.WhichOneof("response") == phase
    assert not getattr(answer, phase).HasField("response")


def test_no_two_phases_share_a_first_byte() -> None:
    assert len(continuations()) == len(PHASES)


async def test_the_plain_one_answers_each_message_with_its_continuation() -> None:
    async def requests() -> AsyncIterator[pb.ProcessingRequest]:
        for phase in PHASES:
            request = pb.ProcessingRequest()
            getattr(request, phase).SetInParent()
            yield request

    answers = [answer async for answer in plain(requests(), None)]

    assert [answer.WhichOneof("response") for answer in answers] == list(PHASES)


def test_only_the_tuned_one_does_without_messages() -> None:
    assert handler(PLAIN).request_deserializer is not None
    assert handler(TUNED).request_deserializer is None
