"""What Envoys older than the newest cannot do: the one list that the tests and docs/compatibility.md go by.

A test that carries one of these must fail on the older versions, and pass on the others: `xfail_strict` makes
a limit that is lifted, or was never there, a failure of the run.
"""

import pytest

SINCE = "since_envoy"
"""The name of the mark; its arguments are the first version that can do it, and why the older ones cannot."""


def _since(version: str, why: str) -> pytest.MarkDecorator:
    return getattr(pytest.mark, SINCE)(version, why)  # type: ignore[no-any-return] # of pytest's own making


STREAMS_A_REPLAY = _since(
    "1.37",
    "Envoy does not know `StreamedImmediateResponse`, the only form of a replay to a gRPC call, to HEAD, "
    "with trailers, or of a body without a content-type (or the reverse). The retry executes nothing and "
    "gets 409 `response-not-stored` with the `original_status`, a gRPC call FAILED_PRECONDITION.",
)
