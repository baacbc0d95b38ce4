"""Ports for servers that are told where to listen before they do, and that may be away for a while.

A port that the system hands out may be taken by an outgoing connection before the server listens, or between
its kill and its restart; a connection to a port where nobody listens may even meet itself. Below the range
from which outgoing connections are numbered, neither can happen.
"""

import random
from pathlib import Path

from sidecar.supervision.errors import StartupError
from sidecar.supervision.ports import Address, resolve

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_FIRST_EPHEMERAL = 32_768
_LOWEST = 15_000


def lasting_port() -> int:
    """A port of 127.0.0.1 that nobody listens on and no outgoing connection will be given."""
    return ports_in_a_row(1).port


def ports_in_a_row(count: int) -> Address:
    """The first of so many of them."""
    first = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else _USUAL_FIRST_EPHEMERAL
    highest = max(first - count, _LOWEST + 1_000)
    while True:
        # Not of the seeded generator: a plan that is run again must not depend on what was free.
        port = random.SystemRandom().randrange(_LOWEST, highest)
        try:
            return resolve(Address("127.0.0.1", port), "--listen", count=count)
        except StartupError:
            continue
