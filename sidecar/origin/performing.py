"""Performs detached executions: the call's answer, or why there is none, as an event."""

from collections.abc import Callable
from typing import TypeAlias

from sidecar.exchange.effects import Execute
from sidecar.exchange.events import Executed, ExecutionFailed, Failure, OriginEvent
from sidecar.origin.call import OriginCall
from sidecar.origin.client import OriginClient
from sidecar.origin.errors import DeadlineError, NeverSentError, OriginError

ObserveOrigin: TypeAlias = Callable[[str, float, OriginError | None], None]
"""Told of each call: its result (the metric's label), seconds, and the error if it failed."""


class OriginPerformer:
    """Binds a client of the origin to the effects of exchanges. `clock` gives seconds, for the observer.

    Without a client no policy is detached (the configuration sees to it), and an `Execute` is a bug.
    """

    def __init__(
        self, client: OriginClient | None, observe: ObserveOrigin, clock: Callable[[], float]
    ) -> None:
        self._client = client
        self._observe = observe
        self._clock = clock

    async def perform(self, effect: Execute) -> OriginEvent:
        """Make the call; an `OriginError` comes back as the event that says what may have happened."""
        if self._client is None:
            raise RuntimeError("a detached execution without an origin")
        began = self._clock()
        try:
            answer = await self._client.execute(_call(effect))
        except OriginError as error:
            failure = _failure(error)
            self._observe(failure.name.lower(), self._clock() - began, error)
            return ExecutionFailed(failure)
        self._observe("answered", self._clock() - began, None)
        return Executed(answer.status, answer.headers, answer.body, answer.trailers, answer.origin)


def _call(effect: Execute) -> OriginCall:
    request = effect.request
    return OriginCall(
        method=request.method,
        authority=request.authority,
        target=request.path if request.query is None else f"{request.path}?{request.query}",
        headers=request.headers,
        body=effect.body,
        deadline_ms=effect.deadline_ms,
        max_response_body=effect.max_response_body,
    )


def _failure(error: OriginError) -> Failure:
    match error:
        case NeverSentError():
            return Failure.NEVER_SENT
        case DeadlineError():
            return Failure.DEADLINE
        case _:
            return Failure.LOST
