"""What is played on both transports, and how it is drawn: calls on one connection whose steps take turns."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import grpc
from hypothesis import strategies as st

PARTS = 4
"""What a handler that pours sends; of the largest parts, more than it has room for at once."""
OF_A_BUG = "the status of a bug"

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]


class Reaction(Enum):
    """What the handler does with a message."""

    ANSWER = "answer"
    ANSWER_TWICE = "answer twice"
    ANSWER_LATER = "answer later"
    ANSWER_WITH_ROOM = "answer when there is room"
    POUR = "answer in parts, each when there is room"
    READ_METADATA = "answer what the call brought along"
    PAUSE = "answer, and read no more"
    FAIL = "fail"
    RAISE = "raise"
    KEEP_SILENT = "keep silent"


@dataclass(frozen=True)
class Turn:
    """One message, and what becomes of it. The handler is told by the message's first byte."""

    reaction: Reaction
    size: int = 0
    name: str = ""
    """The metadata that is asked for."""

    @property
    def message(self) -> bytes:
        return bytes([list(Reaction).index(self.reaction)]) + self.name.encode() + b"x" * self.size

    def answers(self, metadata: Metadata) -> list[bytes]:
        """What comes back."""
        match self.reaction:
            case Reaction.ANSWER_TWICE:
                return [self.message, b"again"]
            case Reaction.POUR:
                return [self.message] * PARTS
            case Reaction.READ_METADATA:
                return [str(dict(metadata).get(self.name)).encode()]
            case Reaction.FAIL:
                return [b"last words"]
            case Reaction.RAISE | Reaction.KEEP_SILENT:
                return []
            case _:
                return [self.message]


@dataclass(frozen=True)
class Say:
    """The client sends a message."""

    turn: Turn


@dataclass(frozen=True)
class Hear:
    """The client reads the answers to one."""

    turn: Turn


class Act(Enum):
    """What is done to a call besides."""

    RESUME = "the handler reads on"
    HALF_CLOSE = "the client says no more"
    CANCEL = "the client cancels"
    OUTLAST = "the client waits until the deadline has passed"


Step: TypeAlias = Say | Hear | Act


@dataclass(frozen=True)
class Script:
    """One call."""

    steps: tuple[Step, ...]
    metadata: Metadata = ()
    deadline_s: float | None = None

    @property
    def answers(self) -> list[bytes]:
        """All that is heard."""
        heard = [step.turn.answers(self.metadata) for step in self.steps if isinstance(step, Hear)]
        return [answer for answers in heard for answer in answers]

    @property
    def status(self) -> grpc.StatusCode | str:
        """What the call ends with."""
        match self.steps[-1]:
            case Act.OUTLAST:
                return grpc.StatusCode.DEADLINE_EXCEEDED
            case Act.CANCEL:
                return grpc.StatusCode.CANCELLED
            case Hear(Turn(Reaction.FAIL)):
                return grpc.StatusCode.INTERNAL
            case Hear(Turn(Reaction.RAISE)):
                return OF_A_BUG
            case _:
                return grpc.StatusCode.OK


@dataclass(frozen=True)
class Scene:
    """Calls on one connection, and whose step is next."""

    scripts: tuple[Script, ...]
    order: tuple[int, ...]


# --- What is drawn

SIZES = st.sampled_from([0, 1, 5, 300, 16_379, 16_384, 65_530, 65_535, 200_000])
SMALL_SIZES = st.sampled_from([0, 1, 300, 5_000])
NAMES = st.sampled_from(["idempotency-policy", "x-a", "x_b.c-1"])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)
"""Printable ASCII, as gRPC has it; not with spaces around it, for which RFC 9113 (§8.2.1) refuses a call."""
METADATA: st.SearchStrategy[Metadata] = st.lists(st.tuples(NAMES, VALUES), max_size=4).map(tuple)

