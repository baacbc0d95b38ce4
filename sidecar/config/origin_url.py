"""The address at which detached calls are made."""

from sidecar.config.endpoint import Endpoint
from sidecar.config.errors import RefusedError, quoted
from sidecar.config.fragments import string
from sidecar.config.kinds import Kind, optional

ORIGIN_FORM = "unix:///absolute/path of at most 100 bytes, or http://host:port"
_TCP = "http://"


def origin_url() -> Kind[str]:
    """The kind of `origin.url`: a unix socket, or host and port in the clear."""
    return optional(Kind("a URL", ORIGIN_FORM, _parse, fragment=string("unix:///.+|http://.+:[0-9]{1,5}")))


def _parse(given: str) -> str:
    """The URL as it was given; the client and the renderer of Envoy's side read it themselves."""
    address = given.removeprefix(_TCP)
    if given.startswith("https://"):
        raise RefusedError(f"{quoted(given)} is encrypted, and Envoy's origin listener is not")
    if not given.startswith((_TCP, "unix:")) or address.startswith("unix:") != given.startswith("unix:"):
        raise RefusedError(f"{quoted(given)} is not the URL of an origin")
    try:
        Endpoint.parse(address)
    except RefusedError:
        raise RefusedError(f"{quoted(given)} is not the URL of an origin") from None
    return given
