"""The driver where an exchange waits for another, notes a fingerprint, or makes the call itself."""

import asyncio
from dataclasses import replace
from unittest.mock import Mock

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse

from sidecar.exchange.effects import (
    AwaitOwner,
    Complete,
    Execute,
    MarkUnknown,
    NoteFingerprint,
    Release,
    Renew,
    StoreEffect,
    TakeClaim,
)
from sidecar.exchange.events import (
    Executed,
    ExecutionFailed,
    Failure,
    InFlight,
    Noted,
    OriginEvent,
    OwnerGone,
    Renewed,
    StoreEvent,
    WaitFailed,
)
from sidecar.exchange.machine import Exchange
from sidecar.exchange.states import State
from sidecar.idempotency.claim import Claimed, UnknownPolicy
from sidecar.idempotency.outcome import Origin
from sidecar.idempotency.policy import Execution, InProgress
from tests.unit.extproc.driver_scene import CLAIMED, KEPT, POLICY, FakeStore, Scene, turn
from tests.unit.extproc.envoy_messages import request_body, request_headers, response_headers

pytestmark = pytest.mark.filterwarnings("ignore:HeaderValueOption.append is deprecated:DeprecationWarning")

WAITING = replace(POLICY, in_progress=InProgress(wait_ms=10_000))
RETRYING = replace(POLICY, unknown=UnknownPolicy.RETRY)
DETACHED = replace(POLICY, execution=Execution.DETACHED)
IN_FLIGHT, OWNER_GONE = InFlight(29_000), OwnerGone()
UPSTREAM = Origin("via_upstream", 0, "10.0.0.1:80", 1)
EXECUTED = Executed(201, (("content-type", b"text/plain"),), b"done", (), UPSTREAM)


async def waiting() -> Scene:
    """A duplicate that waits for its owner."""
    scene = Scene(policy=WAITING)
    scene.driver.on_message(request_headers(end=True))
    await scene.store.answers(IN_FLIGHT)
    await turn()
    return scene


async def executing() -> Scene:
    """A detached execution under way."""
    scene = Scene(policy=DETACHED)
    scene.driver.on_message(request_headers(end=True))
    await scene.store.answers(CLAIMED)
    await turn()
    return scene


# --- Waiting for the owner


async def test_envoy_is_asked_to_wait_longer_and_that_is_not_yet_the_answer() -> None:
    scene = await waiting()

    (extended,) = (ProcessingResponse.parse(message) for message in scene.stream.sent)
    assert extended.override_message_timeout is not None
    assert extended.override_message_timeout.total_seconds() > 10
    assert scene.observer.of("answered") == []


async def test_the_time_of_a_wait_counts_as_the_time_envoy_waited_for_the_answer() -> None:
    scene = await waiting()
    scene.loop.wind(4)

    await scene.store.answers(OWNER_GONE)
    await scene.store.answers(CLAIMED)

    assert scene.stream.phases() == ["", "request_headers"]
    assert scene.observer.of("answered") == [("request_headers", 4.0)]


async def test_a_wait_is_one_question_beside_which_nothing_else_is_asked() -> None:
    scene = await waiting()

    assert scene.asked() == [TakeClaim, AwaitOwner]
    assert scene.store.under_way() == 1
    assert len(scene.pending()) == 1


async def test_a_wait_that_is_over_is_called_off_and_the_duplicate_refused() -> None:
    scene = await waiting()

    scene.loop.wind(10)
    await turn()

    assert scene.stream.phases() == ["", "immediate_response"]
    assert scene.observer.of("counted") == [("in_progress",)]
    assert scene.store.under_way() == 0
    assert scene.store.waiting[0].cancelled()
    assert scene.observer.of("violated") == []


async def test_a_wait_is_called_off_at_the_end_of_the_stream_and_then_it_is_closed() -> None:
    scene = await waiting()

    scene.driver.on_end()
    await turn()

    assert scene.store.waiting[0].cancelled()
    assert scene.pending() == []
    assert scene.observer.of("closed") == [()]
    assert scene.observer.of("violated") == []


