"""The driver on a stream whose bodies go in full duplex: what comes early, and when no more is read."""

import pytest
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import ProcessingModeBodySendMode as BodyMode

from sidecar.exchange.duplex import HELD_BYTES
from sidecar.exchange.effects import Release, TakeClaim
from tests.unit.extproc.driver_scene import CLAIMED, Scene, turn
from tests.unit.extproc.envoy_messages import request_body, request_headers, response_headers

# Deprecated in Envoy's protocol, and the only one of the two that ext_proc honours.
pytestmark = pytest.mark.filterwarnings("ignore:HeaderValueOption.append is deprecated:DeprecationWarning")

DUPLEX = (BodyMode.FULL_DUPLEX_STREAMED, BodyMode.FULL_DUPLEX_STREAMED)


async def begun() -> Scene:
    """A keyed request whose claim is being asked for."""
    scene = Scene()
    scene.driver.on_message(request_headers(modes=DUPLEX))
    await turn()
    return scene


async def test_a_body_that_comes_before_the_claim_is_answered_is_given_back_behind_the_head() -> None:
    scene = await begun()

    scene.driver.on_message(request_body(b"x"))
    scene.driver.on_message(request_body(b"y", end=True))
    assert scene.stream.sent == []
    await scene.store.answers(CLAIMED)

    assert scene.stream.phases() == ["request_headers", "request_body", "request_body"]
    assert not scene.stream.paused


async def test_no_more_is_read_of_a_stream_that_holds_much_until_the_store_has_answered() -> None:
    scene = await begun()

    scene.driver.on_message(request_body(b"x" * HELD_BYTES))
    assert scene.stream.paused
    await scene.store.answers(CLAIMED)

    assert not scene.stream.paused


async def test_a_stream_that_ends_while_it_is_not_read_lets_its_claim_go() -> None:
    scene = await begun()
    scene.driver.on_message(request_body(b"x" * HELD_BYTES))

    scene.driver.on_end()
    await scene.store.answers(CLAIMED)

    assert scene.stream.sent == []
    assert scene.asked() == [TakeClaim, Release]


async def test_envoys_own_answer_to_what_is_held_fails_the_stream() -> None:
    scene = await begun()

    scene.driver.on_message(response_headers())
    await scene.store.answers(CLAIMED)

    assert scene.stream.failures == ["Envoy has answered the request itself"]
    assert scene.asked() == [TakeClaim, Release]


async def test_a_filter_that_hides_responses_fails_the_stream_and_asks_for_nothing() -> None:
    scene = Scene()

    scene.driver.on_message(request_headers(modes=(BodyMode.FULL_DUPLEX_STREAMED, BodyMode.NONE)))

    assert len(scene.stream.failures) == 1
    assert scene.store.asked == []
