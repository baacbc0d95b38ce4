"""The plan of one schedule: plain data, all of it drawn from one seed before anything happens.

Every call draws its own latencies and store faults from a seed of its own, so that leaving a call or a fault
out of a plan leaves the luck of the others as it was: that is what makes a plan easy to shrink.
"""

from dataclasses import dataclass
from enum import Enum

QUIET_MS = 5_000
"""How long after the last call everything has certainly come to rest."""


class Behaviour(Enum):
    """What the upstream does with a call."""

    ANSWERS = "answers"
    ANSWERS_EARLY = "answers before the request has ended"
    REFUSES = "refuses the connection"
    RESETS = "resets before an answer"
    TIMES_OUT = "is given up on by Envoy's route timeout"
    BREAKS_OFF = "breaks off within its answer"


class Form(Enum):
    """How a response shows where it ends."""

    BARE = "head only"
    SIZED = "content-length"
    SIZED_THEN_EMPTY = "content-length, then an empty last piece"
    OPEN = "an end with the last piece"
    OPEN_THEN_EMPTY = "an empty last piece"
    TRAILERS = "trailers"


class Kind(Enum):
    """What kind of gRPC calls a schedule consists of."""

    UNARY = "one message each way"
    SERVER_STREAM = "one message, and two back"
    STREAM = "two messages each way"
    CONVERSATION = "a message that is answered before the next is sent"


def framed(message: bytes) -> bytes:
    """A message as it stands in the body of a gRPC call."""
    return b"\x00" + len(message).to_bytes(4) + message


def messages_in(body: bytes) -> list[bytes]:
    """The messages of a gRPC body that have come whole."""
    found = []
    while len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5]):
        end = 5 + int.from_bytes(body[1:5])
        found.append(body[5:end])
        body = body[end:]
    return found


@dataclass(frozen=True, slots=True)
class UpstreamScript:
    """What the upstream does with a call, if it comes to that.

    Attributes:
        takes_ms: From the whole request to its execution, and again as long to the head of the response.
        executes: Where it resets, or the call is cancelled: whether it executes nevertheless.
        forges: It says of itself that it is a replay.
        call_status: What it ends a gRPC call with, where it is one and says so.
        answers_twice: With two messages, where it is one.
    """

    behaviour: Behaviour
    status: int
    form: Form
    pieces: int
    large: bool
    takes_ms: int
    pace_ms: int
    executes: bool
    forges: bool = False
    call_status: int | None = None
    answers_twice: bool = False


@dataclass(frozen=True, slots=True)
class CallScript:
    """One request of a client, and everything about it that is chance.

    `announces`: it tells the length of its body, and the upstream has all of it with the last byte of that.
    `held_at_most_ms`: how long Envoy lets its body be held before it answers in the upstream's place.
    `grpc`: it is a gRPC call. `waits`: its client sends no second message before the first is answered.
    """

    number: int
    at: int
    caller: str
    key: str
    payload: str
    pieces: tuple[bytes, ...]
    announces: bool
    trailers: bool
    pace_ms: int
    leaves_after_ms: int | None
    worker: int
    upstream: UpstreamScript
    luck: int
    held_at_most_ms: int | None = None
    probe: bool = False
    grpc: bool = False
    waits: bool = False

    @property
    def body(self) -> bytes:
        """All of its body."""
        return b"".join(self.pieces)

    @property
    def messages(self) -> int:
        """How many messages a gRPC call sends."""
        return len(messages_in(self.body))


class Trouble(Enum):
    """What becomes of a worker."""

    CRASH = "crashes"
    PAUSE = "is stopped"


@dataclass(frozen=True, slots=True)
class FaultScript:
    """A worker crashes and is started again, or is stopped and goes on, `lasts_ms` later."""

    at: int
    worker: int
    trouble: Trouble
    lasts_ms: int


@dataclass(frozen=True, slots=True)
class Weather:
    """The network between the workers and the store: latency each way, and shares of commands that fail."""

    latency_ms: int
    slow_share: float
    slow_ms: int
    lost_before: float
    lost_after: float
    late: float
    corrupt: float


CALM = Weather(2, 0.0, 0, 0.0, 0.0, 0.0, 0.0)
BREEZE = Weather(8, 0.1, 60, 0.0, 0.0, 0.0, 0.0)
STEADY = (CALM, BREEZE)
"""Weathers in which every renewal comes in time."""
WEATHERS = (
    CALM,
    BREEZE,
    Weather(8, 0.2, 500, 0.0, 0.0, 0.0, 0.0),
    Weather(4, 0.0, 0, 0.1, 0.1, 0.0, 0.0),
    Weather(8, 0.1, 200, 0.08, 0.08, 0.08, 0.02),
    Weather(4, 0.1, 400, 0.0, 0.3, 0.1, 0.0),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything about one schedule. `duplex`: its Envoy is old, and exchanges every body in full duplex."""

    seed: int
    row: str
    workers: int
    weather: Weather
    calls: tuple[CallScript, ...]
    faults: tuple[FaultScript, ...]
    duplex: bool = False

    @property
    def quiet_from(self) -> int:
        """From here on everything is at rest, and the store answers everything."""
        return min((call.at for call in self.calls if call.probe), default=0)
