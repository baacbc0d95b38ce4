"""A route of the operator's own that repeats more than the rendered ones do, on a real Envoy."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.fleet import running_fleet
from tests.stack.upstream import Answer, running_upstream
from tests.stack.valkey import Server


def repeating(most_at_once: int) -> Callable[[dict[str, Any]], None]:
    """Give every route `retry_on: reset`, and the upstream's cluster room for so many repeats at a time."""

    def revise(bootstrap: dict[str, Any]) -> None:
        resources = bootstrap["static_resources"]
        for route in found(resources["listeners"], "retry_policy"):
            route["retry_policy"]["retry_on"] = "reset"
        for cluster in resources["clusters"]:
            if cluster["name"] == "upstream":
                cluster["circuit_breakers"] = {"thresholds": [{"max_retries": most_at_once}]}

    return revise


def found(node: object, name: str) -> Iterator[dict[str, Any]]:
    """Every mapping that has such a member."""
    if isinstance(node, dict):
        if name in node and "cluster" in node:
            yield node
        for member in node.values():
            yield from found(member, name)
    elif isinstance(node, list):
        for member in node:
            yield from found(member, name)


@pytest.mark.parametrize("repeats", [0, 1])
def test_a_request_that_was_sent_and_lost_is_held_whatever_became_of_its_repeat(
    repeats: int, valkey: Server, key: str
) -> None:
    headers = {"idempotency-key": key}
    with (
        running_upstream() as upstream,
        running_fleet(upstream, valkey.url, server={}, revise=repeating(repeats)) as fleet,
    ):
        upstream.script = lambda target: Answer(lost=target == "/lost")
        answers = [httpx.post(f"{fleet.url}/lost", content=b"x", headers=headers) for _ in range(3)]

        assert upstream.times("/lost") == 1 + repeats
        assert [answer.status_code for answer in answers] == [503, 409, 409]
        assert answers[-1].json()["type"] == "urn:idempotency:outcome-unknown"
        reason = "envoy-may-have-sent"
        assert sum(fleet.metric("idempotency_outcomes_total", reason=reason).values()) == 1
