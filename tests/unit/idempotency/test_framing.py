"""Frames are the same whether they are kept or made anew, and what is kept is bounded."""

import pytest

from sidecar.idempotency import framing
from sidecar.idempotency.framing import KEPT_LENGTH, frame, frame_of_text, frames, frames_of_values


@pytest.mark.parametrize("text", ["", "POST", "/caf\xe9", "x" * KEPT_LENGTH, "x" * (KEPT_LENGTH + 1)])
def test_text_is_framed_as_its_bytes_are(text: str) -> None:
    assert frame_of_text(text) == frame_of_text(text) == frame(text.encode("latin-1"))


def test_no_long_text_is_kept() -> None:
    """How long a path is, is up to the client."""
    kept = framing._kept_frame.cache_info().currsize

    for number in range(10):
        frame_of_text(f"/{number}".ljust(KEPT_LENGTH + 1, "x"))

    assert framing._kept_frame.cache_info().currsize == kept


@pytest.mark.parametrize("found", [(), (b"",), (b"one",), (b"one", b"two")])
def test_values_are_framed_behind_their_number(found: tuple[bytes, ...]) -> None:
    assert frames_of_values(found) == frames(b"%d" % len(found), *found)
