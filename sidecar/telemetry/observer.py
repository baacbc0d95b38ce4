"""Turns what exchanges and the store report into metrics and log lines."""

import asyncio
import logging
from typing import Protocol

import structlog

from sidecar.exchange.effects import Count, CountOutcome
from sidecar.idempotency.outcome import Outcome
from sidecar.telemetry.metrics import Metrics

_UNKNOWN = Outcome.UNKNOWN
_ORDINARY = frozenset({"executed", "replayed", "shadow_executed", "shadow_replayed"})


class LostWrite(Protocol):
    """A write that the store did not answer, at the end of its repeats (`store.observing.RepeatEnd`)."""

    @property
    def operation(self) -> str:
        """What was asked: complete, release or mark_unknown."""
        ...

    @property
    def claim_id(self) -> str:
        """The id it is about."""
        ...

    @property
    def result(self) -> str:
        """`held` or `lost` where the store answered, `error` where it was given up."""
        ...

    @property
    def tries(self) -> int:
        """How often it was repeated."""
        ...

    @property
    def seconds(self) -> float:
        """How long after it was lost."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it was given up; None where the store answered."""
        ...


class Telemetry:
    """The observer of every exchange of one worker (`extproc.driver.Observer`), and of its store.

    Whether lines of level debug are written is asked once, when it is made: an ordinary request then costs
    nothing here but its counters.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics
        self.open_exchanges = 0
        metrics.in_flight.set_function(lambda: self.open_exchanges)
        self._idle = asyncio.Event()
        self._idle.set()
        self._log = structlog.get_logger("sidecar")
        self._debugging: bool = self._log.is_enabled_for(logging.DEBUG)
        self._requests = metrics.requests
        self._outcomes = metrics.outcomes
        self.answered = metrics.exchange_seconds.observe
        """Envoy waited so many seconds for the answer to a message of this phase (`request_headers`, ...)."""
        self._store_seconds = metrics.store_seconds
        self._origin_seconds = metrics.origin_seconds

    def opened(self) -> None:
        """A stream was accepted."""
        self.open_exchanges += 1
        if self.open_exchanges == 1:
            self._idle.clear()

    def closed(self) -> None:
        """A stream has ended and everything it asked of the store is done."""
        self.open_exchanges -= 1
        if not self.open_exchanges:
            self._idle.set()

    async def idle(self) -> None:
        """Return when no exchange is open."""
        await self._idle.wait()

    def counted(self, count: Count) -> None:
        """A request was decided; what is refused or bypassed is logged too."""
        self._requests.add(count.policy, count.result)
        ordinary = count.result in _ORDINARY
        if not ordinary or self._debugging:
            (self._log.debug if ordinary else self._log.info)(
                "request decided",
                policy=count.policy,
                result=count.result,
                id=count.claim_id,
                request_id=count.request_id,
            )

    def settled(self, outcome: CountOutcome) -> None:
        """An execution ended; an unknown outcome is what an operator may have to resolve."""
        self._outcomes.add(outcome.policy, outcome.outcome, outcome.reason)
        unknown = outcome.outcome is _UNKNOWN
        if unknown or self._debugging:
            (self._log.warning if unknown else self._log.debug)(
                "execution ended",
                policy=outcome.policy,
                outcome=outcome.outcome.value,
                reason=str(outcome.reason),
                id=outcome.claim_id,
                request_id=outcome.request_id,
            )

    def violated(self, detail: str, error: Exception | None) -> None:
        """A stream was failed."""
        self._log.error("stream failed", detail=detail, exc_info=error)

    def stored(self, operation: str, result: str, seconds: float, error: Exception | None) -> None:
        """A store operation answered, or failed with `error`."""
        self._store_seconds.observe((operation, result), seconds)
        if error is not None:
            self._log.warning("store operation failed", operation=operation, error=str(error))

    def called(self, result: str, seconds: float, error: Exception | None) -> None:
        """A detached call was answered, or failed with `error`."""
        self._origin_seconds.observe(result, seconds)
        if error is not None:
            self._log.warning("detached call failed", result=result, error=str(error))

    def circuit(self, state: str) -> None:
        """The circuit in front of the store was opened, half-opened or closed."""
        log = self._log.info if state == "closed" else self._log.warning
        log("store circuit", state=state)
        self.metrics.store_circuit_open.set(state != "closed")

    def reloaded(self, result: str) -> None:
        """A configuration was loaded again, and `applied` or `rejected`."""
        self.metrics.config_reloads.labels(result).inc()

    def repeated(self, end: LostWrite) -> None:
        """A write that was lost and repeated has come to its end."""
        log = self._log.info if end.error is None else self._log.error
        log(
            "lost write given up" if end.error else "lost write made good",
            operation=end.operation,
            id=end.claim_id,
            result=end.result,
            tries=end.tries,
            seconds=round(end.seconds, 3),
        )
