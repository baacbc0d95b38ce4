"""What one exchange has done with its claim, and what it may not do with it."""

from sidecar.exchange.effects import Complete, CountOutcome, MarkUnknown, Release, SettleEffect
from sidecar.exchange.events import Claimed, ClaimFailed, InFlight, Settled, SettlingFailed, StoreEvent
from sidecar.idempotency.outcome import Outcome
from tests.simulation.violation import Violation

_OUTCOMES: dict[type[SettleEffect], Outcome] = {
    Complete: Outcome.RECORD,
    Release: Outcome.RELEASE,
    MarkUnknown: Outcome.UNKNOWN,
}


class Conduct:
    """The account of one exchange's claim: asked for, granted or not, settled once, counted once."""

    def __init__(self) -> None:
        self.settled: StoreEvent | None = None
        """What it heard of its settlement."""
        self.claim_failed = self.met_owner = False
        self.bypassed = False
        self._granted = self._counted = False
        self._unheard = 0
        self._outcome: Outcome | None = None

    def asks(self) -> None:
        """A question goes to the store."""
        self._unheard += 1

    def hears(self, event: StoreEvent) -> None:
        """The store's answer, or that there is none."""
        self._unheard -= 1
        if isinstance(event, Settled | SettlingFailed):
            self.settled = event
        self._granted = self._granted or isinstance(event, Claimed)
        self.claim_failed = self.claim_failed or isinstance(event, ClaimFailed)
        self.met_owner = self.met_owner or isinstance(event, InFlight)

    def settles(self, effect: SettleEffect) -> None:
        """The claim is settled, which happens once."""
        if self._outcome is not None:
            raise Violation("invariant 1", f"{type(effect).__name__}, though it was settled before")
        self._outcome = _OUTCOMES[type(effect)]

    def counts(self, effect: CountOutcome) -> None:
        """Operators are told how it ended, which is how it ended."""
        if self._counted:
            raise Violation("metrics", "an execution is counted to have ended twice")
        self._counted = True
        happened = self._outcome if self.settled == Settled(held=True) else Outcome.UNKNOWN
        if effect.outcome is not happened:
            raise Violation("metrics", f"what ended as {happened} is counted as {effect.outcome}")

    def check_over(self, owner: str) -> None:
        """Nothing is left to be done about the claim."""
        if self._unheard:
            raise Violation("invariant 4", f"{owner} was closed with questions open")
        if (self._granted or self.claim_failed) and self._outcome is None and not self.bypassed:
            raise Violation("invariant 4", f"{owner} never settled its claim")
