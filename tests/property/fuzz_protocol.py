"""A fuzz target for codec, machine and driver: any bytes, from anybody, at any moment.

The invariant: whatever the peer sends, and whenever store, origin and clock speak, each message gets exactly
one legal answer or the stream fails with a status. Never is an answer empty, nothing hangs once all that was
asked has been answered, nothing follows the end, no exception comes out, memory stays bounded.

Part of the tests (`test_protocol_fuzz.py`), and to be run for as long as wanted:

    python -m tests.property.fuzz_protocol --seconds 600
"""

import argparse
import asyncio
import random
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sidecar.exchange.states import State
from tests.property.hostile_walk import HostileWalk

STEPS = st.integers(5, 60)
BATCH = 250
"""Examples from one seed."""


@dataclass
class Found:
    """What a run came across."""

    examples: int = 0
    states: set[State] = field(default_factory=set)
    errors: list[dict[str, Any]] = field(default_factory=list)
    """What reached the event loop's own handler, which logs it with its traceback."""


def fuzz(seed: int, examples: int, found: Found) -> None:
    """Try so many examples from this seed.

    Raises:
        AssertionError: The invariant does not hold; Hypothesis prints the shortest example it found.
    """
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda _, context: found.errors.append(context))

        @hypothesis.seed(seed)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data(), STEPS)
        def example(data: st.DataObject, steps: int) -> None:
            found.errors.clear()
            walk = HostileWalk(data)
            runner.run(walk.run(steps))
            found.examples += 1
            found.states |= walk.visited
            assert not found.errors, found.errors

        example()


def main(arguments: list[str]) -> int:
    """Fuzz for a while; say from which seed, and what was tried."""
    parser = argparse.ArgumentParser(description="Fuzz the protocol; stops at the first violation.")
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=random.SystemRandom().randrange(2**32), help="to begin with"
    )
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)  # noqa: T201 - a command
    found, end, seed = Found(), time.monotonic() + options.seconds, options.seed
    fuzz(seed, BATCH, found)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    while time.monotonic() < end:
        seed += 1
        fuzz(seed, BATCH, found)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    unseen = sorted(state.name for state in set(State) - found.states)
    print(  # noqa: T201 - a command
        f"{found.examples} examples up to seed {seed}, no violation; "
        f"memory grew by {grown / 1024:.1f} MiB after the first {BATCH}; "
        f"states never visited: {', '.join(unseen) or 'none'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
