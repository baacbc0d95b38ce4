"""A short run of the fuzz target, from a seed of its own each time (see `fuzz_protocol.py`)."""

import random

import pytest

from sidecar.exchange.states import State
from tests.property.fuzz_protocol import Found, fuzz, main


def test_whatever_comes_is_answered_or_fails_its_stream() -> None:
    found, seed = Found(), random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - to run it again

    fuzz(seed, 300, found)

    assert found.examples >= 300
    assert len(found.states) > len(State) / 2, "the walks have not come far"


def test_the_command_says_its_seed_and_what_it_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seconds", "0", "--seed", "7"]) == 0

    first, last = capsys.readouterr().out.splitlines()
    assert first == "seed 7"
    assert "examples up to seed 7, no violation" in last
