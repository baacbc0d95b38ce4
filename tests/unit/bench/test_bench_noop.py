"""The no-op processor knows a message by its first byte."""

import pytest

from bench.noop import continuations
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
