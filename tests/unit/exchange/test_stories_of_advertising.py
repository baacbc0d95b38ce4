"""Stories under `advertise: true`: answers that may be given again say until when."""

from dataclasses import replace

import pytest

from sidecar.exchange.effects import PassResponseHeaders, Reply
from sidecar.exchange.events import Claimed, Executed, Recorded
from sidecar.idempotency.fields import Fields
from tests.unit.exchange.scenes import (
    DETACHED,
    KEPT,
    POLICY,
    REFUSED,
    UPSTREAM,
    Teller,
    answer,
    fingerprint,
    head,
    recorded,
    replies,
)

TELLING = replace(POLICY, advertise=True, docs_url="https://docs.example")
EXPIRES_MS = 784_111_777_000
TOLD: Fields = (
    ("idempotency-expires", b"Sun, 06 Nov 1994 08:49:37 GMT"),
    ("link", b'<https://docs.example>; rel="describedby"'),
)
GRANTED = Claimed(1, expires_ms=EXPIRES_MS)
RECORD = recorded(of=fingerprint(head(body=False))).record


def test_a_first_answer_tells_until_when_it_is_kept(tell: Teller) -> None:
    story = tell(TELLING).after(head(body=False), GRANTED)

    assert story.on(answer()) == (PassResponseHeaders(more=True, advertised=TOLD),)


def test_an_answer_that_is_not_kept_tells_nothing(tell: Teller) -> None:
    story = tell(TELLING).after(head(body=False), GRANTED, answer(503, origin=REFUSED), KEPT)

    assert PassResponseHeaders(more=False) in story.seen


def test_a_policy_that_does_not_say_so_tells_nothing(tell: Teller) -> None:
    quiet = replace(TELLING, advertise=False)

    assert tell(quiet).after(head(body=False), GRANTED).on(answer()) == (PassResponseHeaders(more=True),)


def test_a_replay_tells_how_long_there_will_be_more(tell: Teller) -> None:
    (reply, _) = tell(TELLING).after(head(body=False)).on(Recorded(RECORD, EXPIRES_MS))

    assert isinstance(reply, Reply)
    assert reply.headers == (("etag", b"x"), ("idempotent-replayed", b"true"), *TOLD)


@pytest.mark.parametrize(("status", "told"), [(201, TOLD), (503, ())])
def test_a_detached_answer_tells_the_same(status: int, told: Fields) -> None:
    detached = replace(DETACHED, advertise=True, docs_url=TELLING.docs_url)
    theirs = (("etag", b"x"), ("idempotency-expires", b"never"))
    story = Teller()(detached).after(
        head(body=False), GRANTED, Executed(status, theirs, b"done", (), UPSTREAM), KEPT
    )

    (reply,) = replies(story.seen, Reply)
    assert isinstance(reply, Reply)
    assert reply.headers == ((("etag", b"x"), *told) if told else theirs)
