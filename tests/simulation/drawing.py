"""Drawing plans: from one seed, everything that is chance in a schedule."""

from dataclasses import replace
from random import Random
from typing import TypeVar

from sidecar.idempotency.policy import Execution
from tests.simulation.plan import (
    QUIET_MS,
    WEATHERS,
    Behaviour,
    CallScript,
    FaultScript,
    Form,
    Kind,
    Plan,
    Trouble,
    UpstreamScript,
    framed,
)
from tests.simulation.policies import CALL_STATUSES, LEASE_MS, ROWS, STATUSES

T = TypeVar("T")
GRPC_SHARE = 0.3
"""Of the schedules, how many consist of gRPC calls."""
DUPLEX_SHARE = 0.25
"""Of the schedules, how many have an Envoy that exchanges every body in full duplex."""
KINDS = (Kind.UNARY, *Kind)


def draw(seed: int, rows: tuple[str, ...] = tuple(ROWS)) -> Plan:
    """The plan of this seed, under one of these policies."""
    chance = Random(seed)
    workers = _upto(chance, 2) + 1
    span = _one(chance, (10, 150, 600, 1500))
    share = _Shares(chance)
    calls = [_call(chance, number, span, workers, share) for number in range(2 + _upto(chance, 5))]
    row = _one(chance, rows)
    faults = tuple(
        _fault(chance, _one(chance, tuple(calls))) for _ in range(_one(chance, (0, 0, 1, 1, 2, 3)))
    )
    weather = _one(chance, WEATHERS)
    for fault in faults:
        if chance.random() < 0.5:
            calls.append(_retry(chance, calls, fault, workers))
    last = max(call.at for call in calls) + QUIET_MS
    probes = _probes(chance, calls, last, workers)
    return _through_envoy(_in_protocol(Plan(seed, row, workers, weather, (*calls, *probes), faults)))


def _through_envoy(plan: Plan) -> Plan:
    """The plan with the newest Envoy or, for some, an older one; drawn apart, as the protocol is."""
    return replace(plan, duplex=Random(f"the Envoy of {plan.seed}").random() < DUPLEX_SHARE)


def _in_protocol(plan: Plan) -> Plan:
    """The plan as it is over HTTP or, for some, with a gRPC call in place of every request.

    Drawn apart from everything else, so that it changes nothing of what has been drawn before.
    """
    chance = Random(~plan.seed)
    detached = ROWS[plan.row].policy.execution is Execution.DETACHED
    if detached or chance.random() >= GRPC_SHARE:
        return plan
    kind = _one(chance, KINDS)
    return replace(plan, calls=tuple(_as_grpc(call, kind) for call in plan.calls))


def _as_grpc(call: CallScript, kind: Kind) -> CallScript:
    """The same call over gRPC: its payload as one message, cut as its body was, or as two, one in a piece."""
    message = call.payload.encode()[:3]
    pieces = _cut(framed(message), len([piece for piece in call.pieces if piece]))
    if pieces and kind in (Kind.STREAM, Kind.CONVERSATION):
        pieces = (framed(message[:1]), framed(message[1:]))
    if call.pieces[-1:] == (b"",) and not call.announces:
        pieces = (*pieces, b"")
    upstream = call.upstream
    # The status is in the trailers, or in a head that is all; save where somebody between has lost it.
    lost = upstream.form is Form.OPEN_THEN_EMPTY
    return replace(
        call,
        grpc=True,
        pieces=pieces,
        waits=bool(pieces) and kind is Kind.CONVERSATION and not call.probe,
        upstream=replace(
            upstream,
            form=upstream.form if lost or upstream.form is Form.BARE else Form.TRAILERS,
            call_status=None if lost else CALL_STATUSES[upstream.status],
            answers_twice=kind in (Kind.SERVER_STREAM, Kind.STREAM),
        ),
    )


class _Shares:
    """How much of what a schedule holds: drawn once, so that some schedules are full of one thing."""

    def __init__(self, chance: Random) -> None:
        self.keys = ("k1",) if chance.random() < 0.8 else ("k1", "k2")
        self.callers = ("alice",) if chance.random() < 0.7 else ("alice", "bob")
        self.payloads = ("one",) if chance.random() < 0.5 else ("one", "one", "two")
        self.bodies = chance.random() < 0.8
        self.leaving = _one(chance, (0.0, 0.2, 0.6))
        self.announcing = _one(chance, (0.0, 0.5, 1.0))
        self.misbehaving, self.misbehaviours = _one(chance, (0.0, 0.3, 0.7)), tuple(Behaviour)
        if chance.random() < 0.25:
            self.misbehaving, self.misbehaviours = 0.8, (Behaviour.ANSWERS_EARLY,)
        self.slow = _one(chance, (0.0, 0.3))


