"""Ports for servers that are told where to listen before they do."""

import random

from sidecar.supervision.errors import StartupError
from sidecar.supervision.ports import Address, resolve

_OUTSIDE_OF_THE_KERNELS_CHOICE = range(10_000, 32_000)
"""From 32768 on, Linux gives them to connections that go out: what was free may soon be taken."""


def ports_in_a_row(count: int) -> Address:
    """The first of so many ports of 127.0.0.1 that nobody listens on and no connection is likely to take."""
    while True:
        address = Address("127.0.0.1", random.choice(_OUTSIDE_OF_THE_KERNELS_CHOICE))
        try:
            return resolve(address, "--listen", count=count)
        except StartupError:
            continue
