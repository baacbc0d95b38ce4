"""The judge: sees what happens at the store, at the upstream and at the clients, and knows what may not.

It decides by the contract alone: by the upstream's ledger, by what clients were given, and by the account of
the store's answers (`custody.py`).
"""

import json
from collections import Counter
from dataclasses import dataclass

from sidecar.exchange.effects import Complete, Release, Reply, SettleEffect
from sidecar.exchange.events import Settled, SettlingFailed, StoreEvent
from sidecar.idempotency.claim import Claim
from sidecar.idempotency.fields import Fields, first
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.policy import Execution as Way
from sidecar.idempotency.record import Record
from tests.simulation.custody import Custody, Holding, Standing
from tests.simulation.plan import CallScript, messages_in
from tests.simulation.policies import Row
from tests.simulation.timeline import Timeline
from tests.simulation.violation import Violation


@dataclass(slots=True)
class Execution:
    """An entry of the upstream's ledger: it did what a request asked for."""

    number: int
    call: CallScript
    owner: str
    attempt: int
    granted_at: int
    protected: bool
    whole: bool
    """The whole request has come; the upstream may have answered before that, or without it."""
    enough: bool
    """What has come is enough for the upstream to have done it: all, or a message of a gRPC call."""
    status: int = 0
    headers: Fields = ()
    body: bytes = b""
    trailers: Fields = ()
    answered: bool = False
    """A sidecar has seen the head of the response."""
    judged: bool = False
    """And what it means: of a gRPC call that is known only at its end."""
    unnoted: bool = False
    """Then it could not note what a takeover is to be compared with: too late to keep the rest back."""

    @property
    def result(self) -> int | str:
        """What it was answered with: a status, or `grpc:` and a gRPC call's; without one, clients read 2."""
        if not self.call.grpc:
            return self.status
        return f"grpc:{(first((*self.trailers, *self.headers), 'grpc-status') or b'2').decode()}"

    @property
    def is_stream(self) -> bool:
        """Whether it is a gRPC call of several messages either way."""
        return self.call.grpc and max(self.call.messages, len(messages_in(self.body))) > 1


@dataclass(slots=True)
class Received:
    """What a client was given."""

    status: int = 0
    headers: Fields = ()
    body: bytes = b""
    trailers: Fields = ()


