"""How the chaos runs read problem documents."""

from dataclasses import replace

import pytest

from tests.chaos.history import Answer, Ending
from tests.chaos.problems import STATUSES, faults_of, kind_of
from tests.unit.chaos.fabricated import a_problem, with_header


@pytest.mark.parametrize("kind", STATUSES)
def test_a_document_as_promised_has_no_faults(kind: str) -> None:
    answer = a_problem(kind, "id")
    assert kind_of(answer) == kind
    assert list(faults_of(answer, "id")) == []


def test_what_is_no_problem_document_has_no_kind() -> None:
    assert kind_of(Answer(Ending.COMPLETE, 409, (("content-type", "text/plain"),))) is None
    assert kind_of(replace(a_problem("in-progress", "id"), body=b"[]")) == "?"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"title": ""}, "no title"),
        ({"detail": None}, "no detail"),
        ({"instance": "another"}, "instance 'another'"),
        ({"status": 422}, "in the document 422"),
        ({"type": "urn:idempotency:key-missing"}, "its type is"),
        ({"type": "about:blank"}, "its type is"),
    ],
)
def test_each_fault_of_a_document_is_named(changes: dict[str, object], fault: str) -> None:
    (found,) = faults_of(a_problem("outcome-unknown", "id", **changes), "id")
    assert fault in found


def test_the_status_of_the_response_has_to_be_the_documents() -> None:
    (found,) = faults_of(replace(a_problem("outcome-unknown", "id"), status=422), "id")
    assert "outcome-unknown with status 422" in found


def test_retry_after_belongs_to_what_passes_by_itself_and_to_nothing_else() -> None:
    (found,) = faults_of(with_header(a_problem("in-progress", "id"), "retry-after", "soon"), "id")
    assert "Retry-After 'soon'" in found
    (found,) = faults_of(with_header(a_problem("outcome-unknown", "id"), "retry-after", "1"), "id")
    assert "with a Retry-After" in found


def test_a_body_that_is_no_json_object_is_named() -> None:
    (found,) = faults_of(replace(a_problem("in-progress", "id"), body=b"<html>"), "id")
    assert "no JSON object" in found
