"""The judge: from what happened to what should not have happened. Pure; by CONTRACT §1, §4 and §5."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.history import Answer, Ending, Exchange, Execution, Fields, History, Identity, Key
from tests.chaos.plan import OF_ENVOY, Kind
from tests.chaos.problems import faults_of, is_of_early_answer, kind_of
from tests.chaos.upstream import body_of

RELEASING = frozenset({408, 425, 429, 503})
"""Answers of the upstream after which the next attempt may execute (CONTRACT §5)."""

EXPECTED = frozenset({201, 409, 422, 502, 503, 504})
"""Every status a call of the workload may end with: the upstream's, the sidecar's, and Envoy's own."""

FENCED = 412
"""What the upstream says to an attempt that comes after a later one, where attempts may."""

PROBE_MARGIN_S = 0.3
_PASSING = frozenset({"date", "set-cookie", "idempotent-replayed", "content-length", "transfer-encoding"})
"""What a replay need not have: times, marks, framing, and what is excluded by default."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken, by whose key (None: nobody's), and how."""

    rule: str
    identity: Identity | None
    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """One key before the judge: what was asked, in order, and what was executed, in order."""

    key: Key
    exchanges: tuple[Exchange, ...]
    executions: tuple[Execution, ...]
    """Without what the upstream refused to work on."""
    ledger: Mapping[int, Execution]
    """All executions of the run by their number, whosever they are."""
    unkept: frozenset[str]

    def broken(self, rule: str, text: str) -> Violation:
        """A violation of this key's."""
        return Violation(rule, self.key.identity, text)


def judge(history: History) -> list[Violation]:
    """Every violation in the history: of each key, and of what had none."""
    found = [violation for case in cases(history) for rule in RULES for violation in rule(case)]
    return [*found, *keyless_pass(history)]


def cases(history: History) -> Iterator[Case]:
    """The history by key."""
    ledger = {execution.number: execution for execution in history.executions}
    exchanges: dict[Identity, list[Exchange]] = defaultdict(list)
    for exchange in sorted(history.exchanges, key=lambda exchange: exchange.sent):
        exchanges[exchange.call.key.identity].append(exchange)
    executions: dict[Identity, list[Execution]] = defaultdict(list)
    for execution in history.executions:
        if not execution.fenced:
            executions[execution.identity].append(execution)
    unkept = frozenset(history.unkept)
    for key in history.keys:
        asked, executed = exchanges[key.identity], executions[key.identity]
        yield Case(key, tuple(asked), tuple(executed), ledger, unkept)


# --- Executions


def executed_once(case: Case) -> Iterator[Violation]:
    """G1: one execution, unless the one before released the key or the policy takes over."""
    for execution in case.executions:
        if execution.attempt is None:
            said = ", ".join(execution.attempts) or "none"
            yield case.broken("unclaimed", f"execution {execution.number} came with attempt: {said}")
    for earlier, later in pairwise(case.executions):
        pair = f"executions {earlier.number} and {later.number}"
        if (later.attempt or 0) <= (earlier.attempt or 0):
            yield case.broken("attempts", f"{pair} carry attempts {earlier.attempt} and {later.attempt}")
        if _released(earlier, later):
            continue
        if not case.key.policy.takes_over:
            yield case.broken("executed twice", f"{pair}; the first was answered with {earlier.status}")
        elif earlier.payload != later.payload:
            yield case.broken("taken over", f"{pair} have different payloads")


def _released(earlier: Execution, later: Execution) -> bool:
    decided = earlier.decided is not None and earlier.decided <= later.arrived
    return earlier.status in RELEASING and decided


# --- Answers


def answers_belong(case: Case) -> Iterator[Violation]:
    """G3, G4: what the upstream said reaches only those who asked just that, marked where it is a replay."""
    for exchange in case.exchanges:
        number = _execution_number(exchange.answer)
        if number is None:
            continue
        execution = case.ledger.get(number)
        own = execution is not None and execution.identity == case.key.identity
        for text in _misplaced(exchange, execution):
            rule = "response" if own else "another's response"
            yield case.broken(rule, f"{exchange.call.request_id} got execution {number}: {text}")


def _misplaced(exchange: Exchange, execution: Execution | None) -> Iterator[str]:
    call, answer = exchange.call, exchange.answer
    if execution is None or execution.identity != call.key.identity:
        yield "of nobody" if execution is None else f"of {execution.identity}"
        return
    if execution.payload != call.payload:
        yield "of another payload"
    own = execution.request_id == call.request_id
    if own and answer.replayed:
        yield "its own, marked as a replay"
    if not own and not answer.replayed:
        yield "another request's, not marked as a replay"
    if execution.status != answer.status:
        yield f"status {answer.status} instead of {execution.status}"
    if answer.ending is Ending.COMPLETE and answer.body != body_of(execution, call.key):
        yield "not the bytes that the upstream sent"


