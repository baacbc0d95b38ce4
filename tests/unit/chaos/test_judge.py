"""The judge of the chaos runs finds what is planted, and nothing where nothing is."""

import json
from dataclasses import replace

import pytest

from sidecar.exchange.effects import Reply
from sidecar.exchange.events import RequestHeaders
from sidecar.exchange.machine import Exchange
from sidecar.idempotency.claim import Claimed, UnknownPolicy
from sidecar.idempotency.fingerprint import UNCOMPARABLE
from sidecar.idempotency.policy import Policies, Policy
from sidecar.idempotency.request import Request
from tests.chaos.history import Answer, Ending, Execution, Identity
from tests.chaos.plan import Kind
from tests.unit.chaos.fabricated import RETRY, Story, a_key, a_problem, said, with_header

BOB = a_key("bob")
NOTHING = Answer(Ending.NOTHING)
KEYLESS = Answer(Ending.COMPLETE, 200, (), b"keyless")


def executed_and_replayed() -> tuple[Story, Execution]:
    """The usual case: executed once, answered, replayed to the end."""
    story = Story()
    execution = story.executes("request-1")
    story.asks(said(execution, story.key), request="request-1")
    story.ends_with(said(execution, story.key, replayed=True))
    return story, execution


def test_a_run_in_which_all_went_well_has_no_violation() -> None:
    story, _ = executed_and_replayed()
    story.refused("in-progress")
    story.history.exchanges[-1].sent = 0.0
    story.probes(KEYLESS)
    assert story.verdict() == []


# --- Executions


def test_a_second_execution_is_found() -> None:
    story, _ = executed_and_replayed()
    story.history.executions[0].decided = 1.0
    story.executes("request-1", attempt="2")
    assert "executed twice" in story.is_broken_by()
    assert "executions 1 and 2" in story.verdict()[0].text


def test_an_answer_that_releases_allows_another_attempt_with_a_higher_number() -> None:
    story = Story()
    story.executes("request-0", status=503)
    execution = story.executes("request-1", attempt="2")
    story.ends_with(said(execution, story.key, replayed=True))
    assert story.verdict() == []


def test_another_attempt_before_the_releasing_answer_was_given_is_found() -> None:
    story = Story()
    story.executes("request-0", status=503, takes_s=5)
    execution = story.executes("request-1", attempt="2")
    story.ends_with(said(execution, story.key, replayed=True))
    assert story.is_broken_by() == {"executed twice"}


@pytest.mark.parametrize("status", [502, 201, None])
def test_an_answer_that_does_not_release_allows_no_other_attempt(status: int | None) -> None:
    story = Story()
    story.executes("request-0", status=status)
    execution = story.executes("request-1", attempt="2")
    story.ends_with(said(execution, story.key, replayed=True))
    assert story.is_broken_by() == {"executed twice"}


@pytest.mark.parametrize("attempt", ["1", "0"])
def test_an_attempt_that_does_not_rise_is_found(attempt: str) -> None:
    story = Story()
    story.executes("request-0", status=503)
    execution = story.executes("request-1", attempt=attempt)
    story.ends_with(said(execution, story.key, replayed=True))
    assert story.is_broken_by() == {"attempts"}


@pytest.mark.parametrize("attempt", [None, "", "one"])
def test_a_request_that_was_let_through_unclaimed_is_found(attempt: str | None) -> None:
    story = Story()
    execution = story.executes("request-1", attempt=attempt)
    story.ends_with(said(execution, story.key, replayed=True))
    assert story.is_broken_by() == {"unclaimed"}


def test_a_policy_that_takes_over_may_execute_again_with_the_same_payload() -> None:
    story = Story(a_key(policy=RETRY))
    story.executes("request-0", status=None)
    execution = story.executes("request-1", attempt="2")
    story.ends_with(said(execution, story.key, replayed=True))
    assert story.verdict() == []


def test_a_takeover_with_another_payload_is_found() -> None:
    story = Story(a_key(policy=RETRY))
    story.executes("request-0", status=None, careless=True)
    execution = story.executes("request-1", attempt="2")
    story.ends_with(said(execution, story.key, replayed=True))
    assert story.is_broken_by() == {"taken over"}


