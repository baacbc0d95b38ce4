"""One exchange: takes an event, carries out the transition the table names, returns the effects in order."""

from sidecar.exchange.admission import Admission
from sidecar.exchange.comparison import Comparison
from sidecar.exchange.core import Effects
from sidecar.exchange.detached import Detached
from sidecar.exchange.ending import Ending
from sidecar.exchange.events import Event
from sidecar.exchange.forwarding import Forwarding
from sidecar.exchange.states import TABLE, State


class ProtocolViolation(Exception):  # noqa: N818 (what the peer did, not what went wrong here)
    """An event that the table does not know in this state."""

    def __init__(self, state: State, event: Event) -> None:
        super().__init__(f"{type(event).__name__} while {state.name}")


class Exchange(Admission, Comparison, Forwarding, Detached, Ending):
    """The state machine of one exchange; each of its parts holds the actions of a phase."""

    def handle(self, event: Event) -> Effects:
        """Take in what happened; return what is to be done, in this order.

        Raises:
            ProtocolViolation: The event cannot happen here. The exchange is left as it was.
        """
        transition = TABLE.get((self.state, type(event)))
        if transition is None:
            raise ProtocolViolation(self.state, event)
        effects: Effects = getattr(self, transition.action)(event)
        if self.state not in transition.targets:
            raise AssertionError(f"{transition.action} led to {self.state.name}")
        return effects
