"""Accepts streams on this worker's endpoint and gives each an exchange of its own."""

import asyncio
import itertools
import secrets
from collections.abc import Callable

from sidecar.exchange.machine import Exchange
from sidecar.extproc.driver import Driver, Observer, Performer
from sidecar.extproc.timers import Timers
from sidecar.extproc.transport.port import Handler, Stream
from sidecar.idempotency.policy import Policies
from sidecar.idempotency.telling import TELLS, sources_told

POLICY = "idempotency-policy"
"""The field of a stream's initial metadata in which a route of Envoy's names the policy for its requests.

`ExtProcPerRoute.overrides.grpc_initial_metadata` sets it (docs/policies.md); a client cannot.
"""


class _Refused:
    """The handler of a stream that was failed before it began."""

    def on_message(self, message: bytes) -> None:
        """Nobody is interested."""

    def on_end(self) -> None:
        """Nobody is interested."""


class ExchangeServer:
    """Makes the handler of every stream.

    Args:
        policies: Gives the snapshot of the configuration for the next exchange.
        performer: Performs the effects of the store and of the origin.
        observer: Is told of every exchange.
    """

    def __init__(self, policies: Callable[[], Policies], performer: Performer, observer: Observer) -> None:
        self._policies = policies
        self._performer = performer
        self._observer = observer
        # No two exchanges have one token: 128 random bits tell the workers apart, a number their exchanges.
        self._process = secrets.token_hex(16)
        self._exchanges = itertools.count(1)
        self._timers = Timers(asyncio.get_running_loop())

    def accept(self, stream: Stream) -> Handler:
        """The handler of a new stream (`transport.port.Accept`)."""
        policies = self._policies()
        name = stream.metadata(POLICY)
        if name is not None:
            named = policies.named(name)
            if named is None:
                return self._refuse(stream, name)
            policies = named
        sources = sources_told(stream.metadata(TELLS)) if policies.needs else None
        exchange = Exchange(policies, f"{self._process}-{next(self._exchanges):x}", sources)
        return Driver(stream, exchange, self._performer, self._observer, self._timers)

    def _refuse(self, stream: Stream, name: str) -> Handler:
        """A route names a policy that there is not: nobody can say whether its requests have keys (G5)."""
        detail = f"a route of Envoy's names the policy {name!r}; allowed: one that is configured"
        self._observer.violated(detail, None)
        stream.fail(detail)
        return _Refused()