class Clinging(FakeStore):
    """Takes its time to end an operation that is called off."""

    def __init__(self) -> None:
        super().__init__()
        self.lets_go = asyncio.Event()

    async def perform(self, effect: StoreEffect | Execute) -> StoreEvent | OriginEvent:
        try:
            return await super().perform(effect)
        except asyncio.CancelledError:
            await self.lets_go.wait()
            raise


async def test_a_stream_is_not_closed_before_its_wait_has_let_go() -> None:
    store = Clinging()
    scene = Scene(policy=WAITING, store=store)
    scene.driver.on_message(request_headers(end=True))
    await store.answers(IN_FLIGHT)
    await turn()
    scene.driver.on_end()
    await turn()
    assert scene.observer.of("closed") == []

    store.lets_go.set()
    await turn()

    assert scene.observer.of("closed") == [()]


async def test_an_owner_who_is_done_leads_to_the_claim_and_no_timer_is_left_of_the_wait() -> None:
    scene = await waiting()

    await scene.store.answers(OWNER_GONE)
    assert scene.asked() == [TakeClaim, AwaitOwner, TakeClaim]
    assert len(scene.pending()) == 1, "the wait is not over while the store is asked"
    await scene.store.answers(CLAIMED)

    (renewal,) = scene.pending()
    assert renewal.due == scene.loop.now + 10
    scene.loop.wind(10)
    await turn()
    assert scene.asked()[-1] is Renew


async def test_a_second_wait_replaces_the_first_and_its_end_stays_where_it_was() -> None:
    scene = await waiting()
    scene.loop.wind(6)
    await scene.store.answers(OWNER_GONE)
    await scene.store.answers(IN_FLIGHT)
    await turn()
    assert scene.store.under_way() == 1

    scene.loop.wind(4)
    await turn()

    assert scene.stream.phases() == ["", "immediate_response"]
    assert scene.store.under_way() == 0


async def test_a_wait_that_fails_asks_for_the_claim_at_once() -> None:
    scene = await waiting()

    await scene.store.answers(WaitFailed())
    await scene.store.answers(IN_FLIGHT)

    assert scene.asked() == [TakeClaim, AwaitOwner, TakeClaim]
    assert scene.observer.of("counted") == [("in_progress",)]


async def test_an_owner_who_is_done_in_the_moment_the_wait_is_over_is_too_late() -> None:
    scene = await waiting()

    scene.store.waiting.pop(0).set_result(OWNER_GONE)
    scene.loop.wind(10)
    await turn()

    assert scene.stream.phases() == ["", "immediate_response"]
    assert scene.asked() == [TakeClaim, AwaitOwner]
    assert scene.observer.of("violated") == []


# --- The timer


async def test_a_wait_that_ends_in_a_note_leaves_no_timer_that_would_ring_for_the_wait() -> None:
    scene = Scene(policy=replace(RETRYING, in_progress=InProgress(wait_ms=10_000)))
    scene.driver.on_message(request_headers(end=True))
    for answer in (IN_FLIGHT, OWNER_GONE, CLAIMED):
        await scene.store.answers(answer)
    assert scene.exchange.state is State.NOTING

    scene.loop.wind(10)
    await turn()

    assert scene.asked()[-2:] == [NoteFingerprint, Renew]
    assert scene.observer.of("violated") == []


async def test_a_request_is_held_back_until_its_fingerprint_is_noted() -> None:
    scene = Scene(policy=RETRYING)
    scene.driver.on_message(request_headers())
    await scene.store.answers(CLAIMED)
    scene.driver.on_message(request_body(b"x"))
    scene.driver.on_message(request_body(b"y", end=True))
    await turn()
    assert scene.stream.phases() == ["request_headers", "request_body"]

    await scene.store.answers(Noted(held=True))

    assert scene.stream.phases() == ["request_headers", "request_body", "request_body"]
    assert scene.asked() == [TakeClaim, NoteFingerprint]


async def test_a_takeover_is_read_compared_and_forwarded_in_one_go() -> None:
    scene = Scene(policy=RETRYING)
    scene.driver.on_message(request_headers())
    digest = scene.exchange._fingerprint.digest()
    await scene.store.answers(Claimed(2, digest, taken_over=True))
    assert scene.stream.phases() == [""]

    scene.driver.on_message(request_body(b"", end=True))

    assert scene.stream.phases() == ["", "request_headers", "request_body"]
    scene.driver.on_message(response_headers())
    assert scene.stream.phases()[-1] == "response_headers"


