"""What is measured where: a scenario at a subject, with bodies of a size and so many requests at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from bench.load.outcome import Outcome
from bench.subject import Role


class Scenario(StrEnum):
    """What is asked."""

    KEYLESS = "keyless"
    """POSTs without a key: nothing is to be done for them."""
    NEW = "new"
    """A key of its own for every request: claim, execute, record."""
    REPLAY = "replay"
    """One recorded key again and again, with its body, which is compared."""
    REPLAY_BODYLESS = "replay-bodyless"
    """The same for a request that has no body."""
    CONFLICT = "conflict"
    """One key whose first request is still running: 409."""
    WAITING = "waiting"
    """Duplicates that wait for the first to end, and get its response."""
    DETACHED = "detached"
    """New keys, executed by the sidecar whether or not the client stays."""


@dataclass(frozen=True, slots=True)
class Point:
    """One place in the matrix. `size`: bytes of request body and of response body."""

    subject: str
    scenario: Scenario
    size: int = 100
    concurrency: int = 32
    http: int = 1
    """Version of HTTP between client and subject."""

    @property
    def name(self) -> str:
        """As it stands in the results."""
        http = "" if self.http == 1 else f" h{self.http}"
        return f"{self.subject} {self.scenario} {self.size} B c{self.concurrency}{http}"


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round at one point came to; CPU in microseconds per request, by role."""

    outcome: Outcome
    cpu_us: Mapping[Role, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.outcome.requests / self.outcome.seconds