def test_a_late_attempt_that_the_upstream_fenced_off_is_no_execution() -> None:
    story = Story(a_key(policy=RETRY))
    execution = story.executes("request-1", attempt="2")
    story.executes("request-0", attempt="1", status=None, fenced=True)
    story.ends_with(said(execution, story.key, replayed=True))
    assert story.verdict() == []


def test_an_execution_after_a_client_saw_success_is_found_whatever_the_policy() -> None:
    story = Story(a_key(policy=RETRY))
    first = story.executes("request-1")
    story.asks(said(first, story.key), request="request-1")
    second = story.executes("request-2", attempt="2")
    story.asks(said(second, story.key), request="request-2")
    story.ends_with(said(second, story.key, replayed=True))
    assert story.is_broken_by() == {"executed after success", "response lost"}


# --- Answers


def test_another_callers_response_is_found() -> None:
    story, execution = executed_and_replayed()
    story.history.keys = (story.key, BOB)
    story.asks(said(execution, story.key, replayed=True), key=BOB, final=True)
    assert story.is_broken_by() == {"another's response"}


def test_a_response_of_no_execution_is_found() -> None:
    story, execution = executed_and_replayed()
    invented = replace(execution, number=99, identity=Identity("hold", "alice", "key-1"))
    story.asks(said(invented, story.key, replayed=True))
    assert "another's response" in story.is_broken_by()


def test_a_stored_response_for_another_payload_is_found() -> None:
    story, execution = executed_and_replayed()
    story.asks(said(execution, story.key, replayed=True), careless=True)
    assert story.is_broken_by() == {"response"}
    assert "of another payload" in story.verdict()[0].text


def test_a_replay_without_its_mark_and_a_first_answer_with_it_are_found() -> None:
    story, execution = executed_and_replayed()
    story.asks(said(execution, story.key))
    assert story.is_broken_by() == {"response"}
    story, execution = executed_and_replayed()
    story.asks(said(execution, story.key, replayed=True), request="request-1")
    assert story.is_broken_by() == {"response"}


def test_a_response_with_other_bytes_is_found() -> None:
    story, execution = executed_and_replayed()
    answer = said(execution, story.key, replayed=True)
    story.asks(replace(answer, body=answer.body[:-1]))
    assert story.is_broken_by() == {"response", "response lost"}


def test_bytes_that_nobody_promised_to_be_whole_are_not_compared() -> None:
    story, execution = executed_and_replayed()
    answer = said(execution, story.key, replayed=True)
    story.asks(replace(answer, body=answer.body[:5], ending=Ending.CUT))
    assert story.verdict() == []


def test_a_replay_with_another_status_or_other_headers_is_found() -> None:
    story, execution = executed_and_replayed()
    answer = said(execution, story.key, replayed=True)
    story.asks(replace(answer, status=503))
    assert story.is_broken_by() == {"response", "response lost"}
    story, execution = executed_and_replayed()
    story.asks(with_header(answer, "x-part", "two"))
    assert story.is_broken_by() == {"response lost"}


@pytest.mark.parametrize("kind", ["in-progress", "outcome-unknown", "key-reused"])
def test_a_refusal_after_a_client_saw_success_is_found(kind: str) -> None:
    story, _ = executed_and_replayed()
    story.refused(kind)
    assert "response lost" in story.is_broken_by()


def test_faults_and_other_payloads_may_be_refused_after_success() -> None:
    story, _ = executed_and_replayed()
    story.refused("store-unavailable")
    story.refused("key-reused", careless=True)
    story.asks(Answer(Ending.COMPLETE, 503, (("content-type", "text/plain"),), b"no healthy upstream"))
    story.asks(NOTHING)
    assert story.verdict() == []


def test_a_response_that_the_sidecar_could_not_keep_may_be_unknown_afterwards() -> None:
    story = Story()
    execution = story.executes("request-1")
    story.asks(said(execution, story.key), request="request-1")
    story.refused("outcome-unknown", final=True)
    assert story.is_broken_by() == {"response lost"}
    story.history.unkept.add("request-1")
    assert story.verdict() == []


