"""Everything that is known of a broken promise, for whoever has to find out why."""

from collections.abc import Sequence
from dataclasses import dataclass

from sidecar.idempotency.policy import Policy
from sidecar.idempotency.request import Request
from sidecar.idempotency.scope import record_id
from tests.chaos.history import Exchange, Execution, History, Identity, Key
from tests.chaos.judge import Violation
from tests.chaos.problems import kind_of
from tests.chaos.rig import Rig

MOST_KEYS = 5
"""A run that breaks more than that is broken as a whole; the rest would say the same."""

_AROUND_S = 2.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one key: its id in the store, and lines of text in the order of time."""

    identity: Identity
    record_id: str
    lines: tuple[str, ...]


async def gather(violations: Sequence[Violation], history: History, rig: Rig, host: str) -> list[Evidence]:
    """The evidence for the first keys whose promises were broken."""
    identities = dict.fromkeys(violation.identity for violation in violations if violation.identity)
    keys = {key.identity: key for key in history.keys}
    return [await _of_key(keys[identity], history, rig, host) for identity in list(identities)[:MOST_KEYS]]


async def _of_key(key: Key, history: History, rig: Rig, host: str) -> Evidence:
    stored = store_id(key, host)
    entry = await rig.entry(stored)
    lines = timeline(key, history)
    logged = rig.logs.about(stored)
    return Evidence(key.identity, stored, (*lines, f"store entry: {entry or 'none'}", *logged))


def store_id(key: Key, host: str) -> str:
    """The id under which the store knows the key, with the default scope."""
    headers = (("authorization", key.identity.caller.encode()),)
    request = Request("POST", host, key.path, None, headers)
    return record_id(Policy("default").scope, request, key.identity.name)


def timeline(key: Key, history: History) -> tuple[str, ...]:
    """Calls, executions and the faults around them, in order."""
    exchanges = [e for e in history.exchanges if e.call.key.identity == key.identity]
    executions = [e for e in history.executions if e.identity == key.identity]
    moments = [e.sent for e in exchanges] + [e.ended for e in exchanges] + [e.arrived for e in executions]
    told = [(e.sent, _call_line(e)) for e in exchanges] + [
        (e.arrived, _execution_line(e)) for e in executions
    ]
    told += [
        (o.began, f"{o.began:8.3f} to {o.ended:.3f} FAULT {o.kind}: {o.target}")
        for o in history.occurrences
        if any(o.began - _AROUND_S <= moment <= o.ended + _AROUND_S for moment in moments)
    ]
    return tuple(line for _, line in sorted(told))


def _call_line(exchange: Exchange) -> str:
    call, answer = exchange.call, exchange.answer
    how = f"{'HTTP/2' if call.http2 else 'HTTP/1.1'}{'' if call.sized else ', no length'}"
    payload = "the OTHER payload" if call.careless else "the payload"
    execution = answer.header("x-execution")
    got = [f"{answer.ending}", f"status {answer.status}", kind_of(answer) or ""]
    got += [f"execution {execution}" if execution else "", "replayed" if answer.replayed else ""]
    return (
        f"{exchange.sent:8.3f} to {exchange.ended:.3f} {call.request_id} on stack {call.stack} "
        f"({how}, {payload}, {call.departure}): {', '.join(part for part in got if part)}"
    )


def _execution_line(execution: Execution) -> str:
    decided = "never" if execution.decided is None else f"{execution.decided:.3f}"
    fenced = ", refused as late" if execution.fenced else ""
    return (
        f"{execution.arrived:8.3f} EXECUTION {execution.number} for {execution.request_id}, attempt "
        f"{execution.attempt}, mood {execution.mood}: answered {execution.status} at {decided}{fenced}"
    )