# --- Detached


async def test_a_detached_request_is_answered_when_its_outcome_is_kept() -> None:
    scene = await executing()
    assert scene.asked() == [TakeClaim, Execute]
    scene.loop.wind(3)

    await scene.store.answers(EXECUTED)
    assert scene.asked() == [TakeClaim, Execute, Complete]
    assert scene.stream.phases() == [""]
    await scene.store.answers(KEPT)

    assert scene.stream.phases() == ["", "immediate_response"]
    assert scene.observer.of("answered") == [("request_headers", 3.0)]
    assert scene.observer.of("settled") == [("record", "status")]


async def test_a_call_outlives_its_stream_and_closed_waits_for_it_and_its_record() -> None:
    scene = await executing()

    scene.driver.on_end()
    await turn()
    assert scene.store.under_way() == 1
    assert scene.observer.of("closed") == []
    await scene.store.answers(EXECUTED)
    assert scene.asked()[-1] is Complete
    assert scene.observer.of("closed") == []
    await scene.store.answers(KEPT)

    assert scene.observer.of("settled") == [("record", "status")]
    assert scene.observer.of("closed") == [()]
    assert scene.stream.phases() == [""]


@pytest.mark.parametrize(
    ("failure", "settles"),
    [(Failure.NEVER_SENT, Release), (Failure.LOST, MarkUnknown), (Failure.DEADLINE, MarkUnknown)],
)
async def test_a_call_that_fails_after_the_client_left_is_settled_all_the_same(
    failure: Failure, settles: type
) -> None:
    scene = await executing()
    scene.driver.on_end()

    await scene.store.answers(ExecutionFailed(failure))
    assert scene.asked()[-1] is settles
    await scene.store.answers(KEPT)

    assert scene.observer.of("closed") == [()]


async def test_a_lease_is_renewed_after_the_client_left_until_the_call_is_answered() -> None:
    scene = await executing()
    scene.driver.on_end()

    for _ in range(2):
        scene.loop.wind(10)
        await turn()
        assert scene.asked()[-1] is Renew
        await scene.store.answers(Renewed(held=True), nth=1)
    assert len(scene.pending()) == 1
    await scene.store.answers(EXECUTED)

    assert scene.pending() == []
    await scene.store.answers(KEPT)
    assert scene.observer.of("closed") == [()]


async def test_a_message_out_of_order_fails_the_stream_but_not_the_call() -> None:
    scene = await executing()

    scene.driver.on_message(request_body(b"x"))
    assert scene.stream.failures == ["RequestBody while EXECUTING"]
    await scene.store.answers(EXECUTED)
    await scene.store.answers(KEPT)

    assert scene.observer.of("settled") == [("record", "status")]
    assert scene.observer.of("closed") == [()]


async def test_a_bug_in_the_call_leaves_its_outcome_unknown_and_no_claim_that_is_renewed() -> None:
    scene, bug = await executing(), LookupError("a bug")
    scene.driver.on_end()

    await scene.store.answers(bug)
    assert scene.observer.of("violated") == [("internal error", bug)]
    assert scene.asked()[-1] is MarkUnknown
    await scene.store.answers(KEPT)

    assert scene.pending() == []
    assert scene.observer.of("closed") == [()]


async def test_a_client_that_is_there_is_told_that_the_outcome_of_a_call_with_a_bug_is_unknown() -> None:
    scene = await executing()

    await scene.store.answers(LookupError("a bug"))
    await scene.store.answers(KEPT)

    assert scene.stream.failures == []
    assert scene.stream.phases() == ["", "immediate_response"]


async def test_after_a_bug_in_the_exchange_no_claim_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = await executing()
    scene.driver.on_end()
    monkeypatch.setattr(Exchange, "handle", Mock(side_effect=LookupError("a bug")))

    await scene.store.answers(EXECUTED)

    assert len(scene.observer.of("violated")) == 1
    assert scene.pending() == []
    assert scene.observer.of("closed") == [()]
