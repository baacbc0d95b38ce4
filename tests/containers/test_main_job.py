"""The whole job, driven from outside the containers that `deploy/compose` describes."""

from collections import Counter

import pytest

from tests.containers.bank import Bank, new_key, new_order
from tests.containers.composition import Composition

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]


def test_a_first_call_executes_and_is_announced_to_the_service_as_attempt_1(bank: Bank) -> None:
    order = new_order()

    answer = bank.pay(new_key(), order)

    assert answer.status_code == 201
    assert "idempotent-replayed" not in answer.headers
    [payment] = bank.executions(order)
    assert payment["id"] == answer.json()["id"]
    assert payment["attempt"] == "1"


def test_a_retry_gets_the_recorded_response_byte_for_byte(bank: Bank) -> None:
    key, order = new_key(), new_order()
    first = bank.pay(key, order)

    retry = bank.pay(key, order)

    assert retry.headers["idempotent-replayed"] == "true"
    assert (retry.status_code, retry.content) == (first.status_code, first.content)
    for name in ("content-type", "content-length", "location", "server"):
        assert retry.headers[name] == first.headers[name]
    assert len(bank.executions(order)) == 1


def test_another_payload_under_the_same_key_is_refused(bank: Bank) -> None:
    key, order, other = new_key(), new_order(), new_order()
    bank.pay(key, order)

    answer = bank.pay(key, other)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:idempotency:key-reused"
    assert bank.executions(other) == []


async def test_of_20_at_once_one_executes_and_nineteen_are_told_to_come_back(bank: Bank) -> None:
    key, order = new_key(), new_order(takes_ms=2_000)

    answers = await bank.pay_at_once(20, key, order)

    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 19}
    refused = [answer for answer in answers if answer.status_code == 409]
    assert {answer.json()["type"] for answer in refused} == {"urn:idempotency:in-progress"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert len(bank.executions(order)) == 1
    [winner] = [answer for answer in answers if answer.status_code == 201]
    assert bank.pay(key, order).content == winner.content


def test_a_payment_without_its_key_is_refused(bank: Bank) -> None:
    order = new_order()

    answer = bank.pay(None, order)

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:idempotency:key-missing"
    assert bank.executions(order) == []


def test_what_happened_is_counted_and_no_key_is_written_to_the_log(
    bank: Bank, composition: Composition
) -> None:
    key, order = new_key(), new_order()
    bank.pay(key, order)
    bank.pay(key, order)

    with_metrics = Bank(composition.url("sidecar", 9902))
    exposition = with_metrics.get("/metrics").text
    with_metrics.close()

    assert 'idempotency_requests_total{policy="payments",result="replayed"}' in exposition
    assert composition.logs("sidecar")
    assert key not in composition.logs("sidecar")