class Guarantees:
    """One judge for one schedule."""

    def __init__(self, row: Row, timeline: Timeline) -> None:
        self.row = row
        self.custody = Custody(row, timeline)
        self.ledger: list[Execution] = []
        self._timeline = timeline
        self._scopes: dict[str, tuple[str, str]] = {}  # by id
        self._ids: dict[tuple[str, str], str] = {}
        self._askers: dict[tuple[str, str], set[tuple[str, str]]] = {}  # owners, and their payloads
        self._payloads: dict[str, str] = {}  # by owner
        self._executed: dict[tuple[str, str], list[Execution]] = {}
        self._replayed: dict[tuple[str, str], Execution] = {}
        self._records = 0
        self._results: dict[str, str] = {}  # by owner: executed, replayed, or what it was refused with

    def met(self) -> dict[str, int]:
        """What the schedule consisted of: a simulation that never comes to the point shows here."""
        counted = Counter(self._results.values())
        counted.update("calls" for execution in self.ledger if execution.call.grpc)
        counted.update("streams" for execution in self.ledger if execution.is_stream)
        counted.update("calls replayed" for origin in self._replayed.values() if origin.call.grpc)
        return {**counted, "records": self._records, "takeovers": self.custody.takeovers}

    # --- Once everything is at rest

    def expect(self, call: CallScript) -> frozenset[str]:
        """What a call must come to that arrives when nothing else happens, as CONTRACT §4 and §5 have it."""
        holding = self.custody.holding(self._ids.get((call.caller, call.key), ""))
        now = self._timeline.now
        if holding is None:
            return self._execution_of(call)
        if abs(holding.kept_until - now) < NEAR_MS or abs(holding.gone_at - now) < NEAR_MS:
            return ANYTHING
        if holding.standing is Standing.RELEASED:
            return self._execution_of(call)
        if holding.kept_until <= now:
            return frozenset({"key-expired"})
        if holding.standing is Standing.RECORDED and holding.record is not None:
            return self._expect_of(holding.record, call)
        if holding.standing is Standing.EXECUTING and holding.lease_until > now:
            raise Violation("invariant 1", f"{holding.owner} is gone and its lease is still renewed")
        return self._takeover_of(holding, call) if self.row.retries else frozenset({"outcome-unknown"})

    def _takeover_of(self, holding: Holding, call: CallScript) -> frozenset[str]:
        """Only the same payload goes on, which is held to be compared; where nothing was noted, any does."""
        if holding.noted is None:
            return self._execution_of(call)
        if holding.noted.fingerprint == UNCOMPARABLE:
            return frozenset({"outcome-unknown"})
        if self._is_too_large(call):
            return frozenset({"body-too-large"})
        same = self._payloads[holding.noted.owner] == call.payload
        return frozenset({"executed" if same else "key-reused"})

    def _execution_of(self, call: CallScript) -> frozenset[str]:
        too_large = self.row.policy.execution is Way.DETACHED and self._is_too_large(call)
        return frozenset({"body-too-large" if too_large else "executed"})

    def _expect_of(self, record: Record, call: CallScript) -> frozenset[str]:
        number = first(record.headers, "x-execution")
        if number is None:
            raise Violation("G2", "a record of what the upstream never said")
        comparable = record.fingerprint is not None
        if comparable and self.ledger[int(number)].call.payload != call.payload:
            return frozenset({"key-reused"})
        return frozenset({"replayed" if record.replayable else "response-not-stored"})

    def check_result(self, owner: str, expected: frozenset[str]) -> None:
        """Whether it came to that."""
        result = self._results.get(owner, "nothing")
        if expected is not ANYTHING and result not in expected:
            raise Violation("G5", f"{owner} came to {result}, not to {' or '.join(sorted(expected))}")

    # --- At the store

    def asked(self, call: CallScript, claim: Claim) -> None:
        """A sidecar asks for a claim on behalf of this call."""
        scope = (call.caller, call.key)
        if (
            self._scopes.setdefault(claim.id, scope) != scope
            or self._ids.setdefault(scope, claim.id) != claim.id
        ):
            raise Violation("G4", f"{scope} and {self._scopes[claim.id]} meet in the store")
        self._askers.setdefault(scope, set()).add((claim.owner, call.payload))
        self._payloads[claim.owner] = call.payload

    # --- At the upstream

    def forwarded(self, owner: str, attempt: int) -> None:
        """A sidecar lets a keyed request go upstream."""
        grant = self.custody.grants.get(owner)
        if grant is None or grant.attempt != attempt:
            raise Violation("G5", f"forwarded as attempt {attempt} without a claim of this attempt")
        self._results[owner] = "executed"

    def settles(self, execution: Execution | None, effect: SettleEffect) -> None:
        """A sidecar says what became of its claim; `execution` is what it may have seen an answer to."""
        if execution is None:
            return
        if isinstance(effect, Complete) and not (execution.judged and self.row.records(execution.result)):
            raise Violation(
                "outcomes", f"execution {execution.number} came to {execution.result}, and is kept"
            )
        if execution.answered and isinstance(effect, Release) and not self._lets_go(execution):
            raise Violation("G1", f"execution {execution.number} was answered, and its claim is released")

    def marked(self, execution: Execution | None, claim: Claim) -> None:
        """A sidecar has heard that its word is kept that nobody knows what became of its claim."""
        if execution is None or not execution.answered or self._lets_go(execution):
            return
        holding = self.custody.holding(claim.id)
        if holding is None or holding.owner != claim.owner or not self.row.retries:
            return
        if holding.noted is None:
            raise Violation(
                "G3", f"execution {execution.number} was answered, and nothing is kept to compare with"
            )

    def passed(self, removed: tuple[str, ...], *, claim_failed: bool, met_owner: bool) -> None:
        """A sidecar lets a keyed request pass unprotected, less these fields."""
        if "idempotency-attempt" not in removed:
            raise Violation("G1", "a client's own attempt number reaches the upstream")
        if met_owner or not (claim_failed and self.row.policy.bypass_when_unavailable):
            raise Violation("G5", "a keyed request was forwarded without a claim")

    def execute(
        self, call: CallScript, owner: str, attempt: int | None, *, whole: bool, enough: bool
    ) -> Execution:
        """The upstream does it; without an attempt it was passed unprotected, and counts for nothing."""
        granted_at = self.custody.grants[owner].at if attempt is not None else 0
        execution = Execution(
            len(self.ledger), call, owner, attempt or 0, granted_at, attempt is not None, whole, enough
        )
        self.ledger.append(execution)
        if execution.protected:
            self._check_execution(execution)
        return execution

    def _check_execution(self, execution: Execution) -> None:
        scope = (execution.call.caller, execution.call.key)
        earlier = self._executed.setdefault(scope, [])
        for before in earlier:
            self._check_again(before, execution)
        earlier.append(execution)

    def became_whole(self, execution: Execution) -> None:
        """The rest of a request has come that the upstream executed before it had ended."""
        execution.whole = execution.enough = True
        if execution.protected:
            for before in self._executed[execution.call.caller, execution.call.key]:
                if before.attempt < execution.attempt and not self._apart(before, execution):
                    self._check_payload(before, execution)

    def _check_again(self, before: Execution, again: Execution) -> None:
        """Whether the policy allows this execution after that one."""
        if self._apart(before, again):
            return
        if before.attempt == again.attempt:
            raise Violation("G1", f"attempt {again.attempt} was executed twice")
        if self._lets_go(before):
            return
        if not (before.answered or before.enough):
            return  # the request was never forwarded whole, and nothing came back: it does not count
        if not self.row.retries:
            raise Violation("G1", f"executed again though execution {before.number} may stand")
        self._check_payload(before, again)

    def _check_payload(self, before: Execution, again: Execution) -> None:
        """Who takes over from an attempt that had all of its request sends the same."""
        if self._lets_go(before):
            return
        binding = before.whole and (not before.unnoted or before.owner in self.custody.marked)
        if binding and again.whole and before.call.payload != again.call.payload:
            raise Violation("G3", "an attempt was followed by one with another payload")

    def _lets_go(self, execution: Execution) -> bool:
        """Whether it was answered so that the next request may be executed as if nothing had happened."""
        return execution.judged and execution.result in self.row.released

    def _apart(self, before: Execution, again: Execution) -> bool:
        """Whether one was claimed after all that was known of the other had expired."""
        return abs(again.granted_at - before.granted_at) >= self.row.policy.ttl_ms

    # --- At the client

    def released_end(self, claim: Claim, execution: Execution | None, kept: StoreEvent | None) -> None:
        """A sidecar lets the end of a response go, having heard `kept` of its record."""
        if execution is None or not self.row.records(execution.result):
            return
        if isinstance(kept, SettlingFailed) or kept == Settled(held=False):
            return  # nothing can be done about it (CONTRACT §5: passed to the client, unknown)
        if claim.owner not in self.custody.recorded:
            raise Violation("G2", "the end of a response was released before its record was kept")
        self._records += 1

    def replied(self, call: CallScript, owner: str, reply: Reply) -> None:
        """A sidecar answers a client itself, other than with what it executed for this very client."""
        if first(reply.headers, "idempotent-replayed") is None:
            self._results[owner] = self._check_refusal(call, owner, reply)
        else:
            self._results[owner] = "replayed"
            self._check_replay(call, reply)

    def _check_replay(self, call: CallScript, reply: Reply) -> None:
        number = first(reply.headers, "x-execution")
        origin = self.ledger[int(number)] if number is not None else None
        if origin is None:
            raise Violation("G2", "a replay of something that was never executed")
        if (origin.call.caller, origin.call.key) != (call.caller, call.key):
            raise Violation("G4", f"{call.caller} was given the response of {origin.call.caller}")
        if origin.is_stream:
            raise Violation("streams", f"execution {origin.number} is given again")
        if origin.call.payload != call.payload:
            raise Violation("G3", f"payload {call.payload} was given the response of {origin.call.payload}")
        excluded = {"set-cookie", "date"} & {name for name, _ in reply.headers}
        if excluded:
            raise Violation("G2", f"a replay has {', '.join(excluded)}")
        expected = (origin.status, kept(origin.headers), origin.body, origin.trailers)
        if (reply.status, kept(reply.headers), reply.body, reply.trailers) != expected:
            raise Violation("G2", f"a replay differs from execution {origin.number}")
        scope = (call.caller, call.key)
        before = self._replayed.setdefault(scope, origin)
        if before is not origin and not self._apart(before, origin):
            raise Violation("G2", f"execution {before.number} was replayed, then execution {origin.number}")
        self._replayed[scope] = origin

    def _check_refusal(self, call: CallScript, owner: str, reply: Reply) -> str:
        kind = _problem_of(call, reply)
        if kind not in _REFUSALS or (kind == "body-too-large" and not self._is_too_large(call)):
            raise Violation("G5", f"a refusal {kind} that nothing here can cause")
        askers = self._askers[call.caller, call.key]
        if kind in _OF_OTHERS and len(askers) < 2 and owner not in self.custody.grants:
            raise Violation("G4", f"{call.caller} was told {kind} of a key that only others have used")
        if kind == "key-reused" and all(payload == call.payload for _, payload in askers):
            raise Violation("G5", "the same payload was refused as another")
        return kind

    def _is_too_large(self, call: CallScript) -> bool:
        return len(b"".join(call.pieces)) > self.row.policy.max_request_body

    def saw(self, execution: Execution, received: Received) -> None:
        """A client has the whole of an upstream's response."""
        if execution.protected and first(received.headers, "idempotent-replayed") is not None:
            raise Violation("G2", "a first execution is marked as a replay")
        given = (received.status, kept(received.headers), received.body, received.trailers)
        if given != (execution.status, kept(execution.headers), execution.body, execution.trailers):
            raise Violation("G2", f"the client did not get what execution {execution.number} answered")


