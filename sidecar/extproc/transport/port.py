"""The transport port: streams of messages in, answers out, driven by calls.

A transport accepts streams of `envoy.service.ext_proc.v3.ExternalProcessor/Process`. For each it calls
`accept(stream)` and then, on the event loop's thread and never re-entrantly, the handler's `on_message` for
every message and `on_end` exactly once. The handler answers through the stream, in the same call or later.
After `on_end`, and after `finish` or `fail`, whatever is sent is dropped.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


class Stream(Protocol):
    """The way out of one stream."""

    def metadata(self, name: str) -> str | None:
        """What the call brought along under this name (lower-case) in its initial metadata; None: nothing.

        What are bytes by their name (`-bin`) is not handed on.
        """
        ...

    def send(self, message: bytes) -> None:
        """Send one serialised ProcessingResponse, in the order of the calls; never blocks."""
        ...

    def when_writable(self, told: Callable[[], None]) -> None:
        """Call `told` once the peer has taken most of what was sent: now, where it has already.

        What was sent and is not taken lies in memory here. Whoever has much to send asks before each part,
        and so holds little of it. One is told at a time; after the end of the stream, nobody is.
        """
        ...

    def pause_reading(self) -> None:
        """Hand over no message until `resume_reading`; the peer may send as much as its window allows.

        A peer that closes the stream behind messages that wait is heard only after them.
        """
        ...

    def resume_reading(self) -> None:
        """Hand over messages again; those that waited may be handed over in this call."""
        ...

    def fail(self, detail: str) -> None:
        """End the stream with gRPC status INTERNAL, which Envoy answers by failing closed.

        There is deliberately no way to end a stream cleanly while Envoy waits: a clean end fails open
        whatever `failure_mode_allow` says.
        """
        ...


class Handler(Protocol):
    """What is done with one stream."""

    def on_message(self, message: bytes) -> None:
        """One serialised ProcessingRequest came."""
        ...

    def on_end(self) -> None:
        """The stream is over: closed by Envoy, reset, or its connection lost."""
        ...


Accept: TypeAlias = Callable[[Stream], Handler]


class Transport(Protocol):
    """A server of ext_proc streams, and of grpc.health.v1, on one endpoint."""

    async def start(self) -> None:
        """Listen; raise `OSError` saying why where the endpoint cannot be had."""
        ...

    async def set_serving(self, serving: bool) -> None:
        """What grpc.health.v1 says of the server and of its service; not serving until it is told so."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Take no new streams, give those under way `grace_s` seconds to end, then drop them."""
        ...
