"""Ports that stay free while their server is away.

A port that the system hands out may be taken by an outgoing connection in the moment between a kill and the
restart, and a connection to a port where nobody listens may even meet itself. Below the range from which
outgoing connections are numbered, neither can happen.
"""

import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL_FIRST_EPHEMERAL = 32_768
_LOWEST = 15_000


def lasting_port() -> int:
    """A free port of 127.0.0.1 that no outgoing connection will be given."""
    first = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else _USUAL_FIRST_EPHEMERAL
    highest = max(first, _LOWEST + 1_000)
    while True:
        port = random.SystemRandom().randrange(_LOWEST, highest)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
