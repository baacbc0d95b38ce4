"""Connections and processes on each Envoy over each transport: kept, drained, made again.

A test's name is its row in docs/compatibility.md.
"""

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.envoys.stack import TYPED, WORKERS, EnvoyStack, Execution, eventually
from tests.stack.upstream import Answer

LAST_STATEFUL_STREAM = 33
"""Until there, Envoy 1.40 was seen to send header blocks that need its table; on the later streams, none."""


def new_calls(stack: EnvoyStack, count: int) -> list[tuple[str, str]]:
    """So many (target, key), all of them new."""
    targets = [stack.path(Answer(201, TYPED, [str(number).encode()])) for number in range(count)]
    return [(target, f'"{uuid.uuid4()}"') for target in targets]


def recorded_call(stack: EnvoyStack) -> tuple[str, str]:
    """A (target, key) that has its record."""
    call = new_calls(stack, 1)[0]
    assert stack.post(*call).status_code == 201
    return call


def test_200_new_keys_at_once_are_executed_once_each_and_replayed(stack: EnvoyStack) -> None:
    calls = new_calls(stack, 200)

    first, retries = stack.posted_at_once(calls), stack.posted_at_once(calls[::4])

    assert [response.content for response in first] == [str(number).encode() for number in range(200)]
    assert [response.content for response in retries] == [response.content for response in first[::4]]
    assert {response.headers.get("idempotent-replayed") for response in first} == {None}
    assert {response.headers.get("idempotent-replayed") for response in retries} == {"true"}
    assert {stack.upstream.times(target) for target, _ in calls} == {1}


def test_connections_to_the_sidecar_are_kept_beyond_their_33rd_stream(stack: EnvoyStack) -> None:
    call, most = recorded_call(stack), stack.stat("server.concurrency") * WORKERS
    opened, open_before = stack.sidecar_stat("upstream_cx_total"), stack.sidecar_stat("upstream_cx_active")

    # So many streams on so few connections: one of these, at least, has more than the first 33.
    responses = stack.posted_at_once([call] * (LAST_STATEFUL_STREAM * most + 1))

    assert {response.status_code for response in responses} == {201}
    assert stack.sidecar_stat("upstream_cx_active") <= most
    assert stack.sidecar_stat("upstream_cx_total") - opened <= most - open_before


def test_envoy_finds_both_workers_healthy(stack: EnvoyStack) -> None:
    eventually(lambda: stack.sidecar_stat("health_check.success") >= WORKERS, "both have been checked")

    eventually(lambda: all(worker.healthy for worker in stack.workers_by_envoy()), "both are found healthy")
    assert stack.sidecar_stat("membership_healthy") == WORKERS


@contextmanager
def executions_with(stack: EnvoyStack, worker: int) -> Iterator[list[Execution]]:
    """Requests under way, and one of them, at least, with this worker."""
    with ExitStack() as stacked:
        under_way: list[Execution] = []
        while not stack.workers_by_envoy()[worker].active:
            assert len(under_way) < 20, "Envoy gives this worker nothing"
            under_way.append(stacked.enter_context(stack.executing(f'"{uuid.uuid4()}"')))
        yield under_way


def test_a_worker_that_is_stopped_finishes_what_it_has_and_turns_nothing_away(stack: EnvoyStack) -> None:
    pid, said_goodbye = stack.worker_pid(0), stack.sidecar_stat("upstream_cx_close_notify")
    with executions_with(stack, worker=0) as under_way:
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: stack.sidecar_stat("upstream_cx_close_notify") > said_goodbye, "GOAWAY arrived")

        others = stack.posted_at_once(new_calls(stack, 32))
        finished = [execution.finish() for execution in under_way]

    assert {response.status_code for response in [*others, *finished]} == {201}
    eventually(lambda: stack.is_whole(without=pid), "another one is there in its place")
    assert stack.post(*recorded_call(stack)).headers["idempotent-replayed"] == "true"


def test_an_envoy_that_is_restarted_finds_its_sidecar_again(stack: EnvoyStack) -> None:
    call, pid = recorded_call(stack), stack.envoy_pid()

    os.kill(pid, signal.SIGKILL)
    eventually(lambda: stack.is_whole(without=pid), "another one is there in its place")

    retry = stack.post(*call)
    assert retry.headers.get("idempotent-replayed") == "true"
    assert stack.upstream.times(call[0]) == 1
