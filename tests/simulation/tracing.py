"""A trace in lines that a person reads: what happened to whom, and what came of it."""

import json

from sidecar.exchange.effects import Count, CountOutcome, Reply
from sidecar.idempotency.value import Value
from tests.simulation.plan import CallScript, Plan

_SHOWN = (bool, int, str)
_UNSAID = frozenset({"claim_id", "after_ms", "policy", "lease_left_ms", "wanted"})


def brief(thing: Value) -> str:
    """An event or an effect in a few words."""
    if isinstance(thing, Reply):
        return f"Reply {thing.status} {_said(thing)}"
    said = [type(thing).__name__]
    for name in thing.__struct_fields__:
        value = getattr(thing, name)
        if name == "data":
            said.append(repr(bytes(value)))
        elif isinstance(value, bool):
            said.append(name if value else f"not {name}")
        elif isinstance(value, _SHOWN) and name not in _UNSAID:
            said.append(str(value))
    return " ".join(said)


def briefly(effects: tuple[Value, ...]) -> str:
    """Effects, in order, without what is only counted."""
    return (
        ", ".join(brief(effect) for effect in effects if not isinstance(effect, Count | CountOutcome)) or "-"
    )


def describe_call(call: CallScript) -> str:
    """What a client sends, and what the upstream makes of it."""
    upstream = call.upstream
    body = f"{len(call.pieces)} pieces {call.pace_ms} ms apart" if call.pieces else "no body"
    leaves = "" if call.leaves_after_ms is None else f", leaves after {call.leaves_after_ms} ms"
    trailers = ", trailers" if call.trailers else ""
    announced = ", its length announced" if call.announces else ""
    return (
        f"{call.caller} sends {call.key} with payload {call.payload} ({body}{announced}{trailers}{leaves}) "
        f"to worker {call.worker}; the upstream {upstream.behaviour.value} with {upstream.status}, "
        f"{upstream.form.value}, after 2 x {upstream.takes_ms} ms"
    )


def describe_plan(plan: Plan) -> str:
    """What stands above a trace."""
    envoy = ", full duplex" if plan.duplex else ""
    return f'seed {plan.seed}: policy "{plan.row}", {plan.workers} worker(s), {plan.weather}{envoy}'


def _said(reply: Reply) -> str:
    try:
        return str(json.loads(reply.body)["type"]).removeprefix("urn:idempotency:")
    except ValueError:
        return repr(reply.body)
