"""grpc.health.v1: `Check` and `Watch`, as handlers on streams.

The messages come from grpcio-health-checking, which needs protobuf but not grpc.
"""

from collections.abc import Iterable
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from sidecar.extproc.transport.native.responses import Status
from sidecar.extproc.transport.native.stream import NativeStream

CHECK: Final = b"/grpc.health.v1.Health/Check"
WATCH: Final = b"/grpc.health.v1.Health/Watch"

_RESPONSE: Final = health_pb2.HealthCheckResponse
_SERVING: Final[bytes] = _RESPONSE(status=_RESPONSE.SERVING).SerializeToString()
_NOT_SERVING: Final[bytes] = _RESPONSE(status=_RESPONSE.NOT_SERVING).SerializeToString()
_SERVICE_UNKNOWN: Final[bytes] = _RESPONSE(status=_RESPONSE.SERVICE_UNKNOWN).SerializeToString()
_NO_REQUEST: Final = (Status.INTERNAL, "a call without its request")
_NOT_A_REQUEST: Final = (Status.INTERNAL, "not one HealthCheckRequest")


class Health:
    """Whether this server serves; it does not until it is told so.

    Args:
        services: The services that share this status; "" is the server as a whole.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._serving = False
        self._watchers: set[_Watch] = set()

    def set_serving(self, serving: bool) -> None:
        """Change the status; whoever watches it is told."""
        if serving != self._serving:
            self._serving = serving
            for watcher in tuple(self._watchers):
                watcher.tell(self.status)

    def end_watches(self) -> None:
        """The server stops: end the calls that would never end."""
        for watcher in tuple(self._watchers):
            watcher.stop()

    @property
    def status(self) -> bytes:
        """A serialised HealthCheckResponse."""
        return _SERVING if self._serving else _NOT_SERVING

    def knows(self, service: str) -> bool:
        """Whether there is such a service."""
        return service in self._services

    def check(self, stream: NativeStream) -> "_Check":
        """The handler of a call of Check."""
        return _Check(self, stream)

    def watch(self, stream: NativeStream) -> "_Watch":
        """The handler of a call of Watch."""
        return _Watch(self, stream)

    def enter(self, watcher: "_Watch") -> None:
        """A service is watched from now on."""
        self._watchers.add(watcher)

    def leave(self, watcher: "_Watch") -> None:
        """It is not any more."""
        self._watchers.discard(watcher)


class _Check:
    """Answers the status once; NOT_FOUND for a service that is not known."""

    def __init__(self, health: Health, stream: NativeStream) -> None:
        self._health = health
        self._stream = stream
        stream.at_half_close = _NO_REQUEST

    def on_message(self, message: bytes) -> None:
        """A HealthCheckRequest."""
        service = _service(message)
        if service is None:
            self._stream.finish(*_NOT_A_REQUEST)
        elif self._health.knows(service):
            self._stream.send(self._health.status)
            self._stream.finish(Status.OK)
        else:
            self._stream.finish(Status.NOT_FOUND, "unknown service")

    def on_end(self) -> None:
        """Nothing is left to do."""


class _Watch:
    """Answers the status now and whenever it changes; SERVICE_UNKNOWN for a service that is not known."""

    def __init__(self, health: Health, stream: NativeStream) -> None:
        self._health = health
        self._stream = stream
        stream.at_half_close = _NO_REQUEST

    def on_message(self, message: bytes) -> None:
        """A HealthCheckRequest; the client half-closes the stream after it, and goes on listening."""
        service = _service(message)
        if service is None or self._stream.at_half_close is None:
            self._stream.finish(*_NOT_A_REQUEST)
            return
        self._stream.at_half_close = None
        if self._health.knows(service):
            self._health.enter(self)
            self.tell(self._health.status)
        else:
            self.tell(_SERVICE_UNKNOWN)

    def on_end(self) -> None:
        """Nobody listens any more."""
        self._health.leave(self)

    def tell(self, status: bytes) -> None:
        """Send a status."""
        self._stream.send(status)

    def stop(self) -> None:
        """The server goes."""
        self._stream.finish(Status.UNAVAILABLE, "the server is stopping")


def _service(message: bytes) -> str | None:
    """The service that a HealthCheckRequest asks for; None where it is not one."""
    try:
        return str(health_pb2.HealthCheckRequest.FromString(message).service)
    except DecodeError:
        return None
