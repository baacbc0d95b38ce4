"""What the formats for meshes have in common: their Envoys are somebody else's, and made from resources."""

from typing import Any

from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter

from sidecar.envoyconf.addresses import UnixAddress
from sidecar.envoyconf.filter import FILTER
from sidecar.envoyconf.inputs import EnvoyInputs
from sidecar.envoyconf.processor import fails_open
from sidecar.envoyconf.typed import plain

GRACEFUL_CLOSE = "envoy.reloadable_features.ext_proc_graceful_grpc_close"
"""The runtime flag by which exchanges end with a half-close rather than a reset."""


def check_origin(inputs: EnvoyInputs) -> None:
    """Refuse an origin that nothing would listen on.

    An origin listener needs the routes of the Envoy that it is in, which a mesh makes itself: so detached
    calls go straight to the service, and only an address can be that.

    Raises:
        ValueError: A policy is detached and `origin.url` is a socket.
    """
    if isinstance(inputs.origin_address, UnixAddress):
        raise ValueError(  # noqa: TRY004 - what the operator wrote is wrong, no argument of a function
            "origin.url is a socket, where no mesh listens; allowed: http://HOST:PORT of the service itself"
        )


def explicit(entry: HttpFilter, inputs: EnvoyInputs) -> dict[str, Any]:
    """A filter as plain values; the idempotency filter says how it fails, also where that is the default.

    Who reads the resource should not have to know the default, and some controllers have another.
    """
    found: dict[str, Any] = dict(plain(entry))
    if entry.name == FILTER:
        found["typed_config"]["extension_config"]["typed_config"]["failure_mode_allow"] = fails_open(inputs)
    return found
