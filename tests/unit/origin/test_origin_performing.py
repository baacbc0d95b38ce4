"""Detached executions, from the effect that asks for one to the event that answers it."""

from pathlib import Path

import pytest

from sidecar.exchange.effects import Execute
from sidecar.exchange.events import Executed, ExecutionFailed, Failure
from sidecar.idempotency.outcome import Origin
from sidecar.idempotency.request import Request
from sidecar.origin.call import OriginAnswer, OriginCall
from sidecar.origin.client import OriginClient
from sidecar.origin.errors import DeadlineError, MayHaveBeenSentError, NeverSentError, OriginError
from sidecar.origin.performing import OriginPerformer
from tests.unit.origin.scripted_origin import Script, says, scripted_origin

ANSWER = (
    b"HTTP/1.1 201 Created\r\nx-idempotency-origin: - 1 via_upstream 10.0.0.1:80\r\nlocation: /1\r\n"
    b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"
)
Told = list[tuple[str, float, OriginError | None]]


def execute(*, query: str | None = None, deadline_ms: int = 5_000, max_response_body: int = 2) -> Execute:
    headers = (("content-length", b"2"), ("idempotency-attempt", b"1"))
    request = Request("POST", "shop.example", "/v1/pay", query, headers, "id")
    return Execute(request, b"hi", deadline_ms, max_response_body)


async def performed(tmp_path: Path, script: Script, effect: Execute) -> tuple[object, bytes, Told]:
    """The event, what the origin was sent, and what the observer was told; the clock counts its readings."""
    told: Told = []
    readings = iter(range(100))
    async with scripted_origin(tmp_path / "o.sock", script) as origin:
        performer = OriginPerformer(
            origin.client,
            lambda result, seconds, error: told.append((result, seconds, error)),
            lambda: next(readings),
        )
        event = await performer.perform(effect)
        return event, await origin.finished.get(), told


async def test_an_answer_comes_back_whole(tmp_path: Path) -> None:
    event, request, told = await performed(tmp_path, says(ANSWER), execute(query="a=1"))

    origin = Origin("via_upstream", 0, "10.0.0.1:80", 1)
    assert event == Executed(201, (("location", b"/1"),), b"ok", (("x-sum", b"1"),), origin)
    assert request == (
        b"POST /v1/pay?a=1 HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 2\r\n"
        b"idempotency-attempt: 1\r\n\r\nhi"
    )
    assert told == [("answered", 1, None)]


@pytest.mark.parametrize(("query", "target"), [(None, b"/v1/pay "), ("", b"/v1/pay? "), ("?", b"/v1/pay?? ")])
async def test_the_target_is_what_the_client_asked_for(
    tmp_path: Path, query: str | None, target: bytes
) -> None:
    _, request, _ = await performed(tmp_path, says(ANSWER), execute(query=query))

    assert request.startswith(b"POST " + target)


async def test_an_answer_over_the_limit_comes_back_without_its_body(tmp_path: Path) -> None:
    event, _, _ = await performed(tmp_path, says(ANSWER), execute(max_response_body=1))

    assert isinstance(event, Executed)
    assert event.body is None


@pytest.mark.parametrize(
    ("script", "deadline_ms", "failure", "result"),
    [(says(b"GARBAGE\r\n\r\n"), 5_000, Failure.LOST, "lost"), (says(b""), 20, Failure.DEADLINE, "deadline")],
)
async def test_a_call_without_an_answer_says_what_may_have_happened(
    tmp_path: Path, script: Script, deadline_ms: int, failure: Failure, result: str
) -> None:
    event, _, told = await performed(tmp_path, script, execute(deadline_ms=deadline_ms))

    assert event == ExecutionFailed(failure)
    assert [(name, type(error).__base__ is not None) for name, _, error in told] == [(result, True)]


async def test_a_call_that_was_never_sent_says_so(tmp_path: Path) -> None:
    told: Told = []
    performer = OriginPerformer(
        OriginClient(f"unix://{tmp_path}/nobody.sock"), lambda *about: told.append(about), lambda: 0.0
    )

    assert await performer.perform(execute()) == ExecutionFailed(Failure.NEVER_SENT)
    ((result, _, error),) = told
    assert result == "never_sent"
    assert isinstance(error, NeverSentError)


class FailingClient(OriginClient):
    """Fails as it is told to, and keeps what it was asked for."""

    def __init__(self, error: Exception) -> None:
        super().__init__("unix:///nobody.sock")
        self.error = error
        self.calls: list[OriginCall] = []

    async def execute(self, call: OriginCall) -> OriginAnswer:
        self.calls.append(call)
        raise self.error


@pytest.mark.parametrize(
    ("error", "failure", "result"),
    [
        (NeverSentError("refused"), Failure.NEVER_SENT, "never_sent"),
        (MayHaveBeenSentError("reset"), Failure.LOST, "lost"),
        (MayHaveBeenSentError("cut off", response_began=True), Failure.LOST, "lost"),
        (DeadlineError("late"), Failure.DEADLINE, "deadline"),
        (DeadlineError("late", response_began=True), Failure.DEADLINE, "deadline"),
        (OriginError("for a reason of its own"), Failure.LOST, "lost"),
    ],
    ids=repr,
)
async def test_each_way_to_fail_tells_what_may_have_been_executed(
    error: OriginError, failure: Failure, result: str
) -> None:
    told: Told = []
    readings = iter((10.0, 12.5))
    performer = OriginPerformer(
        FailingClient(error), lambda *about: told.append(about), lambda: next(readings)
    )

    assert await performer.perform(execute()) == ExecutionFailed(failure)
    assert told == [(result, 2.5, error)]


@pytest.mark.parametrize(("query", "target"), [(None, "/v1/pay"), ("", "/v1/pay?"), ("a=?", "/v1/pay?a=?")])
async def test_a_call_is_all_of_the_effect_and_an_empty_query_is_one(query: str | None, target: str) -> None:
    client = FailingClient(NeverSentError("refused"))
    effect = execute(query=query, deadline_ms=7, max_response_body=3)

    await OriginPerformer(client, lambda *_: None, lambda: 0.0).perform(effect)

    headers = effect.request.headers
    assert client.calls == [OriginCall("POST", "shop.example", target, headers, b"hi", 7, 3)]


async def test_a_bug_in_the_client_is_not_taken_for_an_answer() -> None:
    told: Told = []
    performer = OriginPerformer(
        FailingClient(LookupError("a bug")), lambda *about: told.append(about), lambda: 0.0
    )

    with pytest.raises(LookupError, match="a bug"):
        await performer.perform(execute())

    assert told == []


async def test_a_detached_execution_without_an_origin_is_a_bug() -> None:
    performer = OriginPerformer(None, lambda *_: None, lambda: 0.0)

    with pytest.raises(RuntimeError, match="without an origin"):
        await performer.perform(execute())
