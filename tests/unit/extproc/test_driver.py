"""The driver on a stream: answers in order, store calls that outlive it, renewals, and what goes wrong."""

import pytest
from envoy_data_plane.envoy.service.ext_proc.v3 import ProcessingResponse

from sidecar.exchange.effects import Complete, Effect, FetchPiece, MarkUnknown, Release, Renew, TakeClaim
from sidecar.exchange.events import Claimed, Event, InFlight, PieceFetched, PieceLost, Recorded, Renewed
from sidecar.exchange.machine import Exchange
from sidecar.exchange.states import State
from sidecar.extproc.server import ExchangeServer
from sidecar.idempotency.body import KeptBody
from sidecar.idempotency.patterns import PathPattern
from sidecar.idempotency.policy import Match, Policies, Policy
from sidecar.idempotency.record import Record
from sidecar.idempotency.scope import ScopePart
from sidecar.idempotency.telling import TELLS
from tests.unit.extproc.driver_scene import (
    CLAIMED,
    KEPT,
    POLICIES,
    POLICY,
    FakeObserver,
    FakeStore,
    FakeStream,
    Scene,
    turn,
)
from tests.unit.extproc.envoy_messages import (
    REQUEST,
    request_body,
    request_headers,
    response_body,
    response_headers,
)

pytestmark = pytest.mark.filterwarnings("ignore:HeaderValueOption.append is deprecated:DeprecationWarning")


async def test_a_message_whose_answer_is_known_is_answered_in_the_same_call() -> None:
    scene = Scene()

    scene.driver.on_message(request_headers(REQUEST))

    assert scene.stream.phases() == ["request_headers"]
    assert scene.store.asked == []


async def test_a_keyed_request_is_answered_when_the_store_has_answered() -> None:
    scene = Scene()

    scene.driver.on_message(request_headers())
    await turn()
    assert scene.stream.sent == []
    assert scene.asked() == [TakeClaim]
    await scene.store.answers(CLAIMED)

    assert scene.stream.phases() == ["request_headers"]
    assert scene.observer.of("counted") == [("executed",)]


async def test_a_whole_execution_is_answered_message_by_message_and_its_end_after_the_record() -> None:
    scene = await Scene().claimed(end=False)

    scene.driver.on_message(request_body(b"x"))
    scene.driver.on_message(request_body(b"y", end=True))
    scene.driver.on_message(response_headers())
    scene.driver.on_message(response_body(b"done"))
    scene.driver.on_message(response_body(b"", end=True))
    assert scene.stream.phases() == [
        "request_headers",
        "request_body",
        "request_body",
        "response_headers",
        "response_body",
    ]
    await turn()
    assert scene.asked() == [TakeClaim, Complete]
    await scene.store.answers(KEPT)

    assert scene.stream.phases()[-1] == "response_body"
    assert len(scene.stream.sent) == 6
    scene.driver.on_end()
    assert scene.observer.of("settled") == [("record", "status")]
    assert scene.observer.told[-1] == ("closed",)


async def test_a_replay_ends_the_exchange_with_one_reply() -> None:
    scene = Scene()
    scene.driver.on_message(request_headers(end=True))
    claim = scene.exchange._fingerprint.digest()
    await scene.store.answers(Recorded(Record(201, (("content-type", b"text/plain"),), b"done", (), claim)))

    (reply,) = (ProcessingResponse.parse(message) for message in scene.stream.sent)
    assert reply.immediate_response is not None
    assert reply.immediate_response.body == b"done"
    assert scene.observer.of("counted") == [("replayed",)]


async def test_envoys_waiting_is_measured_by_phase() -> None:
    scene = Scene()
    scene.driver.on_message(request_headers(end=True))
    scene.loop.wind(0.25)
    await scene.store.answers(CLAIMED)
    scene.driver.on_message(response_headers())

    assert scene.observer.of("answered") == [("request_headers", 0.25), ("response_headers", 0.0)]


# --- The end