ANSWERED = st.builds(
    Turn,
    st.sampled_from(
        [
            Reaction.ANSWER,
            Reaction.ANSWER_TWICE,
            Reaction.ANSWER_LATER,
            Reaction.ANSWER_WITH_ROOM,
            Reaction.POUR,
        ]
    ),
    SIZES,
)
ASKING = st.builds(Turn, st.just(Reaction.READ_METADATA), name=NAMES | st.just("x-missing"))
HELD = st.builds(Turn, st.sampled_from([Reaction.ANSWER, Reaction.ANSWER_TWICE]), SMALL_SIZES)
"""Sent in a pause: several fit into half a window, which is all that a peer may count on then, and none is
answered behind the answers to the next."""
PAUSING = st.builds(Turn, st.just(Reaction.PAUSE), SMALL_SIZES)
AT_ONCE = st.lists(
    st.builds(Turn, st.sampled_from([Reaction.ANSWER, Reaction.ANSWER_TWICE]), SIZES), max_size=8
)


def exchanged(turn: Turn) -> tuple[Step, ...]:
    return Say(turn), Hear(turn)


def paused(pause: Turn, held: list[Turn], *before: Act) -> tuple[Step, ...]:
    """A pause in which messages come, and perhaps an end to them, and what comes of that behind it."""
    return (*exchanged(pause), *map(Say, held), *before, Act.RESUME, *map(Hear, held))


def interrupted(pause: Turn, held: list[Turn], end: Act) -> tuple[Step, ...]:
    return (*exchanged(pause), *map(Say, held), end)


SEVERAL_HELD = st.lists(HELD, max_size=3)
SEGMENTS = st.one_of(ANSWERED.map(exchanged), ASKING.map(exchanged), st.builds(paused, PAUSING, SEVERAL_HELD))
WELL_ENDED: st.SearchStrategy[tuple[Step, ...]] = st.one_of(
    st.just((Act.HALF_CLOSE,)),
    st.builds(paused, PAUSING, SEVERAL_HELD, st.just(Act.HALF_CLOSE)),
)
UNANSWERED = st.builds(Turn, st.sampled_from([Reaction.POUR, Reaction.ANSWER, Reaction.KEEP_SILENT]), SIZES)


def cut_short(end: Act) -> st.SearchStrategy[tuple[Step, ...]]:
    """The ends of a call by its client, while it waits, does not read, or the handler does not."""
    return st.one_of(
        UNANSWERED.map(lambda turn: (Say(turn), end)),
        st.builds(interrupted, PAUSING, SEVERAL_HELD, st.just(end)),
    )


FAILED = st.builds(Turn, st.sampled_from([Reaction.FAIL, Reaction.RAISE]), SIZES).map(exchanged)


def script(
    segments: list[tuple[Step, ...]],
    end: tuple[Step, ...],
    metadata: Metadata = (),
    deadline_s: float | None = None,
) -> Script:
    return Script((*(step for segment in segments for step in segment), *end), metadata, deadline_s)


SCRIPTS = st.builds(
    script,
    st.lists(SEGMENTS, max_size=3),
    st.one_of(WELL_ENDED, cut_short(Act.CANCEL), FAILED),
    METADATA,
)
SHORT_LIVED = st.builds(
    script,
    st.lists(HELD.map(exchanged), max_size=1),
    cut_short(Act.OUTLAST),
    deadline_s=st.sampled_from([0.6, 0.8]),
)
"""Their deadlines leave three times what a busy machine was seen to take for what comes before."""


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Several calls, whose steps take turns in any order."""
    scripts = tuple(draw(st.lists(SCRIPTS, min_size=2, max_size=4)))
    steps = [number for number, script in enumerate(scripts) for _ in script.steps]
    return Scene(scripts, tuple(draw(st.permutations(steps))))


@st.composite
def scenes_with_deadlines(draw: st.DrawFn) -> Scene:
    """Calls that the handler lets down at once, and others that go on beyond the deadlines."""
    short = draw(st.lists(SHORT_LIVED, min_size=1, max_size=2))
    scripts = (*short, *draw(st.lists(SCRIPTS, min_size=1, max_size=2)))
    before = [number for number, script in enumerate(short) for _ in script.steps[:-1]]
    after = [
        number
        for number, script in enumerate(scripts)
        for _ in (script.steps[-1:] if script.deadline_s else script.steps)
    ]
    return Scene(scripts, (*before, *draw(st.permutations(after))))