def _call(chance: Random, number: int, span: int, workers: int, share: _Shares) -> CallScript:
    payload = _one(chance, share.payloads)
    pieces = _pieces(payload, _one(chance, (1, 1, 2, 3))) if share.bodies else ()
    announces = bool(pieces) and chance.random() < share.announcing
    if pieces and chance.random() < (0.5 if announces else 0.2):
        pieces = (*pieces, b"")
    return CallScript(
        number,
        _upto(chance, span),
        _one(chance, share.callers),
        _one(chance, share.keys),
        payload,
        pieces,
        announces=announces,
        trailers=bool(pieces) and chance.random() < 0.15,
        pace_ms=_one(chance, (0, 1, 10, 60, 200)),
        leaves_after_ms=_upto(chance, 700) if chance.random() < share.leaving else None,
        worker=_upto(chance, workers - 1),
        upstream=_upstream(chance, share),
        luck=chance.getrandbits(32),
        held_at_most_ms=_upto(chance, 100) if chance.random() < 0.05 else None,
    )


def _pieces(payload: str, count: int) -> tuple[bytes, ...]:
    """The body of this payload, in so many pieces; without any, the payload stands in the query."""
    return _cut(payload.encode() * 2, count)


def _cut(body: bytes, count: int) -> tuple[bytes, ...]:
    size = -(-len(body) // count) if count else 0
    return tuple(body[size * part : size * (part + 1)] for part in range(count))


def _upstream(chance: Random, share: _Shares) -> UpstreamScript:
    behaviour = Behaviour.ANSWERS
    if chance.random() < share.misbehaving:
        behaviour = _one(chance, share.misbehaviours)
    takes = _one(chance, (0, 5, 40, 90))
    script = UpstreamScript(
        behaviour,
        _one(chance, STATUSES),
        _one(chance, tuple(Form)),
        1 + _upto(chance, 2),
        large=chance.random() < 0.1,
        takes_ms=takes + 350 if chance.random() < share.slow else takes,
        pace_ms=_one(chance, (0, 1, 30, 150)),
        executes=chance.random() < 0.6,
        forges=chance.random() < 0.1,
    )
    return _drawn_out(chance, script) if behaviour is Behaviour.ANSWERS_EARLY else script


def _drawn_out(chance: Random, script: UpstreamScript) -> UpstreamScript:
    """An early response that takes its time: most requests end while it is on its way."""
    status = _one(chance, (script.status, 502))
    return replace(script, status=status, takes_ms=_one(chance, (0, 5, 40)), pieces=3, pace_ms=150)


def _fault(chance: Random, near: CallScript) -> FaultScript:
    """Something that strikes a worker while it is busy with this call, or soon after."""
    return FaultScript(
        near.at + _upto(chance, _one(chance, (20, 150, 600))),
        near.worker,
        _one(chance, tuple(Trouble)),
        _one(chance, (20, 150, 400, 700, 700, 2_500)),
    )


def _retry(chance: Random, calls: list[CallScript], fault: FaultScript, workers: int) -> CallScript:
    """A client asks again once the lease of the worker that was struck has run out."""
    struck = _one(chance, tuple(call for call in calls if call.worker == fault.worker))
    again = _one(chance, tuple(calls))
    return replace(
        struck,
        number=len(calls),
        at=fault.at + LEASE_MS + _upto(chance, 200),
        worker=_upto(chance, workers - 1),
        upstream=again.upstream,
        luck=chance.getrandbits(32),
    )


def _probes(chance: Random, calls: list[CallScript], at: int, workers: int) -> tuple[CallScript, ...]:
    """Once everything is at rest: the first request of each key again, and before or after it another."""
    firsts = {(call.caller, call.key): call for call in reversed(calls)}
    probes: list[CallScript] = []
    for call in firsts.values():
        payloads = (call.payload, "three")
        for payload in payloads if chance.random() < 0.5 else reversed(payloads):
            calm = UpstreamScript(Behaviour.ANSWERS, 201, Form.SIZED, 1, False, 5, 0, executes=True)
            probes.append(
                CallScript(
                    len(calls) + len(probes),
                    at + 1_000 * len(probes),
                    call.caller,
                    call.key,
                    payload,
                    _pieces(payload, len(call.pieces)),
                    announces=False,
                    trailers=False,
                    pace_ms=0,
                    leaves_after_ms=None,
                    worker=_upto(chance, workers - 1),
                    upstream=calm,
                    luck=at + len(probes),
                    probe=True,
                )
            )
    return tuple(probes)


def _upto(chance: Random, most: int) -> int:
    return int(chance.random() * (most + 1))


def _one(chance: Random, of: tuple[T, ...]) -> T:
    return of[int(chance.random() * len(of))]
