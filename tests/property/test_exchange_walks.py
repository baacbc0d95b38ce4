"""Random walks of an exchange: a peer that keeps Envoy's order, a store and an origin that answer anything.

`walk.py` is the world around the exchange, `promises.py` what must hold in it whatever happens.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.exchange.core import Effects
from sidecar.exchange.events import Event
from sidecar.exchange.machine import Exchange, ProtocolViolation
from sidecar.exchange.states import TABLE, State
from sidecar.idempotency.policy import Policies, Policy
from tests.property.draws import POLICIES
from tests.property.walk import Walk
from tests.unit.exchange.scenes import OWNER, SAMPLES

WALKED = set(State) - {State.READING, State.SHADOWING, State.SHADOWING_ALONE}
"""Where these walks come: keys are in heads here, and enforced. Walks of the others: `fuzz_protocol`."""


def test_whatever_envoy_the_store_the_origin_and_the_clock_do_every_promise_holds() -> None:
    visited: set[State] = set()

    @settings(max_examples=1000)
    @given(st.data())
    def walks(data: st.DataObject) -> None:
        walk = Walk(data)
        for _ in range(60):
            if not walk.step():
                break
        else:
            walk.run_out()
        walk.check_end()
        visited.update(walk.visited)

    for _ in range(10):  # Hypothesis may spend a thousand examples far away from a rare state
        walks()
        if visited == WALKED:
            break

    assert visited == WALKED, "no walk came to some state: nothing was shown of it"


@settings(max_examples=300)
@given(POLICIES, st.lists(st.sampled_from(SAMPLES), max_size=12))
def test_events_in_an_order_no_peer_keeps_are_violations_and_nothing_worse(
    policy: Policy, events: list[Event]
) -> None:
    exchange, twin = Exchange(Policies((policy,)), OWNER), Exchange(Policies((policy,)), OWNER)

    for event in events:
        before = exchange.state
        effects = taken(exchange, event)
        assert effects == taken(twin, event)
        row = TABLE.get((before, type(event)))
        if effects is None:
            # What is put off comes in full duplex, of which these peers know nothing.
            assert row is None or row.action == "put_off"
            assert exchange.state is before
        else:
            assert row is not None, f"{event} was taken while {before.name}"


def taken(exchange: Exchange, event: Event) -> Effects | None:
    """What comes of an event; None where it is a violation."""
    try:
        return exchange.handle(event)
    except ProtocolViolation:
        return None
