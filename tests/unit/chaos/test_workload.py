"""What is asked in a run follows from its seed, and asks for trouble."""

from collections import Counter
from pathlib import Path

import yaml

from sidecar.config.loading import load
from sidecar.supervision.stack import ORIGIN_URL
from tests.chaos.history import Departure
from tests.chaos.policies import POLICIES, PolicyUnderTest, configuration
from tests.chaos.workload import CALLERS, final_calls, workload

DURATION_S = 60.0
WORK = workload(1, DURATION_S)


def test_the_same_seed_gives_the_same_workload_and_another_seed_another() -> None:
    assert workload(1, 10) == workload(1, 10)
    assert workload(1, 10) != workload(2, 10)


def test_there_are_hundreds_of_keys_each_with_duplicates_at_the_same_time() -> None:
    calls = Counter(call.key.identity for call in WORK.calls)
    assert len(WORK.keys) == 420
    assert calls.keys() == {key.identity for key in WORK.keys}
    close = [
        call
        for call in WORK.calls
        if any(
            other is not call and other.key is call.key and abs(other.at_s - call.at_s) < 0.1
            for other in WORK.calls
        )
    ]
    assert len(close) > len(WORK.calls) / 10


def test_calls_come_in_order_and_each_has_an_id_of_its_own() -> None:
    moments = [call.at_s for call in WORK.calls]
    assert moments == sorted(moments)
    assert len({call.request_id for call in WORK.calls}) == len(WORK.calls)


def test_every_departure_protocol_stack_and_payload_occurs() -> None:
    assert {call.departure for call in WORK.calls} == set(Departure)
    combinations = {(call.http2, call.stack, call.sized) for call in WORK.calls}
    assert len(combinations) == 8
    assert any(call.careless for call in WORK.calls)
    assert any(key.payload == b"" for key in WORK.keys)


def test_callers_share_the_names_of_their_keys_but_not_their_payloads() -> None:
    alice, bob = WORK.keys[0], WORK.keys[1]
    assert (alice.identity.name, alice.path) == (bob.identity.name, bob.path)
    assert (alice.identity.caller, bob.identity.caller) == CALLERS
    payloads = [key.payload for key in WORK.keys if key.payload]
    assert len(set(payloads)) == len(payloads)
    assert all(key.payload != key.other_payload for key in WORK.keys)


def test_in_the_end_every_key_is_asked_for_through_both_stacks_and_both_protocols() -> None:
    first, second = final_calls(WORK.keys, 1), final_calls(WORK.keys, 2)
    assert [call.key for call in first] == [call.key for call in second] == list(WORK.keys)
    assert all(one.stack != other.stack for one, other in zip(first, second, strict=True))
    assert all(one.http2 != other.http2 for one, other in zip(first, second, strict=True))
    assert not {call.request_id for call in first} & {call.request_id for call in second}
    assert all(call.final and call.departure is Departure.NEVER for call in (*first, *second))


def test_policies_take_turns() -> None:
    rows = (PolicyUnderTest("one"), PolicyUnderTest("two"))
    counted = Counter(key.identity.policy for key in workload(1, 8, rows, per_s=5).keys)
    assert counted == {"one": 20, "two": 20}


def test_each_policy_under_test_becomes_one_of_the_configuration_for_its_paths(tmp_path: Path) -> None:
    file = tmp_path / "chaos.yaml"
    file.write_text(configuration())
    settings = load(file, {ORIGIN_URL: "unix:///tmp/origin.sock"})
    assert [policy.name for policy in settings.policies.policies] == [policy.name for policy in POLICIES]
    assert all(policy.lease_ms == 1000 for policy in settings.policies.policies)
    for policy in POLICIES:
        selected = settings.policies.select("POST", "chaos.test", f"{policy.prefix}/orders")
        assert selected is not None
        assert selected.name == policy.name


def test_what_a_row_says_stands_in_its_policy() -> None:
    row = PolicyUnderTest("retry", {"unknown": "retry"}, takes_over=True)
    (entry,) = yaml.safe_load(configuration((row,)))["policies"]
    assert entry["unknown"] == "retry"
