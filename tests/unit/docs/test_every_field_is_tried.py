"""Every field of a policy is tried through a real Envoy: which test shows that it does what it says."""

import ast
from functools import cache
from pathlib import Path

import pytest

from sidecar.config.policy_schema import PolicySection
from sidecar.config.shape import section_of, walk

_ROOT = Path(__file__).parents[3]

TRIED = {
    "name": "test_policies.py::test_a_route_may_name_the_policy_for_its_requests",
    "match.methods": "test_policies.py::test_a_policy_is_for_its_methods_and_paths",
    "match.hosts": "test_policies.py::test_a_policy_is_for_the_hosts_that_it_names",
    "match.paths": "test_policies.py::test_a_policy_is_for_its_methods_and_paths",
    "match.route": "test_policies.py::test_a_policy_may_be_for_a_route_by_its_name",
    "mode": "test_policies.py::test_in_shadow_everything_executes_and_what_would_have_been_is_counted",
    "key.from": "test_policies.py::test_a_key_in_the_body_counts_and_the_body_arrives_as_it_was_sent",
    "key.name": "test_policies.py::test_a_key_in_the_query_counts_once_and_not_twice",
    "key.window": "test_policies.py::test_they_are_one_only_as_long_as_the_window_says",
    "key.required": "test_main_job.py::test_a_bad_key_is_refused_before_anything_is_executed",
    "key.format": "test_main_job.py::test_a_bad_key_is_refused_before_anything_is_executed",
    "key.max_length": "test_policies.py::test_a_key_may_be_as_long_as_the_policy_says_and_no_longer",
    "scope": "test_callers.py::test_a_new_token_of_the_same_caller_replays_and_another_caller_executes",
    "fingerprint.body": "test_same_requests.py::test_another_spelling_of_a_json_body_is_the_same_request",
    "fingerprint.omit": "test_same_requests.py::test_another_spelling_of_a_json_body_is_the_same_request",
    "fingerprint.query": "test_same_requests.py::test_only_what_the_policy_names_counts",
    "fingerprint.query_order": (
        "test_same_requests.py::test_the_fields_of_a_form_and_a_query_may_come_in_any_order"
    ),
    "fingerprint.headers": "test_same_requests.py::test_only_what_the_policy_names_counts",
    "in_progress.action": (
        "test_never_twice.py::test_racers_that_wait_all_get_the_answer_of_the_one_execution"
    ),
    "in_progress.status": "test_main_job.py::test_the_policy_may_answer_a_conflict_with_429",
    "in_progress.retry_after": "test_main_job.py::test_the_policy_may_answer_a_conflict_with_429",
    "in_progress.wait": "test_never_twice.py::test_a_wait_ends_when_the_policy_says",
    "execution": "test_never_twice.py::test_detached_a_client_that_gives_up_finds_its_answer_later",
    "deadline": "test_never_twice.py::test_detached_a_call_over_its_deadline_is_unknown",
    "lease": "test_never_twice.py::test_a_lease_of_two_seconds_is_renewed_through_a_call_of_six",
    "ttl": "test_policies.py::test_a_key_is_remembered_for_the_ttl_and_then_executes_again",
    "tombstone": "test_never_twice.py::test_a_tombstone_refuses_a_key_after_its_ttl",
    "unknown": "test_never_twice.py::test_under_retry_the_next_one_takes_over_with_a_higher_attempt",
    "on_unavailable": (
        "test_never_twice.py::test_a_policy_may_bypass_a_store_that_is_down_while_another_refuses"
    ),
    "outcomes": "test_outcomes.py::test_a_policy_overrides_outcomes_by_class_and_by_status",
    "max_request_body": "test_policies.py::test_a_body_that_has_to_be_understood_is_refused_beyond_the_limit",
    "max_response_body": "test_bodies.py::test_the_limit_of_a_response_is_the_policys_to_the_byte",
    "exclude_response_headers": (
        "test_bodies.py::test_two_set_cookie_fields_are_replayed_where_the_policy_keeps_them"
    ),
    "docs_url": "test_policies.py::test_answers_say_until_when_they_are_kept_and_where_to_read_about_it",
    "advertise": "test_policies.py::test_answers_say_until_when_they_are_kept_and_where_to_read_about_it",
}
"""Of each field of a policy, a test in `tests/e2e`."""

VALUES = {
    "scope: host": "test_callers.py::test_hosts_have_keys_of_their_own",
    "scope: method": "test_callers.py::test_methods_have_keys_of_their_own",
    "scope: path": "test_callers.py::test_without_the_path_in_its_scope_a_key_is_the_same_on_every_path",
    "scope: header": (
        "test_callers.py::test_a_caller_whose_header_is_absent_is_not_the_one_whose_header_is_empty"
    ),
    "scope: jwt": "test_callers.py::test_a_token_that_nobody_verified_is_nobodys",
    "scope: peer": "test_callers.py::test_callers_are_told_apart_by_their_certificates",
    "scope: metadata": "test_callers.py::test_callers_are_told_apart_by_what_a_filter_noted",
    "key.from: query": "test_policies.py::test_a_key_in_the_query_counts_once_and_not_twice",
    "key.from: json": "test_policies.py::test_a_key_in_the_body_counts_and_the_body_arrives_as_it_was_sent",
    "key.from: derived": "test_policies.py::test_equal_requests_without_any_key_are_one_where_it_is_derived",
    "fingerprint.body: form": (
        "test_same_requests.py::test_the_fields_of_a_form_and_a_query_may_come_in_any_order"
    ),
    "fingerprint.body: none": "test_same_requests.py::test_only_what_the_policy_names_counts",
    "mode: off": "test_policies.py::test_a_policy_that_is_off_protects_nothing",
}
"""Of values that do something of their own."""


@cache
def defined_in(file: str) -> frozenset[str]:
    """The tests that a file has."""
    module = ast.parse((_ROOT / "tests" / "e2e" / file).read_text(encoding="utf-8"))
    functions = (node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def test_every_field_of_a_policy_has_its_test_and_no_other_has() -> None:
    fields = {name for name, field in walk(PolicySection) if section_of(field) is None}

    assert fields == set(TRIED)


@pytest.mark.parametrize("test", sorted({*TRIED.values(), *VALUES.values()}))
def test_the_test_that_is_named_exists(test: str) -> None:
    file, _, name = test.partition("::")

    assert name in defined_in(file)