async def test_closed_is_told_exactly_once_and_not_before_the_store_has_answered() -> None:
    scene = await Scene().claimed(end=False)

    scene.driver.on_end()
    await turn()
    assert scene.asked() == [TakeClaim, Release]
    assert scene.observer.of("closed") == []
    await scene.store.answers(KEPT)

    assert scene.observer.of("settled") == [("release", "request-incomplete")]
    assert scene.observer.of("closed") == [()]
    scene.driver.on_end()
    scene.driver.on_message(request_body(b"x"))
    assert scene.observer.of("closed") == [()]
    assert scene.observer.of("violated") == []


async def test_a_stream_without_a_key_is_closed_with_its_end() -> None:
    scene = Scene()
    scene.driver.on_message(request_headers(REQUEST))

    scene.driver.on_end()

    assert scene.observer.told == [("opened",), ("answered", "request_headers", 0.0), ("closed",)]


async def test_a_store_call_survives_the_end_of_the_stream() -> None:
    scene = Scene()
    scene.driver.on_message(request_headers())
    scene.driver.on_end()

    await scene.store.answers(CLAIMED)
    assert scene.asked() == [TakeClaim, Release]
    await scene.store.answers(KEPT)

    assert scene.stream.sent == []
    assert scene.observer.of("closed") == [()]
    assert scene.exchange.state is State.CLOSED


async def test_a_record_survives_the_end_of_the_stream_and_nothing_is_sent_after_it() -> None:
    scene = await Scene().claimed()
    scene.driver.on_message(response_headers(end=True))
    scene.driver.on_end()
    sent = len(scene.stream.sent)

    await scene.store.answers(KEPT)

    assert len(scene.stream.sent) == sent
    assert scene.observer.of("settled") == [("record", "status")]
    assert scene.observer.of("closed") == [()]


async def test_messages_after_the_end_are_ignored() -> None:
    scene = Scene()
    scene.driver.on_end()

    scene.driver.on_message(request_headers())
    scene.driver.on_message(b"\xff")

    assert (scene.stream.sent, scene.stream.failures, scene.store.asked) == ([], [], [])


# --- The lease


async def test_a_lease_is_renewed_every_third_of_it() -> None:
    scene = await Scene().claimed()

    scene.loop.wind(9.9)
    await turn()
    assert scene.asked() == [TakeClaim]
    for _ in range(2):
        scene.loop.wind(10)
        await scene.store.answers(Renewed(held=True))
    assert scene.asked() == [TakeClaim, Renew, Renew]
    assert len(scene.pending()) == 1


async def test_a_lease_that_was_lost_is_not_renewed_again() -> None:
    scene = await Scene().claimed()
    scene.loop.wind(10)

    await scene.store.answers(Renewed(held=False))

    assert scene.pending() == []


@pytest.mark.parametrize("end", ["response", "stream", "violation"])
async def test_the_timer_is_cancelled_when_the_execution_is_over(end: str) -> None:
    scene = await Scene().claimed()
    assert len(scene.pending()) == 1

    match end:
        case "response":
            scene.driver.on_message(response_headers(end=True))
        case "stream":
            scene.driver.on_end()
        case _:
            scene.driver.on_message(request_headers())

    assert scene.pending() == []


async def test_a_renewal_under_way_when_the_exchange_ends_is_waited_for() -> None:
    scene = await Scene().claimed()
    scene.loop.wind(10)
    scene.driver.on_end()
    await turn()

    await scene.store.answers(KEPT, nth=1)
    assert scene.observer.of("closed") == []
    await scene.store.answers(Renewed(held=False))

    assert scene.observer.of("closed") == [()]
    assert scene.observer.of("violated") == []


# --- What goes wrong


async def test_a_message_that_cannot_be_decoded_fails_the_stream() -> None:
    scene = Scene()

    scene.driver.on_message(b"\xff")

    assert scene.stream.failures == ["not a ProcessingRequest"]
    assert scene.observer.told[1:] == [("violated", "not a ProcessingRequest", None), ("closed",)]