def answers_last(case: Case) -> Iterator[Violation]:
    """G2: once a client saw a whole recorded response, that is the answer, until the end."""
    seen = [exchange for exchange in case.exchanges if _is_success(exchange) and _was_kept(case, exchange)]
    if not seen:
        return
    first = min(seen, key=lambda exchange: exchange.ended)
    for exchange in case.exchanges:
        if exchange is not first and (exchange.sent >= first.ended or exchange in seen):
            for text in _differs(exchange, first):
                request = exchange.call.request_id
                yield case.broken("response lost", f"{request} after {first.call.request_id}: {text}")
    for execution in case.executions:
        if execution.arrived > first.ended:
            yield case.broken("executed after success", f"execution {execution.number}")


def _differs(exchange: Exchange, first: Exchange) -> Iterator[str]:
    """How an answer differs from the one that stands; refusals for a fault's sake do not."""
    answer = exchange.answer
    if _execution_number(answer) is None:
        kind = kind_of(answer)
        mismatched = exchange.call.payload != first.call.payload
        if kind not in (None, "store-unavailable", "key-reused" if mismatched else None):
            yield f"{answer.status} {kind}"
        return
    if answer.status != first.answer.status:
        yield f"status {answer.status} instead of {first.answer.status}"
    elif _lasting(answer.headers) != _lasting(first.answer.headers):
        yield f"headers {_lasting(answer.headers)} instead of {_lasting(first.answer.headers)}"
    elif answer.ending is Ending.COMPLETE and answer.body != first.answer.body:
        yield "another body"


def problems_are_well_formed(case: Case) -> Iterator[Violation]:
    """CONTRACT §4, and that nothing is answered which nobody promised."""
    for exchange in case.exchanges:
        call, answer = exchange.call, exchange.answer
        if answer.ending is not Ending.COMPLETE:
            continue
        kind = kind_of(answer)
        fenced = answer.status == FENCED and case.key.policy.takes_over
        if answer.status not in EXPECTED and not fenced:
            yield case.broken("unexpected answer", f"{call.request_id} got {answer.status}")
        if answer.status in (409, 422) and kind is None:
            yield case.broken("problem", f"{call.request_id} got a bare {answer.status}")
        if kind is not None:
            for text in faults_of(answer, call.request_id):
                yield case.broken("problem", f"{call.request_id}: {text}")
        if kind == "key-reused" and not _was_contested(case, exchange):
            yield case.broken("problem", f"{call.request_id} got 422 though nobody sent another payload")


def _was_contested(case: Case, exchange: Exchange) -> bool:
    others = (other for other in case.exchanges if other.sent <= exchange.ended)
    return any(other.call.payload != exchange.call.payload for other in others)


# --- The end


def ends_decided(case: Case) -> Iterator[Violation]:
    """After everything is healed every key has an answer, and keeps it.

    It is "unknown" where the policy holds, and under any policy where an attempt was answered before its
    request had ended: nobody can compare with it, so nobody takes over.
    """
    finals = [exchange for exchange in case.exchanges if exchange.call.final]
    if not finals:
        yield case.broken("undecided", "it was never asked for in the end")
    verdicts = [_verdict(exchange) for exchange in finals]
    allowed = {"success", "key-reused"} | (set() if case.key.policy.takes_over else {"outcome-unknown"})
    for exchange, verdict in zip(finals, verdicts, strict=True):
        if verdict not in allowed and not is_of_early_answer(exchange.answer):
            yield case.broken("undecided", f"{exchange.call.request_id} in the end got {verdict}")
    if len(set(verdicts)) > 1:
        yield case.broken("undecided", f"in the end it got {', then '.join(verdicts)}")


def _verdict(exchange: Exchange) -> str:
    if _is_success(exchange):
        return "success"
    answer = exchange.answer
    return kind_of(answer) or f"{answer.ending}, status {answer.status}"


def keyless_pass(history: History) -> Iterator[Violation]:
    """What carries no key passes, unless Envoy or the upstream was away just then."""
    for probe in history.probes:
        if probe.answer.ending is Ending.COMPLETE and probe.answer.status == 200:
            continue
        began, ended = probe.sent - PROBE_MARGIN_S, probe.ended + PROBE_MARGIN_S
        down = history.faults_within(began, ended, [Kind.UPSTREAM_DOWN, Kind.UPSTREAM_REFUSES])
        gone = [
            o for o in history.faults_within(began, ended, OF_ENVOY) if o.target == f"stack {probe.stack}"
        ]
        if not down and not gone:
            got = f"{probe.answer.ending}, status {probe.answer.status}"
            yield Violation("keyless refused", None, f"stack {probe.stack} at {probe.sent:.3f}: {got}")


# --- Shared by the above


def _execution_number(answer: Answer) -> int | None:
    number = answer.header("x-execution")
    return int(number) if number is not None and number.isdigit() else None


def _is_success(exchange: Exchange) -> bool:
    answer = exchange.answer
    whole = answer.ending is Ending.COMPLETE and answer.status == 201
    return whole and _execution_number(answer) is not None


def _was_kept(case: Case, exchange: Exchange) -> bool:
    """A replay always was; a first answer, unless its sidecar said that it could not."""
    return exchange.answer.replayed or exchange.call.request_id not in case.unkept


def _lasting(headers: Fields) -> Fields:
    """What a replay must have, in its order."""
    return tuple(
        field for field in headers if field[0] not in _PASSING and not field[0].startswith("x-envoy-")
    )


RULES: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    executed_once,
    answers_belong,
    answers_last,
    problems_are_well_formed,
    ends_decided,
)
