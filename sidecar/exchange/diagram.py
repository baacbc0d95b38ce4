"""The picture of the exchange, drawn from its table: `docs/exchange.md` is what `render` returns."""

import inspect
from collections.abc import Iterator

from sidecar.exchange.events import Event
from sidecar.exchange.machine import Exchange
from sidecar.exchange.states import TABLE, State, Transition

_INTRODUCTION = """\
# One exchange

What the sidecar does in one HTTP exchange, as a state machine. This page is generated from the table in
`sidecar/exchange/states.py` by `make docs`; a test keeps the two equal. An event that has no row in a state
is a protocol violation: the stream is failed and Envoy refuses the request.

The picture shows the ways from state to state; events that change nothing stand in the tables alone.
"""


def render() -> str:
    """The page in Markdown: a Mermaid state diagram, then a table for every state."""
    return "\n".join((_INTRODUCTION, *_picture(), "", *_tables()))


def _picture() -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {State.AWAITING_REQUEST.name}"
    for (state, target), events in _ways().items():
        yield f"    {state.name} --> {target.name}: {', '.join(event.__name__ for event in events)}"
    yield f"    {State.CLOSED.name} --> [*]"
    yield "```"


def _ways() -> dict[tuple[State, State], list[type[Event]]]:
    """The events that lead from one state to another, in the order of the table."""
    ways: dict[tuple[State, State], list[type[Event]]] = {}
    for (state, event), transition in TABLE.items():
        for target in _in_order(transition):
            if target is not state:
                ways.setdefault((state, target), []).append(event)
    return ways


def _tables() -> Iterator[str]:
    for state in State:
        yield f"## {state.name}"
        yield ""
        yield state.value
        yield ""
        yield "| event | action | what it does | next |"
        yield "|---|---|---|---|"
        for (row, event), transition in TABLE.items():
            if row is state:
                yield _line(event, transition)
        yield ""


def _line(event: type[Event], transition: Transition) -> str:
    following = ", ".join(target.name for target in _in_order(transition))
    return f"| {event.__name__} | `{transition.action}` | {_purpose(transition.action)} | {following} |"


def _purpose(action: str) -> str:
    """The first line of the action's docstring."""
    return (inspect.getdoc(getattr(Exchange, action)) or "").partition("\n")[0]


def _in_order(transition: Transition) -> list[State]:
    return [state for state in State if state in transition.targets]