def _problem_of(call: CallScript, reply: Reply) -> str:
    """The type of the problem that a client is refused with, in the form that it can read."""
    if call.grpc:
        if not (reply.to_call and reply.grpc_status):
            raise Violation("G5", f"a reply {reply.status} to a gRPC call that is no error of gRPC")
        told = reply.body.decode().partition(": ")[0]
    else:
        if first(reply.headers, "content-type") != b"application/problem+json" or reply.to_call:
            raise Violation("G5", f"a reply {reply.status} that is no problem document")
        told = str(json.loads(reply.body)["type"])
    return told.removeprefix("urn:idempotency:")


ANYTHING: frozenset[str] = frozenset()
"""Where the plan does not decide what comes of a call."""
NEAR_MS = 30
"""So near to the moment it expires, an id may be either."""
_OF_OTHERS = frozenset({"in-progress", "key-reused", "outcome-unknown", "response-not-stored", "key-expired"})
_REFUSALS = _OF_OTHERS | {"store-unavailable", "body-too-large", "origin-unavailable"}
_NOT_COMPARED = frozenset({"set-cookie", "date", "content-length", "trailer", "idempotent-replayed"})


def kept(fields: Fields) -> Fields:
    """The fields that a replay must have as the first response had them (CONTRACT §4)."""
    return tuple(pair for pair in fields if pair[0] not in _NOT_COMPARED)