async def test_a_message_out_of_order_fails_the_stream_and_then_settles_the_claim() -> None:
    scene = await Scene().claimed()

    scene.driver.on_message(response_body(b"x"))
    await turn()

    assert scene.stream.failures == ["ResponseBody while AWAITING_RESPONSE"]
    assert scene.asked() == [TakeClaim, MarkUnknown]
    assert scene.observer.of("closed") == []
    await scene.store.answers(KEPT)
    scene.driver.on_end()
    assert scene.observer.of("settled") == [("unknown", "lost-before-response")]
    assert scene.observer.of("closed") == [()]
    assert len(scene.stream.failures) == 1


async def test_a_message_out_of_order_before_the_claim_came_drops_the_claim() -> None:
    scene = Scene()
    scene.driver.on_message(request_headers())
    scene.driver.on_message(request_body(b"x"))
    assert scene.stream.failures == ["RequestBody while CLAIMING"]

    await scene.store.answers(CLAIMED)

    assert scene.asked() == [TakeClaim, Release]
    assert scene.stream.sent == []


class Buggy(Exchange):
    """Raises at the event it is given to raise at."""

    def __init__(self, at: type[Event]) -> None:
        super().__init__(POLICIES, "owner-1")
        self._at = at

    def handle(self, event: Event) -> tuple[Effect, ...]:
        if not isinstance(event, self._at):
            return super().handle(event)
        raise LookupError("a bug")


async def test_a_bug_in_the_machine_fails_the_stream_without_telling_the_peer_more() -> None:
    scene = Scene(Buggy(Claimed))
    scene.driver.on_message(request_headers())

    await scene.store.answers(CLAIMED)

    assert scene.stream.failures == ["internal error"]
    ((detail, error),) = scene.observer.of("violated")
    assert detail == "internal error"
    assert isinstance(error, LookupError)
    assert scene.observer.of("closed") == [()]


async def test_an_answer_that_cannot_be_encoded_fails_the_stream() -> None:
    scene = Scene()
    scene.driver.on_message(request_headers(end=True))
    digest = scene.exchange._fingerprint.digest()

    await scene.store.answers(Recorded(Record(1 << 40, (), b"", (), digest)))

    assert scene.stream.failures == ["internal error"]
    assert scene.observer.of("closed") == [()]


async def test_a_store_call_that_raises_fails_the_stream() -> None:
    scene = Scene()
    scene.driver.on_message(request_headers())

    await scene.store.answers(LookupError("a bug in the adapter"))

    assert scene.stream.failures == ["internal error"]
    assert scene.stream.sent == []
    assert scene.observer.of("closed") == [()]


async def test_a_bug_at_the_end_of_the_stream_is_told_and_the_stream_is_closed() -> None:
    scene = Scene(Buggy(object))  # type: ignore[arg-type]  # every event

    scene.driver.on_end()

    assert scene.stream.failures == []
    assert len(scene.observer.of("violated")) == 1
    assert scene.observer.of("closed") == [()]


# --- Large replies


LARGE = KeptBody("id", "owner", 12, 8, (1, 2), compressed=False)


async def replaying(scene: Scene) -> Scene:
    """Bring a duplicate to where the first piece of its large record is wanted."""
    scene.driver.on_message(request_headers(end=True))
    digest = scene.exchange._fingerprint.digest()
    await scene.store.answers(Recorded(Record(200, (), LARGE, (), digest)))
    return scene


async def test_a_large_replay_is_read_and_sent_piece_by_piece() -> None:
    scene = await replaying(Scene())
    assert scene.asked() == [TakeClaim, FetchPiece]
    assert scene.stream.sent == []

    await scene.store.answers(PieceFetched(b"12345678"))
    await scene.store.answers(PieceFetched(b"last"))

    assert scene.stream.phases() == ["streamed_immediate_response"] * 3
    assert scene.observer.of("counted") == [("replayed",)]
    assert [told[0] for told in scene.observer.of("answered")] == ["request_headers"]
    scene.driver.on_end()
    assert scene.observer.of("closed") == [()]


