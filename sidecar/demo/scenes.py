"""The scenes of CONTRACT §2: what a client does, what it gets, and how often the service was made to pay."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import aiohttp

from sidecar.demo.client import PAYOUTS, TRANSFERS, Answer, Client, Order
from sidecar.demo.payments import Ledger

DUPLICATES = 20
GIVES_UP_AFTER_S = 0.4
SETTLES_WITHIN_S = 5.0

_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was sent, and what came back, in words."""

    sent: str
    received: str


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene as it was played. `broken` names the promises that were not kept."""

    title: str
    promise: str
    exchanges: tuple[Exchange, ...]
    executed: int
    broken: tuple[str, ...]

    @property
    def as_promised(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken


@dataclass(frozen=True, slots=True)
class Script:
    """A scene to play: what it shows, with which order, and how often that order may be executed."""

    title: str
    promise: str
    order: Order
    executions: int
    act: Callable[["Stage", Order], Awaitable["Act"]]

    async def play(self, client: Client, ledger: Ledger) -> Scene:
        """Play it. An answer that never comes is a broken promise, not an exception."""
        try:
            act = await self.act(Stage(client, ledger), self.order)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            nothing = Exchange(str(self.order), f"no answer: {str(error) or 'timed out'}")
            act = Act([nothing], {"an answer comes": False})
        executed = ledger.executions[self.order.reference]
        promises = {**act.promises, f"executed {times(self.executions)}": executed == self.executions}
        broken = tuple(promise for promise, kept in promises.items() if not kept)
        return Scene(self.title, self.promise, tuple(act.exchanges), executed, broken)


@dataclass(frozen=True, slots=True)
class Stage:
    """Whom a scene is played with: the client, and the service's books."""

    client: Client
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Act:
    """What happened in a scene: in words, and which promises were kept."""

    exchanges: Sequence[Exchange]
    promises: Mapping[str, bool]