@pytest.mark.parametrize("status", [200, 400, 412, 500])
def test_an_answer_that_nobody_promised_is_found(status: int) -> None:
    story, _ = executed_and_replayed()
    story.asks(Answer(Ending.COMPLETE, status))
    assert story.is_broken_by() == {"unexpected answer"}


@pytest.mark.parametrize("status", [409, 422])
def test_a_refusal_without_a_document_is_found(status: int) -> None:
    story, _ = executed_and_replayed()
    story.asks(Answer(Ending.COMPLETE, status))
    assert story.is_broken_by() == {"problem"}


def test_a_malformed_document_is_found() -> None:
    story, _ = executed_and_replayed()
    story.refused("", answer=a_problem("store-unavailable", "somebody else's"))
    assert story.is_broken_by() == {"problem"}


def test_a_refusal_for_another_payload_that_nobody_sent_is_found() -> None:
    story = Story()
    story.refused("key-reused")
    story.refused("outcome-unknown", final=True)
    assert story.is_broken_by() == {"problem"}


# --- The end


@pytest.mark.parametrize("kind", ["in-progress", "store-unavailable"])
def test_a_key_that_is_never_decided_is_found(kind: str) -> None:
    story = Story()
    story.refused(kind, final=True)
    assert story.is_broken_by() == {"undecided"}


def test_a_key_that_nobody_asked_for_in_the_end_or_nobody_answered_is_found() -> None:
    assert Story().is_broken_by() == {"undecided"}
    story = Story()
    story.asks(NOTHING, final=True)
    assert story.is_broken_by() == {"undecided"}


def test_a_key_that_changes_its_mind_in_the_end_is_found() -> None:
    story = Story()
    story.refused("outcome-unknown", final=True)
    execution = story.executes("request-9")
    story.asks(said(execution, story.key), request="request-9", final=True)
    assert story.is_broken_by() == {"undecided"}


def test_an_unknown_outcome_may_stand_in_the_end_only_where_the_policy_holds() -> None:
    story = Story()
    story.refused("outcome-unknown", final=True)
    assert story.verdict() == []
    story = Story(a_key(policy=RETRY))
    story.refused("outcome-unknown", final=True)
    assert story.is_broken_by() == {"undecided"}


def test_under_any_policy_an_attempt_that_was_answered_early_leaves_its_key_unknown() -> None:
    refusal = Exchange(Policies((Policy("retry", unknown=UnknownPolicy.RETRY),)), "owner")
    refusal.handle(RequestHeaders(Request("POST", "a", "/", None, (("idempotency-key", b"k"),)), True))
    reply, *_ = refusal.handle(Claimed(2, UNCOMPARABLE, taken_over=True))
    assert isinstance(reply, Reply)
    detail = json.loads(reply.body)["detail"]

    story = Story(a_key(policy=RETRY))
    for number in range(2):
        answer = a_problem("outcome-unknown", f"final-{number}", detail=detail)
        story.asks(answer, request=f"final-{number}", final=True)
    assert story.verdict() == []


# --- Without a key


def test_a_keyless_request_that_does_not_pass_is_found() -> None:
    story, _ = executed_and_replayed()
    story.probes(NOTHING, stack=1)
    story.breaks(Kind.STORE_KILLED, "store", 0, 100)
    story.breaks(Kind.WORKER_KILLED, "stack 1, worker 0", 0, 100)
    story.breaks(Kind.ENVOY_KILLED, "stack 0", 0, 100)
    story.breaks(Kind.ENVOY_KILLED, "stack 1", 0, story.now - 5)
    assert story.is_broken_by() == {"keyless refused"}


@pytest.mark.parametrize(
    ("kind", "target"), [(Kind.ENVOY_STOPPED, "stack 1"), (Kind.UPSTREAM_DOWN, "upstream")]
)
def test_a_keyless_request_may_fail_where_envoy_or_the_upstream_is_away(kind: Kind, target: str) -> None:
    story, _ = executed_and_replayed()
    story.probes(Answer(Ending.COMPLETE, 503), stack=1)
    story.breaks(kind, target, story.now - 1, story.now + 1)
    assert story.verdict() == []
