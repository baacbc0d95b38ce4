"""Ports for servers that are told where to listen before they do, and that may be away for a while."""

from sidecar.supervision.ports import Address, resolve


def lasting_port() -> int:
    """A port of 127.0.0.1 that nobody listens on and no outgoing connection will be given."""
    return ports_in_a_row(1).port


def ports_in_a_row(count: int) -> Address:
    """The first of so many of them."""
    return resolve(Address("127.0.0.1", 0), "--listen", count=count)
