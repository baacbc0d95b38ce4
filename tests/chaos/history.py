"""What happened in a run: who asked what, what came back, what was executed, what was broken meanwhile.

Times are seconds on the one clock of the run's event loop, so that everything can be put in order.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from tests.chaos.policies import PolicyUnderTest

Fields: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose key it is: what must never meet another."""

    policy: str
    caller: str
    name: str

    def __str__(self) -> str:
        return f"{self.policy}/{self.caller}/{self.name}"


class Departure(StrEnum):
    """When a client hangs up."""

    NEVER = "stays to the end"
    CONNECTED = "leaves before it sends"
    IN_BODY = "leaves within its body"
    BEFORE_END = "leaves after the last byte, before the end is marked"
    SENT = "leaves after it sent"
    IN_RESPONSE = "leaves after the response's head"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the workload and how the upstream treats it."""

    identity: Identity
    policy: PolicyUnderTest
    path: str
    payload: bytes
    other_payload: bytes
    """What a careless client sends with the same key."""
    work_s: float
    response_size: int
    sized: bool
    """Whether the response announces its length."""
    first_moods: tuple[str, ...] = ()
    """What the upstream does with the first executions, one each; after those it is as it should be."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request of one client, as planned."""

    at_s: float
    key: Key
    request_id: str
    stack: int
    http2: bool
    sized: bool
    """Whether the request announces its length."""
    careless: bool = False
    """Sends the key's other payload."""
    departure: Departure = Departure.NEVER
    patience_s: float = 0.0
    """How long it stays after it sent, before it leaves."""
    final: bool = False
    """Sent after everything was healed."""

    @property
    def payload(self) -> bytes:
        return self.key.other_payload if self.careless else self.key.payload


class Ending(StrEnum):
    """How a call ended for its client."""

    COMPLETE = "complete"
    CUT = "cut short"
    NOTHING = "no response"
    LEFT = "left"
    REFUSED = "no connection"
    TIMEOUT = "no end in time"


@dataclass(slots=True)
class Answer:
    """What a client got. `body` is whole only where the ending is COMPLETE."""

    ending: Ending
    status: int | None = None
    headers: Fields = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a header, None where it is absent."""
        return next((value for field_name, value in self.headers if field_name == name), None)

    @property
    def replayed(self) -> bool:
        return self.header("idempotent-replayed") == "true"


@dataclass(slots=True)
class Exchange:
    """A call and what came of it."""

    call: Call
    sent: float
    ended: float
    answer: Answer


@dataclass(slots=True)
class Execution:
    """One whole request of a key that the upstream received: it did the work, whatever it answered then."""

    number: int
    identity: Identity
    attempts: tuple[str, ...]
    """The values of `idempotency-attempt`, which should be exactly one number."""
    request_id: str
    payload: bytes
    arrived: float
    mood: str
    status: int | None = None
    """What it answered; None where it answered nothing."""
    decided: float | None = None
    """When it began to answer."""
    fenced: bool = False
    """Refused without work, as an upstream may that checks the attempt: a higher one had been here."""

    @property
    def attempt(self) -> int | None:
        """The attempt's number; None where what came is not one number."""
        return int(self.attempts[0]) if len(self.attempts) == 1 and self.attempts[0].isdigit() else None


@dataclass(slots=True)
class Occurrence:
    """A fault as it was injected: from when to when (until it was healed), and on what."""

    kind: str
    target: str
    began: float
    ended: float


@dataclass(slots=True)
class Probe:
    """A request without a key."""

    stack: int
    sent: float
    ended: float
    answer: Answer


@dataclass(slots=True)
class History:
    """Everything that is known of a run."""

    keys: tuple[Key, ...] = ()
    exchanges: list[Exchange] = field(default_factory=list)
    executions: list[Execution] = field(default_factory=list)
    occurrences: list[Occurrence] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    unkept: set[str] = field(default_factory=set)
    """Ids of requests whose response a sidecar said it could not record (CONTRACT §5)."""

    def faults_within(self, began: float, ended: float, kinds: Iterable[str]) -> list[Occurrence]:
        """The faults of these kinds that touch the time."""
        wanted = frozenset(kinds)
        return [o for o in self.occurrences if o.kind in wanted and o.began <= ended and began <= o.ended]
