"""The table of transitions: every row is told in a story, and what is not a row is a violation."""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import get_args

import pytest

from sidecar.exchange.events import Event, StreamEnded
from sidecar.exchange.machine import Exchange, ProtocolViolation
from sidecar.exchange.states import TABLE, State
from sidecar.idempotency.policy import Policies
from tests.unit.exchange import (
    test_stories_before_execution,
    test_stories_of_advertising,
    test_stories_of_announced_lengths,
    test_stories_of_detached_executions,
    test_stories_of_early_answers,
    test_stories_of_executions,
    test_stories_of_full_duplex,
    test_stories_of_grpc_calls,
    test_stories_of_grpc_streams,
    test_stories_of_keys_in_bodies,
    test_stories_of_large_replies,
    test_stories_of_shadowing,
    test_stories_of_takeovers,
    test_stories_of_waiting,
)
from tests.unit.exchange.scenes import ENDED, SAMPLES, WAYS, Step, Teller, TellStory, at

STORIES = (
    test_stories_before_execution,
    test_stories_of_advertising,
    test_stories_of_waiting,
    test_stories_of_executions,
    test_stories_of_announced_lengths,
    test_stories_of_takeovers,
    test_stories_of_early_answers,
    test_stories_of_detached_executions,
    test_stories_of_grpc_calls,
    test_stories_of_grpc_streams,
    test_stories_of_large_replies,
    test_stories_of_full_duplex,
    test_stories_of_keys_in_bodies,
    test_stories_of_shadowing,
)

EVERY_EVENT = tuple(type(sample) for sample in SAMPLES)


def stories(*modules: ModuleType) -> Iterator[TellStory]:
    """Every story in these modules."""
    for module in modules:
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_") and "tell" in inspect.signature(function).parameters:
                yield function


@pytest.fixture(scope="module")
def walked() -> set[Step]:
    """Every step that any story takes."""
    teller = Teller()
    for story in stories(*STORIES):
        story(teller)
    return teller.walked


@pytest.mark.parametrize(("state", "event"), TABLE, ids=lambda part: getattr(part, "name", part))
def test_every_row_and_every_state_it_may_lead_to_is_told_in_a_story(
    state: State, event: type[Event], walked: set[Step]
) -> None:
    reached = {after for before, happened, after in walked if (before, happened) == (state, event)}

    assert reached == TABLE[state, event].targets


def flattened(union: object) -> Iterator[object]:
    """The classes of a union of unions."""
    for member in get_args(union):
        if get_args(member):
            yield from flattened(member)
        else:
            yield member


def test_there_is_a_sample_of_every_event_and_a_way_to_every_state() -> None:
    assert set(flattened(Event)) == set(EVERY_EVENT)
    assert set(WAYS) == set(State)
    for state in State:
        assert at(state, Teller()).state() is state


def test_every_action_is_a_method_of_the_exchange_and_every_state_leads_to_the_end() -> None:
    exchange = Exchange(Policies(()), "owner")
    ends = {State.CLOSED}
    for _ in State:
        ends |= {state for (state, _), transition in TABLE.items() if transition.targets & ends}

    assert ends == set(State)
    for transition in TABLE.values():
        assert callable(getattr(exchange, transition.action))


UNKNOWN_PAIRS = [
    (state, sample) for state in State for sample in SAMPLES if (state, type(sample)) not in TABLE
]


@pytest.mark.parametrize(
    ("state", "event"), UNKNOWN_PAIRS, ids=[f"{s.name}-{type(e).__name__}" for s, e in UNKNOWN_PAIRS]
)
def test_what_is_not_in_the_table_is_a_violation_that_leaves_the_exchange_as_it_was(
    state: State, event: Event
) -> None:
    story = at(state, Teller())

    with pytest.raises(ProtocolViolation, match=f"^{type(event).__name__} while {state.name}$"):
        story.on(event)

    assert story.state() is state
    if (state, StreamEnded) in TABLE:
        undisturbed = at(state, Teller())
        assert story.on(ENDED) == undisturbed.on(ENDED)
        assert story.state() is undisturbed.state()
    else:
        # The stream has ended already: only the store's answer is waited for.
        assert state in {
            State.ABANDONED,
            State.SHADOWING_ALONE,
            State.EXECUTING_ALONE,
            State.SETTLING_ALONE,
            State.CLOSED,
        }


def test_an_action_that_leads_elsewhere_than_the_table_says_is_a_bug() -> None:
    class Straying(Exchange):
        def pass_on(self, event: object) -> tuple[()]:
            del event
            self.state = State.CLOSED
            return ()

    story = Straying(Policies(()), "owner")

    with pytest.raises(AssertionError, match="pass_on led to CLOSED"):
        story.handle(SAMPLES[3])
