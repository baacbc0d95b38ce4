"""Problem documents: the members and headers of RFC 9457 and CONTRACT §4."""

import json

import pytest

from sidecar.idempotency.fields import first
from sidecar.idempotency.grpc import GrpcStatus
from sidecar.idempotency.problem import (
    BodyTooLarge,
    CallNotSupported,
    InProgress,
    KeyExpired,
    KeyInvalid,
    KeyMissing,
    KeyReused,
    OriginUnavailable,
    OutcomeUnknown,
    Problem,
    ResponseNotStored,
    StoreUnavailable,
)

PROBLEMS = [
    (KeyMissing("detail"), 400, "key-missing", None),
    (KeyInvalid("detail"), 400, "key-invalid", None),
    (InProgress(status=409, retry_after_s=1), 409, "in-progress", b"1"),
    (InProgress(status=429, retry_after_s=30), 429, "in-progress", b"30"),
    (KeyReused(), 422, "key-reused", None),
    (OutcomeUnknown(2, "lease-expired"), 409, "outcome-unknown", None),
    (ResponseNotStored(201), 409, "response-not-stored", None),
    (OutcomeUnknown(1, "deadline", status=504), 504, "outcome-unknown", None),
    (StoreUnavailable(), 503, "store-unavailable", b"1"),
    (KeyExpired(), 409, "key-expired", None),
    (BodyTooLarge(1024), 413, "body-too-large", None),
    (OriginUnavailable(), 503, "origin-unavailable", b"1"),
]
EACH = pytest.mark.parametrize(("problem", "status", "type_", "retry_after"), PROBLEMS, ids=repr)


@EACH
def test_each_situation_has_its_type_status_and_retry_after(
    problem: Problem, status: int, type_: str, retry_after: bytes | None
) -> None:
    document = json.loads(problem.document("req-1"))

    assert document["type"] == f"urn:idempotency:{type_}"
    assert document["status"] == problem.status == status
    assert document["instance"] == "req-1"
    assert document["title"]
    assert document["detail"] == problem.detail == str(problem)
    assert first(problem.headers(None), "retry-after") == retry_after
    assert problem.result == type_.replace("-", "_")


@EACH
def test_no_document_has_members_beyond_the_contracts(
    problem: Problem, status: int, type_: str, retry_after: bytes | None
) -> None:
    members = set(json.loads(problem.document("req-1")))

    expected = {"type", "title", "status", "detail", "instance"}
    assert members == expected | ({"original_status"} if type_ == "response-not-stored" else set())
    assert (status, retry_after) != (0, b"")


@pytest.mark.parametrize("instance", ["", None])
def test_without_a_request_id_there_is_no_instance(instance: str | None) -> None:
    assert "instance" not in json.loads(KeyReused().document(instance))


def test_a_response_that_was_not_stored_tells_its_status() -> None:
    document = json.loads(ResponseNotStored(201).document("r"))

    assert document["original_status"] == 201
    assert "201" in document["detail"]


def test_an_unknown_outcome_tells_the_attempt_and_why() -> None:
    assert "Attempt 3" in OutcomeUnknown(3, "lost-mid-response").detail
    assert "lost-mid-response" in OutcomeUnknown(3, "lost-mid-response").detail


def test_only_a_key_that_is_held_is_said_to_wait_for_an_operator() -> None:
    held, lost = OutcomeUnknown(1, "lease-expired"), OutcomeUnknown(1, "deadline", status=504)

    assert "operator" in held.detail
    assert "operator" not in lost.detail
    assert lost.detail.endswith("(deadline).")


def test_a_status_of_one_problem_changes_no_other() -> None:
    OutcomeUnknown(1, "deadline", status=504)

    assert OutcomeUnknown(1, "lease-expired").status == OutcomeUnknown.status == 409


def test_a_body_that_is_too_large_tells_what_is_allowed() -> None:
    assert "at most 1024 bytes" in BodyTooLarge(1024).detail


def test_the_content_type_is_problem_json() -> None:
    assert KeyReused().headers(None) == (("content-type", b"application/problem+json"),)


def test_a_policy_with_documentation_links_to_it() -> None:
    headers = StoreUnavailable().headers("https://docs.example/idempotency")

    assert headers == (
        ("content-type", b"application/problem+json"),
        ("retry-after", b"1"),
        ("link", b'<https://docs.example/idempotency>; rel="describedby"'),
    )


def test_a_document_is_json_whatever_the_detail_and_the_request_id_hold() -> None:
    problem = KeyInvalid('a "quoted" \\ detail\n\u2028')

    document = json.loads(problem.document('req-"1"\x00'))

    assert document["detail"] == problem.detail
    assert document["instance"] == 'req-"1"\x00'


# --- As a gRPC error (CONTRACT §7)


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (KeyMissing("detail"), GrpcStatus.INVALID_ARGUMENT),
        (KeyInvalid("detail"), GrpcStatus.INVALID_ARGUMENT),
        (CallNotSupported("execution: detached"), GrpcStatus.UNIMPLEMENTED),
        (InProgress(status=409, retry_after_s=1), GrpcStatus.ABORTED),
        (KeyReused(), GrpcStatus.FAILED_PRECONDITION),
        (OutcomeUnknown(2, "lease-expired"), GrpcStatus.FAILED_PRECONDITION),
        (ResponseNotStored(200), GrpcStatus.FAILED_PRECONDITION),
        (KeyExpired(), GrpcStatus.FAILED_PRECONDITION),
        (BodyTooLarge(1024), GrpcStatus.RESOURCE_EXHAUSTED),
        (StoreUnavailable(), GrpcStatus.UNAVAILABLE),
        (OriginUnavailable(), GrpcStatus.UNAVAILABLE),
    ],
    ids=repr,
)
def test_each_situation_has_its_status_of_grpc(problem: Problem, status: GrpcStatus) -> None:
    assert problem.grpc_status is status


@pytest.mark.parametrize(
    ("problem", "type_", "retry_after"), [(one, type_, retry) for one, _, type_, retry in PROBLEMS], ids=repr
)
def test_the_message_of_a_grpc_error_is_the_type_and_the_detail(
    problem: Problem, type_: str, retry_after: bytes | None
) -> None:
    pushback = None if retry_after is None else retry_after + b"000"

    assert problem.message() == f"urn:idempotency:{type_}: {problem.detail}"
    assert first(problem.metadata(None), "grpc-retry-pushback-ms") == pushback


def test_the_metadata_of_a_grpc_error_links_to_the_documentation() -> None:
    link = ("link", b'<https://docs.example>; rel="describedby"')

    assert KeyReused().metadata(None) == ()
    assert KeyReused().metadata("https://docs.example") == (link,)
    assert StoreUnavailable().metadata("https://docs.example") == (
        ("grpc-retry-pushback-ms", b"1000"),
        link,
    )


def test_a_call_that_was_not_stored_tells_what_it_ended_with() -> None:
    problem = ResponseNotStored(200, GrpcStatus.OK)

    assert "with status OK," in problem.detail
    assert problem.original_status == 200


def test_a_call_that_cannot_be_detached_is_told_to_be_no_fault_of_the_key() -> None:
    assert CallNotSupported("execution: detached").type == "key-invalid"
    assert "execution: detached" in CallNotSupported("execution: detached").detail
