"""Accepts streams on this worker's endpoint and gives each an exchange of its own."""

import asyncio
import itertools
import secrets
from collections.abc import Callable

from sidecar.exchange.machine import Exchange
from sidecar.extproc.driver import Driver, Observer, Perform
from sidecar.extproc.timers import Timers
from sidecar.extproc.transport.port import Handler, Stream
from sidecar.idempotency.policy import Policies


class ExchangeServer:
    """Makes the handler of every stream.

    Args:
        policies: Gives the snapshot of the configuration for the next exchange.
        perform: Performs store effects.
        observer: Is told of every exchange.
    """

    def __init__(self, policies: Callable[[], Policies], perform: Perform, observer: Observer) -> None:
        self._policies = policies
        self._perform = perform
        self._observer = observer
        # No two exchanges have one token: 128 random bits tell the workers apart, a number their exchanges.
        self._process = secrets.token_hex(16)
        self._exchanges = itertools.count(1)
        self._timers = Timers(asyncio.get_running_loop())

    def accept(self, stream: Stream) -> Handler:
        """The handler of a new stream (`transport.port.Accept`)."""
        exchange = Exchange(self._policies(), owner=f"{self._process}-{next(self._exchanges):x}")
        return Driver(stream, exchange, self._perform, self._observer, self._timers)
