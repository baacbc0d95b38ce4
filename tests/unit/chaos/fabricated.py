"""Histories that never happened, to see what the judge says of them."""

import itertools
import json
from dataclasses import dataclass, field, replace

from tests.chaos.history import (
    Answer,
    Call,
    Departure,
    Ending,
    Exchange,
    Execution,
    Fields,
    History,
    Identity,
    Key,
    Occurrence,
    Probe,
)
from tests.chaos.judge import Violation, judge
from tests.chaos.policies import PolicyUnderTest
from tests.chaos.problems import MEDIA_TYPE, STATUSES
from tests.chaos.upstream import body_of

HOLD = PolicyUnderTest("hold")
RETRY = PolicyUnderTest("retry", {"unknown": "retry"}, takes_over=True)


def a_key(caller: str = "alice", policy: PolicyUnderTest = HOLD, name: str = "key-1") -> Key:
    return Key(
        identity=Identity(policy.name, caller, name),
        policy=policy,
        path=f"{policy.prefix}/orders",
        payload=b"one payload",
        other_payload=b"another payload",
        work_s=0.0,
        response_size=10,
        sized=True,
    )


@dataclass
class Story:
    """A history in the making: each step takes place after the last, a second apart."""

    key: Key = field(default_factory=a_key)
    history: History = field(default_factory=History)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.history.keys = (self.key,)
        self._numbers = itertools.count(1)

    def executes(
        self,
        request: str,
        *,
        attempt: str | None = "1",
        status: int | None = 201,
        careless: bool = False,
        takes_s: float = 0.5,
        fenced: bool = False,
    ) -> Execution:
        """The upstream gets a whole request and works on it for a while."""
        self.now += 1
        execution = Execution(
            number=len(self.history.executions) + 1,
            identity=self.key.identity,
            attempts=() if attempt is None else (attempt,),
            request_id=request,
            payload=self.key.other_payload if careless else self.key.payload,
            arrived=self.now,
            mood="good",
            status=status,
            decided=self.now + takes_s,
            fenced=fenced,
        )
        self.history.executions.append(execution)
        return execution

    def asks(
        self,
        answer: Answer,
        *,
        request: str | None = None,
        careless: bool = False,
        final: bool = False,
        key: Key | None = None,
    ) -> Exchange:
        """A client sends a request and gets this answer."""
        self.now += 1
        call = Call(
            at_s=self.now,
            key=key or self.key,
            request_id=request or f"retry-{next(self._numbers)}",
            stack=0,
            http2=False,
            sized=True,
            careless=careless,
            departure=Departure.NEVER,
            final=final,
        )
        exchange = Exchange(call, self.now, self.now + 0.5, answer)
        self.history.exchanges.append(exchange)
        return exchange

    def refused(
        self, kind: str, *, careless: bool = False, final: bool = False, answer: Answer | None = None
    ) -> Exchange:
        """A client is refused with a proper problem document."""
        request = f"retry-{next(self._numbers)}"
        given = answer or a_problem(kind, request)
        return self.asks(given, request=request, careless=careless, final=final)

    def ends_with(self, answer: Answer) -> None:
        """Both final rounds get this answer."""
        for _ in range(2):
            self.asks(answer, final=True)

    def is_broken_by(self) -> set[str]:
        """The rules that the judge finds broken."""
        return {violation.rule for violation in self.verdict()}

    def verdict(self) -> list[Violation]:
        return judge(self.history)

    def breaks(self, kind: str, target: str, began: float, ended: float) -> None:
        self.history.occurrences.append(Occurrence(kind, target, began, ended))

    def probes(self, answer: Answer, *, stack: int = 0) -> None:
        self.now += 1
        self.history.probes.append(Probe(stack, self.now, self.now + 0.1, answer))


def said(execution: Execution, key: Key, *, replayed: bool = False) -> Answer:
    """The whole answer of an execution, as its own client or, replayed, another one gets it."""
    mark: Fields = (("idempotent-replayed", "true"),) if replayed else (("set-cookie", "a=b"),)
    headers: Fields = (
        ("content-type", "application/json"),
        ("x-execution", str(execution.number)),
        ("x-part", "one"),
        ("x-part", "two"),
    )
    return Answer(Ending.COMPLETE, execution.status, (*headers, *mark), body_of(execution, key))


def a_problem(kind: str, request: str, **changes: object) -> Answer:
    """A problem document as CONTRACT §4 has it, but for the changes."""
    document = {
        "type": f"urn:idempotency:{kind}",
        "title": "A title",
        "status": STATUSES[kind][0],
        "detail": "Some detail.",
        "instance": request,
    }
    headers: Fields = (("content-type", MEDIA_TYPE),)
    if kind in {"in-progress", "store-unavailable", "origin-unavailable"}:
        headers = (*headers, ("retry-after", "1"))
    body = json.dumps({**document, **changes}).encode()
    return Answer(Ending.COMPLETE, STATUSES[kind][0], headers, body)


def with_header(answer: Answer, name: str, value: str) -> Answer:
    """The same answer with another value of a header."""
    kept = tuple(header for header in answer.headers if header[0] != name)
    return replace(answer, headers=(*kept, (name, value)))
