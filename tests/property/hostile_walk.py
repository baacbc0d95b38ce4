"""One exchange among a peer without manners, and a store, an origin and a clock that speak when they like."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeAlias, cast

from google.protobuf.message import DecodeError
from hypothesis import strategies as st

from sidecar.exchange.duplex import HELD_BYTES
from sidecar.exchange.effects import Execute, StoreEffect
from sidecar.exchange.events import OriginEvent, ResponseHeaders, StoreEvent
from sidecar.exchange.machine import Exchange
from sidecar.exchange.states import State
from sidecar.extproc.driver import Driver
from sidecar.extproc.timers import Timers
from sidecar.extproc.wire import ext_proc_pb2 as pb
from sidecar.idempotency.claim import UnknownPolicy
from sidecar.idempotency.pointer import Pointer
from sidecar.idempotency.policy import (
    BodyMode,
    Execution,
    FingerprintSpec,
    InProgress,
    KeyPlace,
    KeySource,
    Match,
    Mode,
    Policies,
    Policy,
)
from sidecar.idempotency.request import Request
from tests.property.envoy_account import Breach, EnvoyAccount
from tests.property.hostile_answers import answers_to, last_word
from tests.property.hostile_messages import (
    GARBAGE,
    LARGEST_PIECE,
    MUTATED,
    WELL_FORMED,
    Stage,
    after,
    in_order,
)
from tests.unit.extproc.driver_scene import FakeObserver, FakeStream, Performing, VirtualLoop, turn

LIMIT = 4_096
POLICIES = st.builds(
    lambda unknown, execution, wait_ms, body, bypass, mode, key: Policy(
        "any",
        match=Match(),
        mode=mode,
        key=key,
        unknown=unknown,
        execution=execution,
        in_progress=InProgress(wait_ms=wait_ms),
        fingerprint=FingerprintSpec(body=body),
        max_request_body=LIMIT,
        max_response_body=LIMIT,
        bypass_when_unavailable=bypass,
    ),
    st.sampled_from(UnknownPolicy),
    st.sampled_from([Execution.INLINE, Execution.INLINE, Execution.DETACHED]),
    st.sampled_from([0, 5_000]),
    st.sampled_from([*[BodyMode.RAW] * 3, BodyMode.NONE, BodyMode.JSON, BodyMode.FORM]),
    st.booleans(),
    st.sampled_from([*[Mode.ENFORCE] * 3, Mode.SHADOW]),
    st.sampled_from(
        [
            *[KeySource()] * 4,
            KeySource("key", KeyPlace.QUERY, required=True),
            KeySource("", KeyPlace.JSON, Pointer.parse("")),
            KeySource("", KeyPlace.DERIVED),
        ]
    ),
)
POLITE, SLOPPY, RUDE = (1, 40), (1, 4), (2, 3)
"""How many messages of how many a peer sends without regard for the order."""
_MANNERS = st.sampled_from([POLITE, POLITE, POLITE, SLOPPY, SLOPPY, RUDE])
_OUT_OF_ORDER = st.sampled_from([*[None] * 4, *[WELL_FORMED] * 4, MUTATED, GARBAGE])
"""None: the last message once more."""
MOST_BYTES = 3 * LIMIT + 2 * LARGEST_PIECE
"""What an exchange may hold of bodies: what its policy lets it keep of each, and pieces it is busy with.

