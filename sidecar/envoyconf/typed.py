"""Between Envoy's types and YAML: the few conversions that every part of the configuration needs."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeAlias

import betterproto2
import yaml
from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress

from sidecar.envoyconf.addresses import TcpAddress, UnixAddress

Plain: TypeAlias = Mapping[str, object]
"""A message as YAML holds it: Envoy's own field names, in the order of its definition."""


def plain(message: betterproto2.Message) -> Plain:
    """A message with what is packed inside it spelled out."""
    return message.to_dict(casing=betterproto2.Casing.SNAKE)


def to_yaml(header: str, document: Mapping[str, object] | Sequence[object]) -> str:
    """A YAML document under a comment; the same input gives the same text."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.strip().splitlines())
    return f"{comment}\n{yaml.safe_dump(document, sort_keys=False, width=110)}"


def milliseconds(count: int) -> timedelta:
    """A duration of `count` milliseconds."""
    return timedelta(milliseconds=count)


def seconds(count: int) -> timedelta:
    """A duration of `count` seconds."""
    return timedelta(seconds=count)


def socket(address: TcpAddress | UnixAddress) -> Address:
    """An address in Envoy's type."""
    if isinstance(address, UnixAddress):
        return Address(pipe=Pipe(path=address.path))
    return Address(socket_address=SocketAddress(address=address.host, port_value=address.port))
