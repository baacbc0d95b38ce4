"""Random histories of several owners over a few ids: every store answers as the model does."""

import asyncio
import uuid
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test
from msgspec import structs

from sidecar.idempotency.body import PIECE_BYTES, Body, HeldBody
from sidecar.idempotency.claim import (
    Claim,
    Claimed,
    ClaimResult,
    InFlight,
    Recorded,
    UnknownPolicy,
    UnknownReason,
)
from sidecar.idempotency.record import Record
from sidecar.store.memory import MemoryStore, _Executing
from sidecar.store.redis.store import RedisStore
from tests.stack.valkey import Server
from tests.store.model import Model
from tests.store.redis_entries import change, command, key
from tests.store.store_scenes import undated, whole

T = TypeVar("T")

IDS = st.sampled_from(["one", "two"])
OWNERS = st.sampled_from(["a", "b", "c"])
POLICIES = st.sampled_from(UnknownPolicy)
REASONS = st.sampled_from([reason for reason in UnknownReason if reason is not UnknownReason.LEASE_EXPIRED])
FINGERPRINTS = st.sampled_from([b"\x00" * 32, b"\xff" * 32])
BODIES: dict[str, Body] = {
    "none": b"",
    "small": b"\x00body",
    "large": HeldBody((bytes(PIECE_BYTES), b"1")),
    "another large": HeldBody((bytes(PIECE_BYTES), b"2")),
}
RECORDS = st.builds(
    Record,
    status=st.sampled_from([200, 204, 500]),
    headers=st.just((("x", b"\xff"), ("x", b""))),
    body=st.sampled_from(tuple(BODIES)).map(lambda name: BODIES[name]),
    trailers=st.just(()),
    fingerprint=st.none() | FINGERPRINTS,
    replayable=st.booleans(),
)


class Histories(RuleBasedStateMachine):
    """What owners do. Subclasses carry each operation to their stores by `perform`, and move time.

    An owner writes with the attempt it was last granted, or with 1 where it never was: the second is an
    owner whose claim the store lost.
    """

    lease_ms: st.SearchStrategy[int]
    ttl_ms: st.SearchStrategy[int]
    tombstone_ms: st.SearchStrategy[int]

    def __init__(self) -> None:
        super().__init__()
        self.granted: dict[tuple[str, str], int] = {}

    def perform(self, operation: str, *arguments: Any) -> bool | ClaimResult:
        """Do it everywhere and check that the answers agree."""
        raise NotImplementedError

    def handle(self, data: st.DataObject, id_: str, owner: str) -> Claim:
        return Claim(
            id=id_,
            owner=owner,
            attempt=self.granted.get((id_, owner), 1),
            lease_ms=data.draw(self.lease_ms, label="lease_ms"),
            ttl_ms=data.draw(self.ttl_ms, label="ttl_ms"),
            tombstone_ms=data.draw(self.tombstone_ms, label="tombstone_ms"),
        )

    @rule(data=st.data(), id_=IDS, owner=OWNERS, policy=POLICIES)
    def claim(self, data: st.DataObject, id_: str, owner: str, policy: UnknownPolicy) -> None:
        result = self.perform("claim", structs.replace(self.handle(data, id_, owner), attempt=0), policy)
        if isinstance(result, Claimed):
            self.granted[id_, owner] = result.attempt

    @rule(data=st.data(), id_=IDS, owner=OWNERS)
    def renew(self, data: st.DataObject, id_: str, owner: str) -> None:
        self.perform("renew", self.handle(data, id_, owner))

    @rule(data=st.data(), id_=IDS, owner=OWNERS, fingerprint=FINGERPRINTS)
    def note_fingerprint(self, data: st.DataObject, id_: str, owner: str, fingerprint: bytes) -> None:
        self.perform("note_fingerprint", self.handle(data, id_, owner), fingerprint)

    @rule(data=st.data(), id_=IDS, owner=OWNERS, record=RECORDS)
    def complete(self, data: st.DataObject, id_: str, owner: str, record: Record) -> None:
        self.perform("complete", self.handle(data, id_, owner), record)

    @rule(data=st.data(), id_=IDS, owner=OWNERS)
    def release(self, data: st.DataObject, id_: str, owner: str) -> None:
        self.perform("release", self.handle(data, id_, owner))

    @rule(data=st.data(), id_=IDS, owner=OWNERS, reason=REASONS, fingerprint=st.none() | FINGERPRINTS)
    def mark_unknown(
        self, data: st.DataObject, id_: str, owner: str, reason: UnknownReason, fingerprint: bytes | None
    ) -> None:
        self.perform("mark_unknown", self.handle(data, id_, owner), reason, fingerprint)