def times(count: int) -> str:
    """A count in words."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


async def first_call(stage: Stage, order: Order) -> Act:
    """A new key: executed, like any request."""
    answer = await stage.client.send(order)
    return Act(
        [Exchange(str(order), str(answer))],
        {"status 201": answer.status == 201, "not called a replay": not answer.is_replay},
    )


async def replay(stage: Stage, order: Order) -> Act:
    """The same again: the recorded response, byte for byte."""
    first = await stage.client.send(order)
    again = await stage.client.send(order)
    return Act(
        [Exchange(str(order), str(first)), Exchange("the same again", str(again))],
        {
            "status 201": first.status == 201,
            "the same status": again.status == first.status,
            "the same bytes": again.body == first.body,
            "the same Location": again.headers.get("location") == first.headers.get("location"),
            "called a replay": again.is_replay,
        },
    )


async def concurrent_duplicates(stage: Stage, order: Order) -> Act:
    """Twenty at once: one is executed, the others are told to come back, and then get its response.

    The service works on the one until the others are answered, however long a busy machine takes for that.
    """
    calls = [asyncio.create_task(stage.client.send(order)) for _ in range(DUPLICATES)]
    with stage.ledger.at_work_on(order.reference):
        await _all_but_one(calls)
    answers = await asyncio.gather(*calls)
    winners = [answer for answer in answers if answer.status == 201]
    losers = [answer for answer in answers if answer.status != 201]
    later = await stage.client.send(order)
    return Act(
        [
            Exchange(f"{order}, {DUPLICATES} times at once", _counted(answers)),
            Exchange("the same once more", str(later)),
        ],
        {
            "one 201": len(winners) == 1,
            f"{DUPLICATES - 1} times 409 in-progress": all(_is_in_progress(answer) for answer in losers),
            "each 409 with Retry-After": all(answer.retry_after for answer in losers),
            "then a replay of the same bytes": later.is_replay and later.body == winners[0].body
            if winners
            else False,
        },
    )


async def mismatch(stage: Stage, order: Order) -> Act:
    """The same key for another payment: refused, and the first response stays with the first request."""
    first = await stage.client.send(order)
    other = replace(order, amount=order.amount * 100)
    answer = await stage.client.send(other)
    return Act(
        [Exchange(str(order), str(first)), Exchange(f"same key, amount {other.amount}", str(answer))],
        {
            "status 201": first.status == 201,
            "status 422": answer.status == 422,
            "problem key-reused": answer.problem == "key-reused",
        },
    )


async def missing_key(stage: Stage, order: Order) -> Act:
    """No key where the policy requires one: refused before the service hears of it."""
    answer = await stage.client.send(order)
    return Act(
        [Exchange(str(order), str(answer))],
        {"status 400": answer.status == 400, "problem key-missing": answer.problem == "key-missing"},
    )


async def impatient_client(stage: Stage, order: Order) -> Act:
    """A client gives up on a slow call and retries: nobody knows what became of it, so it is not repeated."""
    gave_up = await _gives_up(stage.client, order)
    answer = await _settled(stage.client, order)
    return Act(
        [
            Exchange(f"{order}, takes {order.takes_s:g} s", _silence(gave_up)),
            Exchange("the same again", str(answer)),
        ],
        {
            "no answer in time": gave_up,
            "status 409": answer.status == 409,
            "problem outcome-unknown": answer.problem == "outcome-unknown",
            "no Retry-After": answer.retry_after is None,
        },
    )


async def patient_sidecar(stage: Stage, order: Order) -> Act:
    """A client gives up on a call that goes on without it; its retries wait for the answer, and get it."""
    gave_up = await _gives_up(stage.client, order)
    answers = await asyncio.gather(*(stage.client.send(order) for _ in range(DUPLICATES)))
    return Act(
        [
            Exchange(f"{order}, takes {order.takes_s:g} s", _silence(gave_up)),
            Exchange(f"the same again, {DUPLICATES} times at once", _counted(answers)),
        ],
        {
            "no answer in time": gave_up,
            f"{DUPLICATES} times 201": all(answer.status == 201 for answer in answers),
            "each a replay": all(answer.is_replay for answer in answers),
            "all the same bytes": len({answer.body for answer in answers}) == 1,
        },
    )


async def _all_but_one(calls: Sequence[asyncio.Task[Answer]]) -> None:
    pending = set(calls)
    while len(pending) > 1:
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)


async def _gives_up(client: Client, order: Order) -> bool:
    try:
        await client.send(order, patience_s=GIVES_UP_AFTER_S)
    except TimeoutError:
        return True
    return False


async def _settled(client: Client, order: Order) -> Answer:
    """Retry while the first attempt counts as in progress: it takes a moment to notice that nobody waits."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + SETTLES_WITHIN_S
    while (  # noqa: ASYNC110 - as a client does: it can only ask again
        _is_in_progress(answer := await client.send(order)) and clock() < deadline
    ):
        await asyncio.sleep(_PAUSE_S)
    return answer


def _is_in_progress(answer: Answer) -> bool:
    return answer.status == 409 and answer.problem == "in-progress"


def _silence(gave_up: bool) -> str:
    return f"nothing: gave up after {GIVES_UP_AFTER_S:g} s" if gave_up else "an answer, too soon"


def _counted(answers: Sequence[Answer]) -> str:
    """Each answer with how often it came, those that came once first."""
    counts = Counter(str(answer) for answer in answers)
    return "\n".join(f"{count} x {text}" for text, count in sorted(counts.items(), key=lambda item: item[1]))


SCRIPTS = (
    Script("First call", "a new key executes", Order("first", 1200, "order-1"), 1, first_call),
    Script("Replay", "a retry gets the recorded response", Order("replay", 1200, "order-2"), 1, replay),
    Script(
        "Concurrent duplicates",
        "one executes, the others are told when to come back",
        Order("race", 4200, "order-3"),
        1,
        concurrent_duplicates,
    ),
    Script("Mismatch", "a key belongs to one payload", Order("mismatch", 99, "order-4"), 1, mismatch),
    Script(
        "Missing key",
        "where a key is required, nothing passes without",
        Order("missing", 700, None, path=PAYOUTS),
        0,
        missing_key,
    ),
    Script(
        "Gives up, retries",
        "what may have happened is not repeated",
        Order("impatient", 9900, "order-5", takes_s=1.5),
        1,
        impatient_client,
    ),
    Script(
        "Gives up, detached",
        "the call goes on, and the retries wait for its answer",
        Order("detached", 5600, "order-6", path=TRANSFERS, takes_s=1.5),
        1,
        patient_sidecar,
    ),
)
