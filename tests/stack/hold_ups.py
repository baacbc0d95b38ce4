"""How long a busy machine keeps the tests from running, for those that say how quick something is."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

_NAP_S = 0.002


@dataclass
class HoldUps:
    """What was felt of the machine so far."""

    longest_s: float = 0.0


@contextlib.contextmanager
def feeling_the_machine() -> Iterator[HoldUps]:
    """Measure, while the context lasts, how much longer than it should a short sleep takes."""
    felt, over = HoldUps(), threading.Event()

    def feel() -> None:
        while not over.is_set():
            began = time.monotonic()
            time.sleep(_NAP_S)
            felt.longest_s = max(felt.longest_s, time.monotonic() - began - _NAP_S)

    thread = threading.Thread(target=feel)
    thread.start()
    try:
        yield felt
    finally:
        over.set()
        thread.join()