def finished(operation: Awaitable[T]) -> T:
    """The answer of an operation that never waits for anything."""
    iterator = operation.__await__()
    with pytest.raises(StopIteration) as end:
        next(iterator)
    answer: T = end.value.value
    return answer


class MemoryAgainstModel(Histories):
    """Memory and the model on one virtual clock, leases and ttls of a few milliseconds."""

    lease_ms = st.integers(1, 12)
    ttl_ms = st.integers(8, 40)
    tombstone_ms = st.just(0) | st.integers(1, 30)

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.store = MemoryStore(lambda: self.model.now / 1000)

    def perform(self, operation: str, *arguments: Any) -> bool | ClaimResult:
        expected: bool | ClaimResult = getattr(self.model, operation)(*arguments)
        assert undated(finished(getattr(self.store, operation)(*arguments))) == expected
        return expected

    @rule(ms=st.integers(1, 15))
    def time_passes(self, ms: int) -> None:
        self.model.now += ms


class RedisAgainstMemory(Histories):
    """Redis, memory and the model side by side; no lease runs out of itself, a rule makes it."""

    lease_ms = st.just(600_000)
    ttl_ms = st.just(3_600_000)
    tombstone_ms = st.sampled_from([0, 3_600_000])
    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.memory = MemoryStore(lambda: self.model.now / 1000)
        self.redis = RedisStore.from_url(self.server.url, prefix=uuid.uuid4().hex, timeout_ms=5000)
        self.runner = asyncio.Runner()

    def teardown(self) -> None:
        self.runner.run(self.redis.close())
        self.runner.close()

    def perform(self, operation: str, *arguments: Any) -> bool | ClaimResult:
        expected: bool | ClaimResult = getattr(self.model, operation)(*arguments)
        assert undated(finished(getattr(self.memory, operation)(*arguments))) == expected
        answer = self.runner.run(getattr(self.redis, operation)(*arguments))
        if isinstance(expected, InFlight):  # the server's own clock runs on
            assert isinstance(answer, InFlight)
            assert 0 < answer.lease_left_ms <= 600_000
        elif isinstance(answer, Recorded):
            assert Recorded(self.runner.run(whole(self.redis, answer))) == expected
        else:
            assert undated(answer) == expected
        return expected

    def lose(self, id_: str) -> None:
        self.runner.run(command(self.redis, "DEL", key(self.redis, id_)))

    @precondition(lambda self: any(self.model.state(id_) == "in_flight" for id_ in ("one", "two")))
    @rule(id_=IDS)
    def lease_runs_out(self, id_: str) -> None:
        if self.model.state(id_) != "in_flight":
            return
        self.model.lapse(id_)
        kept = self.memory._entries[id_]
        assert isinstance(kept.entry, _Executing)
        lapsed = replace(kept.entry, lease_until=self.model.now)
        self.memory._entries[id_] = replace(kept, entry=lapsed)
        self.runner.run(change(self.redis, "lease_until", 1, id_))

    @precondition(lambda self: any(self.model.state(id_) != "absent" for id_ in ("one", "two")))
    @rule(id_=IDS)
    def ttl_ends(self, id_: str) -> None:
        if self.model.state(id_) == "absent":
            return
        self.model.outlive(id_)
        kept = self.memory._entries[id_]
        left_ms = kept.gone_at - kept.expires_at
        self.memory._entries[id_] = replace(kept, expires_at=self.model.now, gone_at=self.model.now + left_ms)
        if left_ms:
            self.runner.run(change(self.redis, "expires", 1, id_))
        else:
            self.lose(id_)

    @rule(id_=IDS)
    def store_loses_an_id(self, id_: str) -> None:
        self.model.lose(id_)
        if id_ in self.memory._entries:
            kept = self.memory._entries[id_]
            self.memory._entries[id_] = replace(kept, gone_at=self.model.now)
        self.lose(id_)


def test_memory_answers_as_the_model_does() -> None:
    run_state_machine_as_test(MemoryAgainstModel, settings=settings(max_examples=200, stateful_step_count=40))


def test_redis_answers_as_memory_and_the_model_do(valkey: Server) -> None:
    class OnThisServer(RedisAgainstMemory):
        server = valkey

    run_state_machine_as_test(OnThisServer, settings=settings(max_examples=60, stateful_step_count=40))
