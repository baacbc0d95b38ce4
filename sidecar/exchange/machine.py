"""One exchange: takes an event, carries out the transition the table names, returns the effects in order."""

from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

from sidecar.exchange.admission import Admission
from sidecar.exchange.comparison import Comparison
from sidecar.exchange.core import Effects
from sidecar.exchange.detached import Detached
from sidecar.exchange.duplex import Early
from sidecar.exchange.effects import Effect
from sidecar.exchange.ending import Ending
from sidecar.exchange.events import Event, RequestBody, RequestTrailers, ResponseTrailers, StreamEnded
from sidecar.exchange.forwarding import Forwarding
from sidecar.exchange.states import TABLE, State

_Step: TypeAlias = tuple[Callable[[Any, Any], Effects], frozenset[State]]
"""A transition as it is carried out: the action itself, and the states it may lead to."""


class ProtocolViolation(Exception):  # noqa: N818 (what the peer did, not what went wrong here)
    """An event that the table does not know in this state."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{type(event).__name__} while {state.name}")


class Exchange(Admission, Comparison, Forwarding, Detached, Ending):
    """The state machine of one exchange; each of its parts holds the actions of a phase."""

    STEPS: ClassVar[dict[tuple[State, type[Event]], _Step]]
    """`TABLE` with the actions that its names mean, looked up once and not at every event."""

    def __init_subclass__(cls) -> None:
        """An exchange that does something otherwise (`tests/simulation` plants faults so)."""
        cls.STEPS = _steps(cls)

    def handle(self, event: Event) -> Effects:
        """Take in what happened; return what is to be done, in this order.

        Raises:
            ProtocolViolation: The event cannot happen here. The exchange is left as it was.
        """
        step = self.STEPS.get((self.state, type(event)))
        if step is None:
            raise ProtocolViolation(self.state, event)
        action, targets = step
        effects = action(self, event)
        if self.state not in targets:
            raise AssertionError(f"{action.__name__} led to {self.state.name}")
        return (*effects, *self._take_in_early(event)) if self._early else effects

    # --- What comes too early (full duplex)

    def put_off(self, event: Early) -> Effects:
        """A piece of a body that cannot be judged yet: it is held until it can be.

        Raises:
            ProtocolViolation: This body does not come in full duplex, or has ended.
        """
        if isinstance(event, RequestBody | RequestTrailers):
            expected = self._request_duplex and self._request_has_body
        else:
            expected = self._response_duplex and self._early_head is not None
        if not expected or (self._early and _ends(self._early[-1])):
            raise ProtocolViolation(self.state, event)
        self._early = (*self._early, event)
        self._weigh(event)
        return ()

    def _take_in_early(self, after: Event) -> Effects:
        """Act on what was put off, as far as the exchange has come; nothing can follow the stream's end."""
        early, effects = deque(self._early), list[Effect]()
        if isinstance(after, StreamEnded):
            early.clear()
        elif self._puts_off(early[0]):
            return ()
        self._early = ()
        self._unburden()
        while early and not self._puts_off(early[0]):
            effects += self.handle(early.popleft())
        for event in early:
            self.put_off(event)
        return tuple(effects)

    def _puts_off(self, event: Early) -> bool:
        transition = TABLE.get((self.state, type(event)))
        return transition is not None and transition.action == Exchange.put_off.__name__


def _steps(exchange: type[Exchange]) -> dict[tuple[State, type[Event]], _Step]:
    return {
        when: (getattr(exchange, transition.action), transition.targets) for when, transition in TABLE.items()
    }


Exchange.STEPS = _steps(Exchange)


def _ends(event: Early) -> bool:
    return isinstance(event, RequestTrailers | ResponseTrailers) or event.end_of_stream
