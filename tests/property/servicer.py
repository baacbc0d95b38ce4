"""The real servicer, in this process, behind a real gRPC channel: both transports, a store in memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from sidecar.exchange.effects import Execute, StoreEffect
from sidecar.exchange.events import Executed, OriginEvent, StoreEvent
from sidecar.extproc.server import ExchangeServer
from sidecar.extproc.transport.grpcio import GrpcioTransport
from sidecar.extproc.transport.native import NativeTransport
from sidecar.extproc.transport.port import PROCESS
from sidecar.idempotency.outcome import VIA_UPSTREAM
from sidecar.idempotency.policy import Policies
from sidecar.store.memory import MemoryStore
from sidecar.store.performing import StorePerformer
from tests.property.envoy_account import EnvoyAccount
from tests.transport.transport_scene import NO_LIMITS
from tests.unit.extproc.driver_scene import FakeObserver, Performing

PATIENCE_S = 5.0
"""How long an answer may take; one that takes longer counts as a hang."""
Call: TypeAlias = "grpc.aio.StreamStreamCall[bytes, bytes]"


class Hang(AssertionError):  # noqa: N818 - what happened, not what went wrong here
    """Something is owed, and does not come."""


@dataclass
class Peer:
    """One stream, from Envoy's side."""

    call: Call
    account: EnvoyAccount = field(default_factory=EnvoyAccount)
    status: grpc.StatusCode | None = None
    """How the servicer ended the stream; None while it has not."""

    async def send(self, *messages: bytes) -> None:
        """Send messages, without waiting for anything."""
        for message in messages:
            self.account.sent(message)
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self.call.write(message)

    async def settle(self) -> None:
        """Read until nothing is owed, or the stream has ended."""
        while self.status is None and not self.account.owes_nothing:
            await self._read()

    async def tell(self, *messages: bytes) -> None:
        """Send message after message, each once nothing is owed; stop where the stream ends."""
        for message in messages:
            if self.status is None:
                await self.send(message)
                await self.settle()

    async def close(self) -> grpc.StatusCode:
        """Half-close, and read to the end of the stream."""
        if self.status is None:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await self.call.done_writing()
        while self.status is None:
            await self._read()
        return self.status

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await self.call.read()
                if isinstance(answer, bytes):
                    self.account.heard(answer)
                else:
                    self.status = await self.call.code()
        except grpc.aio.AioRpcError as error:
            self.status = error.code()
        except TimeoutError as error:
            raise Hang(f"{self.account}") from error


class Servicer:
    """One transport that serves, and a channel to it."""

    def __init__(self, channel: grpc.aio.Channel, observer: FakeObserver) -> None:
        self._channel, self._observer = channel, observer
        self.share = 1
        """One of how many cases is to be tried here."""

    @contextlib.asynccontextmanager
    async def stream(self) -> AsyncIterator[Peer]:
        """A stream; whatever is left of it is cancelled at the end."""
        process: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(PROCESS)
        peer = Peer(process())
        try:
            yield peer
        finally:
            peer.call.cancel()

    def bugs(self) -> list[Exception]:
        """What failed a stream that is no fault of the peer's."""
        return [error for _, error in self._observer.of("violated") if error is not None]


async def _execute(effect: Execute) -> OriginEvent:
    """A detached execution: the origin answers with what it was sent."""
    return Executed(201, (("content-type", b"text/plain"),), effect.body, (), VIA_UPSTREAM)


@contextlib.asynccontextmanager
async def serving(
    kind: type[GrpcioTransport | NativeTransport], path: Path, policies: Policies
) -> AsyncIterator[Servicer]:
    """Serve on a unix socket at `path` while the context lasts."""
    store = StorePerformer(MemoryStore(time.monotonic), lambda *_: None, time.monotonic)
    observer = FakeObserver()

    def perform(effect: StoreEffect | Execute) -> Coroutine[Any, Any, StoreEvent | OriginEvent]:
        return _execute(effect) if isinstance(effect, Execute) else store.perform(effect)

    server = ExchangeServer(lambda: policies, Performing(perform), observer)
    transport = kind(f"unix:{path}", server.accept)
    await transport.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}", options=NO_LIMITS) as channel:
            yield Servicer(channel, observer)
    finally:
        await transport.stop(0)
