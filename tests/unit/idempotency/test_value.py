"""A value never changes, and is equal to whatever says the same."""

from collections.abc import Iterator

import pytest
from msgspec import structs

from sidecar.exchange import effects, events
from sidecar.exchange.events import RenewalDue, RequestBody, ResponseBody, WaitOver
from sidecar.idempotency.claim import Claimed
from sidecar.idempotency.context import Context
from sidecar.idempotency.outcome import OutcomeRules
from sidecar.idempotency.record import Record
from sidecar.idempotency.value import Value

RECORD = Record(201, (("etag", b"x"),), b"done", (), b"f" * 32)


def kinds(of: type[Value] = Value) -> Iterator[type[Value]]:
    for kind in of.__subclasses__():
        yield kind
        yield from kinds(kind)


@pytest.mark.parametrize("name", [*RECORD.__struct_fields__, "another"])
def test_a_value_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(RECORD, name, getattr(RECORD, name, None))
    with pytest.raises(AttributeError):
        delattr(RECORD, name)


def test_every_kind_of_value_is_frozen_and_none_is_looked_at_by_the_garbage_collector() -> None:
    found = list(kinds())
    assert {events.Executed, effects.Reply, Record, Claimed} <= set(found)
    assert [kind for kind in found if not kind.__struct_config__.frozen] == []
    assert [kind for kind in found if kind.__struct_config__.gc] == []


def test_equal_values_have_equal_hashes() -> None:
    again = Record(201, (("etag", b"x"),), bytes(bytearray(b"done")), (), b"f" * 32)
    assert again is not RECORD
    assert again == RECORD
    assert hash(again) == hash(RECORD)
    assert len({again, RECORD, Claimed(1), Claimed(1), Claimed(2)}) == 3


def test_a_changed_copy_leaves_the_value_as_it_was() -> None:
    assert structs.replace(RECORD, status=500) == Record(500, (("etag", b"x"),), b"done", (), b"f" * 32)
    assert RECORD.status == 201


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (RequestBody(b"x", end_of_stream=True), ResponseBody(b"x", end_of_stream=True)),
        (RenewalDue(), WaitOver()),
    ],
)
def test_values_of_two_kinds_are_never_equal(one: Value, other: Value) -> None:
    assert one != other
    assert len({one, other}) == 2


def test_until_when_it_is_kept_is_a_part_of_an_answer() -> None:
    assert Claimed(1, expires_ms=5) != Claimed(1, expires_ms=6)


@pytest.mark.parametrize("kind", [Context, OutcomeRules])
def test_what_is_not_given_is_no_other_values_own(kind: type[Context | OutcomeRules]) -> None:
    one, other = kind(), kind()
    made = [name for name in kind.__struct_fields__ if isinstance(getattr(one, name), dict)]
    assert made
    assert all(getattr(one, name) is not getattr(other, name) for name in made)
