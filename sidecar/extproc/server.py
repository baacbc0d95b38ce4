"""Accepts streams on this worker's endpoint and gives each an exchange of its own."""

import asyncio
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
        self._timers = Timers(asyncio.get_running_loop())

    def accept(self, stream: Stream) -> Handler:
        """The handler of a new stream (`transport.port.Accept`)."""
        exchange = Exchange(self._policies(), owner=secrets.token_hex(16))
        return Driver(stream, exchange, self._perform, self._observer, self._timers)
