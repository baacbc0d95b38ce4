"""What Envoys older than the newest cannot do: the one list that the tests and docs/compatibility.md go by.

A test that carries one of these must fail on the older versions, and pass on the others: `xfail_strict` makes
a limit that is lifted, or was never there, a failure of the run.
"""

import pytest

SINCE = "since_envoy"
"""The name of the mark; its arguments are the first version that can do it, and why the older ones cannot."""


def _since(version: str, why: str) -> pytest.MarkDecorator:
    return getattr(pytest.mark, SINCE)(version, why)  # type: ignore[no-any-return] # of pytest's own making


KNOWS_EVERY_FIELD = _since(
    "1.38",
    "Envoy refuses `allow_content_length_header`, which it does not know. The rows below were tried on the "
    "configuration without it.",
)
KEEPS_CONTENT_LENGTH = _since(
    "1.38",
    "Envoy takes the content-length off a response that is captured (`allow_content_length_header` is what "
    "keeps it): the same bytes are sent chunked.",
)
STREAMS_A_REPLAY = _since(
    "1.37",
    "Envoy does not know `StreamedImmediateResponse`, the form of a replay that has trailers, has a body "
    "without a content-type, or answers HEAD. The retry gets 503 and executes nothing.",
)
READS_A_BODY_FIRST = _since(
    "1.40",
    "Envoy cannot show the body of a request while it holds the request's head (a `mode_override` on its "
    "own). The request gets 503 and executes nothing.",
)