async def test_the_next_piece_is_asked_for_once_the_peer_has_taken_the_one_before() -> None:
    scene = await replaying(Scene())
    scene.stream.writable = False

    await scene.store.answers(PieceFetched(b"12345678"))
    assert scene.asked() == [TakeClaim, FetchPiece]
    (told,) = scene.stream.told
    told()
    await turn()

    assert scene.asked() == [TakeClaim, FetchPiece, FetchPiece]


async def test_a_client_that_leaves_while_nothing_is_taken_leaves_nothing_under_way() -> None:
    scene = await replaying(Scene())
    scene.stream.writable = False
    await scene.store.answers(PieceFetched(b"12345678"))

    scene.driver.on_end()

    assert scene.observer.of("closed") == [()]


async def test_a_piece_that_is_lost_on_the_way_fails_the_stream() -> None:
    scene = await replaying(Scene())
    await scene.store.answers(PieceFetched(b"12345678"))

    await scene.store.answers(PieceLost())

    assert scene.stream.failures == ["a piece of the recorded response could not be read"]
    assert scene.observer.of("violated") == [(scene.stream.failures[0], None)]
    assert scene.observer.of("closed") == [()]


# --- The server


async def test_every_stream_gets_an_exchange_of_its_own_under_the_policies_of_the_moment() -> None:
    store, observer = FakeStore(), FakeObserver()
    snapshots = iter([POLICIES, POLICIES, Policies(())])
    server = ExchangeServer(lambda: next(snapshots), store, observer)

    streams = [FakeStream() for _ in range(3)]
    for stream in streams:
        server.accept(stream).on_message(request_headers())
    await turn()

    owners = [effect.wanted.owner for effect in store.asked if isinstance(effect, TakeClaim)]
    assert len(set(owners)) == len(owners) == 2
    assert all(len(owner) >= 32 for owner in owners)
    assert [stream.phases() for stream in streams] == [[], [], ["request_headers"]]
    for _ in owners:
        await store.answers(InFlight(1))
    assert [stream.phases() for stream in streams[:2]] == [["immediate_response"]] * 2


async def test_a_route_may_name_the_policy_for_its_requests() -> None:
    store, observer = FakeStore(), FakeObserver()
    elsewhere = Policy("elsewhere", match=Match(paths=(PathPattern("/elsewhere"),)))
    server = ExchangeServer(lambda: Policies((elsewhere, POLICY)), store, observer)

    applied, unmatched = (
        FakeStream(sent_along={"idempotency-policy": name}) for name in ("default", "elsewhere")
    )
    for stream in (applied, unmatched):
        server.accept(stream).on_message(request_headers())
    await turn()

    assert [effect.wanted.lease_ms for effect in store.asked if isinstance(effect, TakeClaim)] == [30_000]
    assert unmatched.phases() == ["request_headers"]


async def test_a_route_that_names_no_policy_there_is_fails_closed_and_says_so() -> None:
    store, observer = FakeStore(), FakeObserver()
    server = ExchangeServer(lambda: POLICIES, store, observer)
    stream = FakeStream(sent_along={"idempotency-policy": "paymnts"})

    handler = server.accept(stream)
    handler.on_message(request_headers())
    handler.on_end()

    assert stream.failures == [
        "a route of Envoy's names the policy 'paymnts'; allowed: one that is configured"
    ]
    assert observer.of("violated") == [(stream.failures[0], None)]
    assert stream.sent == []
    assert store.asked == []


@pytest.mark.parametrize(
    ("said", "admitted"), [({}, False), ({TELLS: "b"}, False), ({TELLS: "b,a%2C%20x"}, True)], ids=repr
)
async def test_a_request_whose_caller_envoy_does_not_tell_fails_closed(
    said: dict[str, str], admitted: bool
) -> None:
    store, observer = FakeStore(), FakeObserver()
    by_note = Policy("noted", scope=(ScopePart("metadata", "a, x.tenant"),))
    server = ExchangeServer(lambda: Policies((by_note,)), store, observer)
    stream = FakeStream(sent_along=said)

    server.accept(stream).on_message(request_headers())
    await turn()

    assert (len(store.asked), len(stream.failures)) == ((1, 0) if admitted else (0, 1))
    assert observer.of("violated") == [(detail, None) for detail in stream.failures]