A request that is held and counts by its meaning is there twice, until it is whole.
"""
Asked: TypeAlias = tuple[StoreEffect | Execute, "asyncio.Future[StoreEvent | OriginEvent]"]
Move: TypeAlias = Callable[[], Awaitable[None]]


class HostileWalk:
    """A driver, its exchange and codec, real; everything around them drawn from `data`."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self._policy = data.draw(POLICIES, "policy")
        self._exchange = Exchange(Policies((self._policy,)), "owner")
        self._stream, self._observer, self._loop = FakeStream(), FakeObserver(), VirtualLoop()
        self._asked: list[Asked] = []
        timers = Timers(cast("asyncio.AbstractEventLoop", self._loop))
        self._driver = Driver(self._stream, self._exchange, Performing(self._perform), self._observer, timers)
        self._account = EnvoyAccount()
        self._heard = 0
        self._manners = data.draw(_MANNERS, "manners")
        self._stage, self._last = Stage.OPENING, b""
        self._ended = self._is_configured_duplex = False
        self.visited: set[State] = set()

    async def run(self, steps: int) -> None:
        """Let so many things happen; then let all that was asked be answered, and the stream end."""
        try:
            await self._run(steps)
        finally:
            for _, answer in self._pending():
                answer.cancel()  # of an example that was given up
            await turn()

    async def _run(self, steps: int) -> None:
        for _ in range(steps):
            await self._data.draw(st.sampled_from(self._moves()))()
            await self._after_each()
        await self._come_to_rest(answers_to)
        await self._come_to_rest(last_word)
        self._check_nothing_hangs()
        if not self._ended:
            await self._peer_leaves()
        await self._come_to_rest(last_word)
        assert self._observer.of("closed") == [()], "an exchange whose end nobody was told"

    # --- What may happen

    def _moves(self) -> list[Move]:
        moves: list[Move] = [self._clock_goes_on]
        if not self._ended and not self._stream.paused:
            patient = self._manners == POLITE and not self._account.owes_nothing
            moves += [self._peer_sends] * (1 if patient else 6)
        if self._pending():
            moves += [self._somebody_answers] * 5
        if self._stream.told:
            moves += [self._peer_reads] * 3
        if not self._ended:
            moves += [self._peer_leaves] if self._data.draw(st.integers(0, 9)) == 0 else []
        return moves

    async def _peer_sends(self) -> None:
        message = self._last = self._draw_message()
        readable = self._note_sent(message)
        self._driver.on_message(message)
        assert readable or self._stream.failures, "what nobody can read has failed no stream"

    def _draw_message(self) -> bytes:
        some, of = self._manners
        if self._data.draw(st.integers(1, of), "out of order") > some:
            return self._data.draw(in_order(self._stage), "message")
        kind = self._data.draw(_OUT_OF_ORDER, "kind")
        return self._last if kind is None else self._data.draw(kind, "message")

    def _note_sent(self, message: bytes) -> bool:
        """Enter the message into Envoy's account; False where it is none."""
        try:
            request = pb.ProcessingRequest.FromString(message)
        except DecodeError:
            return False
        if request.WhichOneof("request") is None:
            return False
        duplex = pb.ProcessingMode.FULL_DUPLEX_STREAMED
        config = request.protocol_config
        self._is_configured_duplex |= duplex in {config.request_body_mode, config.response_body_mode}
        self._account.sent(message)
        self._stage = after(request)
        return True

    async def _peer_reads(self) -> None:
        """It has taken what it was sent."""
        told, self._stream.told = self._stream.told, []
        for each in told:
            each()

    async def _peer_leaves(self) -> None:
        self._ended = True
        self._driver.on_end()

    async def _somebody_answers(self) -> None:
        self._answer(self._data.draw(st.sampled_from(self._pending()), "answered"), answers_to)

    async def _clock_goes_on(self) -> None:
        self._loop.wind(self._data.draw(st.sampled_from([0.01, 3.0, 40.0]), "seconds"))

    # --- Store and origin

    async def _perform(self, effect: StoreEffect | Execute) -> StoreEvent | OriginEvent:
        answer: asyncio.Future[StoreEvent | OriginEvent] = asyncio.get_running_loop().create_future()
        self._asked.append((effect, answer))
        return await answer

    def _pending(self) -> list[Asked]:
        self._asked = [(effect, answer) for effect, answer in self._asked if not answer.done()]
        return self._asked

    def _answer(self, asked: Asked, answers: Callable[..., st.SearchStrategy[Any]]) -> None:
        effect, answer = asked
        answer.set_result(self._data.draw(answers(effect, self._exchange._request, self._policy), "answer"))

    async def _come_to_rest(self, answers: Callable[..., st.SearchStrategy[Any]]) -> None:
        """Let everything that was asked be answered, a few times over."""
        for _ in range(8):
            await turn()
            self._stream.writable = True
            await self._peer_reads()
            for asked in list(self._pending()):
                self._answer(asked, answers)
            await self._after_each()

    # --- What must hold

    async def _after_each(self) -> None:
        await turn()
        self.visited.add(self._exchange.state)
        bugs = [told for told in self._observer.of("violated") if told[0] == "internal error" or told[1]]
        assert not bugs, bugs
        sent, self._heard = self._stream.sent[self._heard :], len(self._stream.sent)
        for message in sent:
            self._hear(message)
        if self._stream.failures:
            self._ended = True
        held, most = bytes_held_by(self._exchange), MOST_BYTES + HELD_BYTES * self._is_configured_duplex
        assert held <= most, f"{held} bytes are held in {self._exchange.state}"

    def _hear(self, message: bytes) -> None:
        assert not self._ended, "an answer after the end of the stream"
        if not self._is_configured_duplex:
            self._account.heard(message)
            return
        answer = pb.ProcessingResponse.FromString(message)
        if answer.WhichOneof("response") is None and not answer.HasField("override_message_timeout"):
            raise Breach(f"empty: {answer}")

    def _check_nothing_hangs(self) -> None:
        """Everything asked was answered; whatever is still owed now would be owed for ever."""
        answered = self._ended or self._is_configured_duplex or self._account.owes_nothing
        assert answered, (self._exchange.state, self._account)


def bytes_held_by(exchange: Exchange) -> int:
    """How many bytes of bodies an exchange has, in whatever it refers to; one object counts once."""
    return sum(len(each) for each in _reachable(exchange) if isinstance(each, bytes | bytearray))


_NOT_ENTERED = (type, Request, ResponseHeaders, Policy)


def _reachable(root: object) -> Iterator[object]:
    """All that is reached from an object by way of data, but for heads, whose size Envoy limits."""
    seen, remaining = {id(root)}, [root]
    while remaining:
        each = remaining.pop()
        yield each
        for other in gc.get_referents(each):
            if id(other) not in seen and not isinstance(other, _NOT_ENTERED) and not callable(other):
                seen.add(id(other))
                remaining.append(other)
