"""One run: start everything, ask and break for a while, heal, ask for every key once more, judge."""

import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.chaos.client import ask
from tests.chaos.evidence import Evidence, gather
from tests.chaos.history import Call, Departure, Ending, Exchange, Fields, History, Probe
from tests.chaos.injection import Injector
from tests.chaos.judge import Violation, judge
from tests.chaos.plan import STACKS, plan
from tests.chaos.policies import LEASE_S, POLICIES, PolicyUnderTest
from tests.chaos.problems import kind_of
from tests.chaos.rig import Logs, Rig, running, watch
from tests.chaos.upstream import KEYLESS_PATH
from tests.chaos.workload import KEYS_PER_S, final_calls, workload

HOST = "chaos.test"
"""The same through every stack, as the host is part of a key's scope."""

_AT_ONCE = 96
_FINAL_AT_ONCE = 12
_FINAL_TRIES = 4
_BETWEEN_TRIES_S = 1.0
_PATIENCE_S = 15.0
"""How long a final round tries a key again: what is still refused after that is broken."""
_PROBE_EVERY_S = 0.15
_QUIET_S = 1.5 * LEASE_S
_IDLE_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Script:
    """What a run is made of. The plan and the workload follow from it; what happens then is the machine's."""

    seed: int
    duration_s: float
    policies: tuple[PolicyUnderTest, ...] = POLICIES
    keys_per_s: float = KEYS_PER_S


@dataclass(slots=True)
class Outcome:
    """What a run came to."""

    script: Script
    history: History
    violations: list[Violation]
    evidence: list[Evidence] = field(default_factory=list)
    incomplete: int = 0
    seconds: float = 0.0


async def perform(script: Script, on_phase: Callable[[str], None]) -> Outcome:
    """Run it. Belongs into the main thread: the kernel ends the processes with the thread that started them.

    Raises:
        RuntimeError: A part could not be started, or did not come back.
        SupervisionError: The same, of a stack.
    """
    clock = asyncio.get_running_loop().time
    began = clock()
    asked = workload(script.seed, script.duration_s, script.policies, script.keys_per_s)
    history, logs = History(keys=asked.keys), Logs(clock)
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        async with running(Path(directory), asked.keys, script.policies, logs) as rig:
            history.executions = rig.upstream.ledger
            history.unkept = logs.unkept
            performance = _Performance(rig, history)
            await performance.play(script, asked.calls, on_phase)
            violations = [*judge(history), *_of_the_rig(rig)]
            evidence = await gather(violations, history, rig, HOST)
    return Outcome(script, history, violations, evidence, rig.upstream.incomplete, clock() - began)


class _Performance:
    def __init__(self, rig: Rig, history: History) -> None:
        self._rig = rig
        self._history = history
        self._clock = asyncio.get_running_loop().time

    async def play(self, script: Script, calls: Sequence[Call], on_phase: Callable[[str], None]) -> None:
        watching = asyncio.create_task(watch(self._rig))
        playing = asyncio.create_task(self._play(script, calls, on_phase))
        try:
            await asyncio.wait({watching, playing}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            await playing
        finally:
            for task in (watching, playing):
                task.cancel()
            await asyncio.gather(watching, playing, return_exceptions=True)

    async def _play(self, script: Script, calls: Sequence[Call], on_phase: Callable[[str], None]) -> None:
        faults = plan(script.seed, script.duration_s)
        on_phase(f"{len(calls)} calls with {len(self._history.keys)} keys, {len(faults)} faults planned")
        over = asyncio.Event()
        async with asyncio.TaskGroup() as probing:
            for stack in range(STACKS):
                probing.create_task(self._probe(stack, over))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(Injector(self._rig, self._history.occurrences).run(faults))
                    group.create_task(self._ask_all(calls))
            finally:
                over.set()
        on_phase("healing")
        await self._quiet()
        on_phase("every key once more, twice")
        for round_number in (1, 2):
            await self._ask_finally(final_calls(self._history.keys, round_number))

    async def _ask_all(self, calls: Iterable[Call]) -> None:
        """Each at its moment; later where too many are under way."""
        began, slots = self._clock(), asyncio.Semaphore(_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for call in calls:
                await asyncio.sleep(max(0.0, began + call.at_s - self._clock()))
                await slots.acquire()
                task = group.create_task(self._ask(call))
                task.add_done_callback(lambda _: slots.release())

    async def _ask(self, call: Call) -> Exchange:
        sent = self._clock()
        answer = await ask(
            self._rig.port(call.stack),
            call.key.path,
            _headers(call),
            call.payload,
            http2=call.http2,
            departure=call.departure,
            patience_s=call.patience_s,
        )
        exchange = Exchange(call, sent, self._clock(), answer)
        self._history.exchanges.append(exchange)
        return exchange

    async def _quiet(self) -> None:
        """Everything answers, nothing is being worked on, and every lease that nobody renews has run out."""
        await self._rig.healed()
        async with asyncio.timeout(_IDLE_LIMIT_S):
            await self._rig.upstream.idle()
        await asyncio.sleep(_QUIET_S)

    async def _ask_finally(self, calls: Sequence[Call]) -> None:
        slots = asyncio.Semaphore(_FINAL_AT_ONCE)

        async def patiently(call: Call) -> None:
            async with slots:
                impatient = self._clock() + _PATIENCE_S
                for number in range(1, _FINAL_TRIES + 1):
                    again = replace(call, request_id=f"{call.request_id}-{number}")
                    exchange = await self._ask(again)
                    last = number == _FINAL_TRIES or self._clock() > impatient
                    if last or not _worth_another_try(exchange):
                        return
                    exchange.call = replace(again, final=False)
                    await asyncio.sleep(_BETWEEN_TRIES_S)

        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(patiently(call))

    async def _probe(self, stack: int, over: asyncio.Event) -> None:
        """Requests without a key, one after the other, until it is over."""
        headers: Fields = (("host", HOST), ("content-length", "1"))
        while not over.is_set():
            sent = self._clock()
            answer = await ask(self._rig.port(stack), KEYLESS_PATH, headers, b"x")
            self._history.probes.append(Probe(stack, sent, self._clock(), answer))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PROBE_EVERY_S):
                    await over.wait()


def _headers(call: Call) -> Fields:
    # A client over HTTP/1.1 that stays until the end may as well leave out the length; one that leaves before
    # the end is marked can only do so where the length does not mark it.
    sized = call.sized and (call.http2 or call.departure is not Departure.BEFORE_END)
    framing = ("content-length", str(len(call.payload))) if sized else ("transfer-encoding", "chunked")
    return (
        ("host", HOST),
        ("authorization", call.key.identity.caller),
        ("idempotency-key", f'"{call.key.identity.name}"'),
        ("content-type", "application/json"),
        ("x-request-id", call.request_id),
        framing,
    )


def _worth_another_try(exchange: Exchange) -> bool:
    """Whether the answer says to come again: not there yet, or still running."""
    answer = exchange.answer
    unsettled = answer.ending is not Ending.COMPLETE or answer.status in (502, 503, 504)
    return unsettled or kind_of(answer) == "in-progress"


def _of_the_rig(rig: Rig) -> list[Violation]:
    """What no key's history shows: requests of nobody, and streams that a sidecar gave up."""
    strangers = [Violation("stranger at the upstream", None, text) for text in rig.upstream.strangers]
    return strangers + [Violation("sidecar failed a stream", None, line) for line in rig.logs.failures]
